/* The small parts of daemon/core: strict parsers, UTF-8, buffers with caps, frames that do not believe their reader, clocks, ids. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>
#include <jansson.h>

#include "daemon/core/clock.h"
#include "daemon/core/crypto.h"
#include "daemon/core/err.h"
#include "daemon/core/json_text.h"
#include "daemon/core/log.h"
#include "daemon/core/metrics.h"
#include "daemon/core/str.h"
#include "daemon/core/uuid.h"
#include "daemon/core/wire.h"

static void durations(void **state)
{
    static const struct {
        const char *text;
        int64_t us;
    } good[] = {{"90s", CD_SEC(90)}, {"5min", CD_MIN_US(5)}, {"1h30min", CD_MIN_US(90)}, {"-15min", -CD_MIN_US(15)},
                {"+2d", CD_HOUR(48)}, {"1w", CD_HOUR(168)}, {"250ms", CD_MSEC(250)}, {"0", 0}, {"0s", 0}};
    static const char *const bad[] = {"", "5", "5 min", "min", "5m", "1.5h", "5min ", "--5s", "99999999999999999999s", "9999999999999d"};
    int64_t us;
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(good); i++) {
        assert_int_equal(str_parse_duration(good[i].text, &us), 0);
        assert_int_equal(us, good[i].us);
    }
    for (size_t i = 0; i < ARRAY_LEN(bad); i++)
        assert_true(str_parse_duration(bad[i], &us) < 0);
    char text[32];
    str_format_duration(CD_HOUR(25) + CD_SEC(5), text);
    assert_string_equal(text, "1d1h5s");
    str_format_duration(-CD_MIN_US(15), text);
    assert_string_equal(text, "-15min");
}

static void numbers_and_sizes(void **state)
{
    uint64_t v;
    (void)state;
    assert_int_equal(str_parse_u64("0", 10, &v), 0);
    assert_int_equal(str_parse_u64("18446744073709551615", UINT64_MAX, &v), 0);
    assert_true(v == UINT64_MAX);
    assert_int_equal(str_parse_u64("18446744073709551616", UINT64_MAX, &v), CD_ELIMIT);
    assert_int_equal(str_parse_u64("11", 10, &v), CD_ELIMIT);
    static const char *const bad[] = {"", "+1", "-1", "1x", " 1", "0x10"};
    for (size_t i = 0; i < ARRAY_LEN(bad); i++)
        assert_int_equal(str_parse_u64(bad[i], 100, &v), CD_EINVAL);
    assert_int_equal(str_parse_size("25MB", &v), 0);
    assert_int_equal(v, 25 << 20);
    assert_int_equal(str_parse_size("512", &v), 0);
    assert_int_equal(v, 512);
    assert_int_equal(str_parse_size("25Mb", &v), CD_EINVAL);
}

static void utf8(void **state)
{
    static const char *const bad[] = {"\x80", "\xc0\xaf", "\xe0\x80\xaf", "\xed\xa0\x80", "\xf4\x90\x80\x80", "\xff", "\xe6\xb5"};
    bool changed;
    (void)state;
    assert_true(utf8_valid("plain \xe6\xb5\x8b\xe8\xaf\x95 \xf0\x9f\x98\x80", 17));
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        assert_false(utf8_valid(bad[i], strlen(bad[i])));
        char *s = utf8_clean(bad[i], strlen(bad[i]), &changed);
        assert_true(changed && utf8_valid(s, strlen(s)));
        free(s);
    }
    char *s = utf8_clean("a\0b", 3, &changed);
    assert_string_equal(s, "a\xef\xbf\xbd" "b");
    free(s);
    assert_int_equal(utf8_cut("\xe6\xb5\x8b", 2), 0);
    assert_int_equal(utf8_cut("\xe6\xb5\x8b", 3), 3);
    assert_int_equal(utf8_cut("ab\xf0\x9f\x98\x80", 5), 2);
    assert_int_equal(utf8_cut("abc", 3), 3);
}

static void masks(void **state)
{
    char out[64];
    (void)state;
    str_mask("mary@example.com", out, sizeof out);
    assert_string_equal(out, "ma***@example.com");
    str_mask("a@b.example", out, sizeof out);
    assert_string_equal(out, "***@b.example");
    str_mask("+8613800138000", out, sizeof out);
    assert_string_equal(out, "+861***00");
    str_mask("12345", out, sizeof out);
    assert_string_equal(out, "***");
    assert_string_equal(log_quote("plain"), "plain");
    assert_string_equal(log_quote("two words"), "\"two words\"");
    assert_string_equal(log_quote("a\"b\nc"), "\"a\\\"b c\"");
    assert_string_equal(log_quote(""), "\"\"");
}

static void buffers_keep_their_cap(void **state)
{
    struct buf b;
    (void)state;
    buf_init(&b, 10);
    assert_int_equal(buf_append_str(&b, "12345"), 0);
    assert_int_equal(buf_append_str(&b, "678901"), CD_ENOMEM);
    assert_true(b.failed);
    assert_string_equal(buf_str(&b), "12345"); /* unchanged */
    b.failed = false;
    assert_int_equal(buf_printf(&b, "%d", 67890), 0);
    assert_int_equal(b.len, 10);
    assert_int_equal(buf_append_char(&b, 'x'), CD_ENOMEM);
    assert_int_equal(buf_reserve(&b, SIZE_MAX), CD_ENOMEM);
    buf_consume(&b, 4);
    assert_string_equal(buf_str(&b), "567890");
    char *s = buf_steal(&b);
    assert_string_equal(s, "567890");
    assert_string_equal(buf_str(&b), "");
    free(s);
}

static void frames(void **state)
{
    struct buf b;
    struct wire_reader r;
    size_t n;
    (void)state;
    buf_init(&b, 1000);
    wire_u8(&b, 7);
    wire_u64(&b, UINT64_C(0x1122334455667788));
    wire_str(&b, "text");
    wire_str(&b, NULL);
    wire_bytes(&b, "\0\1", 2);
    for (size_t cut = 0; cut <= b.len; cut++) { /* every truncation is noticed, none is read past */
        wire_reader_init(&r, b.data, cut);
        uint8_t a = wire_read_u8(&r);
        uint64_t v = wire_read_u64(&r);
        char *s = wire_read_str(&r, 10, true), *none = wire_read_str(&r, 10, true);
        const uint8_t *p = wire_read_bytes(&r, &n);
        assert_int_equal(r.failed, cut < b.len);
        if (cut == b.len) {
            assert_true(a == 7 && v == UINT64_C(0x1122334455667788) && !none && n == 2 && p[1] == 1);
            assert_string_equal(s, "text");
        }
        free(s);
        free(none);
    }
    buf_reset(&b);
    wire_bytes(&b, "a\0b", 3);
    wire_reader_init(&r, b.data, b.len);
    assert_null(wire_read_str(&r, 10, false));
    assert_true(r.failed);
    wire_reader_init(&r, b.data, b.len);
    assert_null(wire_read_str(&r, 2, false)); /* over its limit */
    assert_true(r.failed);
    buf_free(&b);
}

static void times(void **state)
{
    char text[CLOCK_TEXT_SIZE];
    int64_t us, again;
    (void)state;
    assert_int_equal(clock_parse("2026-11-22T10:00:00.123456Z", &us), 0);
    clock_format(us, text);
    assert_string_equal(text, "2026-11-22T10:00:00.123456Z");
    assert_int_equal(clock_parse("2026-11-22 18:00:00.123456+08", &again), 0);
    assert_true(us == again);
    clock_format_mail(us, text);
    assert_string_equal(text, "Sun, 22 Nov 2026 10:00:00 +0000");
    /* the text of a second is kept: neighbours, the same one again, before 1970 */
    clock_format(us + 876543, text);
    assert_string_equal(text, "2026-11-22T10:00:00.999999Z");
    clock_format(us + 876544, text);
    assert_string_equal(text, "2026-11-22T10:00:01.000000Z");
    clock_format_s(us, text);
    assert_string_equal(text, "2026-11-22T10:00:00Z");
    clock_format_mail(us + CD_SEC(1), text);
    assert_string_equal(text, "Sun, 22 Nov 2026 10:00:01 +0000");
    clock_format(-1, text);
    assert_string_equal(text, "1969-12-31T23:59:59.999999Z");
    clock_format_mail(-1, text);
    assert_string_equal(text, "Wed, 31 Dec 1969 23:59:59 +0000");
    static const char *const bad[] = {"", "2026-11-22", "2026-13-22T10:00:00Z", "2026-11-22T25:00:00Z", "2026-11-22T10:00:00", "2026-11-22T10:00:00Zx"};
    for (size_t i = 0; i < ARRAY_LEN(bad); i++)
        assert_int_equal(clock_parse(bad[i], &us), CD_EINVAL);
}

static void ids_ascend(void **state)
{
    struct uuid last = {{0}};
    char text[UUID_TEXT_SIZE];
    (void)state;
    for (int i = 0; i < 20000; i++) {
        struct uuid u = uuid_new(), back;
        assert_true(memcmp(last.b, u.b, 16) < 0);
        assert_int_equal(u.b[6] >> 4, 7);
        assert_int_equal(u.b[8] >> 6, 2);
        uuid_format(&u, text);
        assert_int_equal(uuid_parse(text, &back), 0);
        assert_true(uuid_equal(&u, &back));
        assert_true(llabs(clock_real_us() - uuid_time_us(&u)) < 5000000);
        last = u;
    }
    assert_true(uuid_parse("01a20450-4d9b-700a-a8dc-bd0bad5a0d3", &last) < 0);
    assert_true(uuid_parse("01a20450x4d9b-700a-a8dc-bd0bad5a0d3e", &last) < 0);
}

/* RFC 4231 and 2202, test case 2, with other keys in between: the context is used again. */
static void macs(void **state)
{
    uint8_t mac[32];
    char hex[65];
    (void)state;
    for (int i = 0; i < 2; i++) {
        hmac_sha256("", 0, "", 0, mac);
        hex_encode(mac, 32, hex);
        assert_string_equal(hex, "b613679a0814d9ec772f95d778c35fc5ff1697c493715653c6c712144292c5ad");
        hmac_sha256("Jefe", 4, "what do ya want for nothing?", 28, mac);
        hex_encode(mac, 32, hex);
        assert_string_equal(hex, "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843");
        hmac_sha1("Jefe", 4, "what do ya want for nothing?", 28, mac);
        hex_encode(mac, 20, hex);
        assert_string_equal(hex, "effcdf6ae5eb2fa2d27416d5f184df9c259a7c79");
    }
}

static void digests(void **state)
{
    uint8_t d[32];
    char hex[65];
    (void)state;
    sha256("abc", 3, d); /* FIPS 180-2, appendix B.1 */
    hex_encode(d, 32, hex);
    assert_string_equal(hex, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    hmac_sha256("Jefe", 4, "what do ya want for nothing?", 28, d); /* RFC 4231, case 2 */
    hex_encode(d, 32, hex);
    assert_string_equal(hex, "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843");
    char *s = base64_encode("fooba", 5); /* RFC 4648 */
    assert_string_equal(s, "Zm9vYmE=");
    free(s);
}

static void metrics_are_rendered_once_a_name(void **state)
{
    static const char *const channel[] = {"mail"}, *const outcome[] = {"new"};
    struct buf b;
    (void)state;
    buf_init(&b, CD_MIB(1));
    metrics_name_intake(channel, 1, outcome, 1);
    metrics_intake(0, 0);
    metrics_add(M_NOTIFY_SENT, 3);
    metrics_render(&b);
    const char *help = strstr(buf_str(&b), "# TYPE complaintd_notifications_total counter\n");
    assert_non_null(help);
    assert_null(strstr(help + 1, "# TYPE complaintd_notifications_total"));
    assert_non_null(strstr(buf_str(&b), "complaintd_notifications_total{outcome=\"sent\"} 3\n"));
    assert_non_null(strstr(buf_str(&b), "complaintd_intake_total{channel=\"mail\",outcome=\"new\"} 1\n"));
    buf_free(&b);
}

/* Escapes, commas by themselves, no invalid UTF-8; jansson reads what was meant. */
static void json_as_text(void **state)
{
    struct buf b;
    (void)state;
    buf_init(&b, 300);
    buf_append_char(&b, '{');
    json_text_member(&b, "a", "say \"\\\b\f\n\r\t\x01\x1f\x7f caf\xc3\xa9/");
    json_text_member(&b, "empty", NULL);
    json_text_member(&b, "bad", "caf\xc3");
    json_text_name(&b, "list");
    json_text_open(&b, '[');
    json_text_int(&b, INT64_MIN);
    json_text_int(&b, 0);
    json_text_string(&b, "[");
    json_text_open(&b, '{');
    buf_append_str(&b, "}]}");
    assert_string_equal(buf_str(&b), "{\"a\":\"say \\\"\\\\\\b\\f\\n\\r\\t\\u0001\\u001f\x7f caf\xc3\xa9/\",\"empty\":\"\",\"bad\":\"\","
                                     "\"list\":[-9223372036854775808,0,\"[\",{}]}");
    json_t *read = json_loads(buf_str(&b), JSON_REJECT_DUPLICATES, NULL);
    assert_string_equal(json_string_value(json_object_get(read, "a")), "say \"\\\b\f\n\r\t\x01\x1f\x7f caf\xc3\xa9/");
    json_decref(read);
    for (int i = 0; i < 40; i++)
        json_text_string(&b, "over the cap");
    assert_true(b.failed && b.len <= 300);
    buf_free(&b);
}

/* Formatted into the room there is, or a second time into more; over the cap nothing is left behind. */
static void buffers_print(void **state)
{
    struct buf b;
    char long_one[200];
    (void)state;
    memset(long_one, 'x', sizeof long_one - 1);
    long_one[sizeof long_one - 1] = '\0';
    buf_init(&b, 300);
    assert_int_equal(buf_printf(&b, "%d-", 7), 0);
    assert_int_equal(buf_printf(&b, "%s", long_one), 0);
    size_t len = b.len;
    assert_int_equal(buf_printf(&b, "%s", long_one), CD_ENOMEM);
    assert_true(b.failed && b.len == len && strlen(buf_str(&b)) == len);
    buf_free(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(durations),   cmocka_unit_test(numbers_and_sizes), cmocka_unit_test(utf8),
        cmocka_unit_test(masks),       cmocka_unit_test(buffers_keep_their_cap), cmocka_unit_test(frames),
        cmocka_unit_test(times),       cmocka_unit_test(ids_ascend), cmocka_unit_test(digests), cmocka_unit_test(macs),
        cmocka_unit_test(metrics_are_rendered_once_a_name), cmocka_unit_test(json_as_text), cmocka_unit_test(buffers_print),
    };
    return cmocka_run_group_tests_name("core", tests, NULL, NULL);
}
