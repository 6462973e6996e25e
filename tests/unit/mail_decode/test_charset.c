/* Character sets in bodies and headers: declared, missing, wrong, unknown. */
#include "fixture.h"

#include <iconv.h>

#include "channels/mail/charset.h"

/* "I want to complain: the kettle caught fire" in Chinese, simplified and traditional. */
#define SIMPLIFIED                                                                                           \
    "\xe6\x88\x91\xe8\xa6\x81\xe6\x8a\x95\xe8\xaf\x89\xef\xbc\x9a\xe6\xb0\xb4\xe5\xa3\xb6\xe7\x9d\x80\xe7"   \
    "\x81\xab\xe4\xba\x86\xe3\x80\x82"
#define TRADITIONAL                                                                                          \
    "\xe6\x88\x91\xe8\xa6\x81\xe6\x8a\x95\xe8\xa8\xb4\xef\xbc\x9a\xe6\xb0\xb4\xe5\xa3\xba\xe8\x91\x97\xe7"   \
    "\x81\xab\xe4\xba\x86\xe3\x80\x82"
#define RUSSIAN                                                                                              \
    "\xd0\x96\xd0\xb0\xd0\xbb\xd0\xbe\xd0\xb1\xd0\xb0 \xd0\xbd\xd0\xb0 "                                     \
    "\xd1\x87\xd0\xb0\xd0\xb9\xd0\xbd\xd0\xb8\xd0\xba"
#define JAPANESE                                                                                             \
    "\xe5\x95\x86\xe5\x93\x81\xe3\x81\x8c\xe5\xa3\x8a\xe3\x82\x8c\xe3\x81\xa6\xe3\x81\x84\xe3\x81\xbe\xe3"   \
    "\x81\x99"
#define FRENCH                                                                                               \
    "R\xc3\xa9"                                                                                              \
    "clamation: la bouilloire a br\xc3\xbbl\xc3\xa9"

static size_t encode(const char *charset, const char *utf8, char *out, size_t size)
{
    iconv_t cd = iconv_open(charset, "UTF-8");
    char *in = (char *)(uintptr_t)utf8, *to = out;
    size_t left = strlen(utf8), room = size;
    assert_true(cd != (iconv_t)-1);
    assert_int_equal(iconv(cd, &in, &left, &to, &room), 0);
    iconv(cd, NULL, NULL, &to, &room);
    iconv_close(cd);
    return size - room;
}

/* A mail with `utf8` as body and subject in `charset`, labelled `label` (NULL: not at all); what comes out
 * must be the same. */
static void round_trip(const char *charset, const char *label, const char *utf8, uint32_t flags)
{
    char bytes[512];
    struct buf raw;
    size_t n = encode(charset, utf8, bytes, sizeof bytes);
    char *b64 = base64_encode(bytes, n);
    buf_init(&raw, CD_KIB(16));
    buf_append_str(&raw, "From: a@example.net\r\n");
    if (label)
        buf_printf(&raw, "Subject: =?%s?B?%s?=\r\nContent-Type: text/plain; charset=\"%s\"\r\n", label, b64,
                   label);
    buf_append_str(&raw, "Content-Transfer-Encoding: base64\r\n\r\n");
    buf_append_str(&raw, b64);
    struct decoded d = decode_bytes(raw.data, raw.len, "a@example.net");
    assert_string_equal(d.r->text, utf8);
    if (label)
        assert_string_equal(d.r->subject, utf8);
    assert_int_equal(d.r->flags & REC_DEGRADED, flags);
    done(&d);
    free(b64);
    buf_free(&raw);
}

static void declared(void **state CD_UNUSED)
{
    round_trip("GB18030", "gb18030", SIMPLIFIED, 0);
    round_trip("GBK", "GBK", SIMPLIFIED, 0);
    round_trip("GB18030", "gb2312", TRADITIONAL, 0); /* more than the set declared holds, as usual */
    round_trip("GBK", "x-gbk", SIMPLIFIED, 0);
    round_trip("BIG5", "Big5", TRADITIONAL, 0);
    round_trip("ISO-2022-JP", "iso-2022-jp", JAPANESE, 0);
    round_trip("SHIFT_JIS", "Shift_JIS", JAPANESE, 0);
    round_trip("EUC-JP", "euc-jp", JAPANESE, 0);
    round_trip("KOI8-R", "koi8-r", RUSSIAN, 0);
    round_trip("KOI8-R", "KOI8_R", RUSSIAN, 0);
    round_trip("CP1251", "windows-1251", RUSSIAN, 0);
    round_trip("UTF-7", "utf-7", SIMPLIFIED, 0);
    round_trip("UTF-7", "unicode-1-1-utf-7", SIMPLIFIED, 0);
    round_trip("UTF-16", "utf-16", SIMPLIFIED, 0);
    round_trip("UTF-16LE", "utf-16le", SIMPLIFIED, 0);
    round_trip("ISO-8859-15", "iso-8859-15", FRENCH, 0);
    round_trip("CP1252", "iso-8859-1", FRENCH, 0);
    round_trip("IBM037", "ibm037", "Complaint about 2+2", 0);
    round_trip("UHC", "ks_c_5601-1987", "\xeb\xb6\x88\xeb\xa7\x8c", 0);
}

static void unlabelled(void **state CD_UNUSED)
{
    round_trip("UTF-8", NULL, SIMPLIFIED, 0);
    round_trip("GB18030", NULL, SIMPLIFIED, 0);
    round_trip("BIG5", NULL, TRADITIONAL, 0);
    round_trip("CP1252", NULL, FRENCH, 0);
    round_trip("GB18030", "us-ascii", SIMPLIFIED, 0);
}

static void wrong_or_unknown(void **state CD_UNUSED)
{
    round_trip("GB18030", "utf-8", SIMPLIFIED, REC_DEGRADED);
    round_trip("CP1252", "utf-8", FRENCH, REC_DEGRADED);
    round_trip("UTF-8", "gb18030x", SIMPLIFIED, REC_DEGRADED);
    round_trip("GB18030", "x-mystery", SIMPLIFIED, REC_DEGRADED);
    round_trip("UTF-8", "iso-2022-jp", SIMPLIFIED, 0); /* no doubt about UTF-8 */
    round_trip("UTF-8", "iso-8859-1", SIMPLIFIED FRENCH, 0);
}

static void single_bad_byte(void **state CD_UNUSED)
{
    struct decoded d =
        decode("From: a@example.net\r\nContent-Type: text/plain; charset=utf-8\r\n\r\n" SIMPLIFIED SIMPLIFIED
               "\xff" SIMPLIFIED);
    assert_string_equal(d.r->text, SIMPLIFIED SIMPLIFIED "\xef\xbf\xbd" SIMPLIFIED);
    assert_true(d.r->flags & REC_DEGRADED);
    assert_non_null(strstr(d.r->degraded_reason, "UTF-8"));
    done(&d);
}

/* decode() sees that the front takes the record: a reason that is not UTF-8 would cost the whole text. */
static void name_with_high_bytes(void **state CD_UNUSED)
{
#define PAY_BACK_GBK "\xcd\xcb\xbf\xee\xcd\xcb\xbf\xee\xcd\xcb\xbf\xee"
#define PAY_BACK "\xe9\x80\x80\xe6\xac\xbe\xe9\x80\x80\xe6\xac\xbe\xe9\x80\x80\xe6\xac\xbe"
    struct decoded d = decode("From: a@example.net\r\nContent-Type: text/html\r\n\r\n"
                              "<meta charset=gbk\x81\x81><p>" PAY_BACK_GBK "\xff</p>\r\n");
    assert_non_null(strstr(d.r->text, PAY_BACK));
    assert_true(d.r->flags & REC_DEGRADED);
    assert_non_null(strstr(d.r->degraded_reason, "GB18030"));
    assert_true(utf8_valid(d.r->degraded_reason, strlen(d.r->degraded_reason)));
    done(&d);
}

static void hz(void **state CD_UNUSED)
{
    struct decoded d = decode("From: a@example.net\r\nContent-Type: text/plain; "
                              "charset=hz-gb-2312\r\n\r\nTest ~{<:Ky2;S{~} end ~~\r\n");
    assert_string_equal(d.r->text, "Test \xe5\xb7\xb1\xe6\x89\x80\xe4\xb8\x8d\xe6\xac\xb2 end ~");
    done(&d);
}

static void html_meta(void **state CD_UNUSED)
{
    char bytes[256];
    struct buf raw;
    size_t n = encode("GB18030", SIMPLIFIED, bytes, sizeof bytes);
    buf_init(&raw, CD_KIB(4));
    buf_append_str(&raw, "From: a@example.net\r\nContent-Type: text/html\r\n\r\n<html><head><meta "
                         "http-equiv=Content-Type content='text/html; charset=gbk'></head><p>x ");
    buf_append(&raw, bytes, n);
    struct decoded d = decode_bytes(raw.data, raw.len, "a@example.net");
    assert_string_equal(d.r->text, "x " SIMPLIFIED);
    done(&d);
    buf_free(&raw);
    /* the text is UTF-8 by its part's header: what the document says of itself must not count twice */
    d = decode("From: a@example.net\r\nContent-Type: text/html; charset=utf-8\r\n\r\n<meta "
               "charset=iso-8859-1><p>" FRENCH);
    assert_string_equal(d.r->text, FRENCH);
    done(&d);
}

static void header_words(void **state CD_UNUSED)
{
    static const struct {
        const char *raw, *text;
    } v[] = {
        {"=?utf-8?Q?caf=C3=A9_au?= =?utf-8?q?_lait?=", "caf\xc3\xa9 au lait"},
        {"=?UTF-8?B?5oo=?= =?utf-8?B?lQ==?=", "\xe6\x8a\x95"}, /* one character over two words */
        {"=?utf-8?B?5g==?=\r\n\t=?utf-8?B?ipU=?=", "\xe6\x8a\x95"},
        {"a =?iso-8859-1*fr?Q?=E9?= b", "a \xc3\xa9 b"},
        {"=?utf-8?Q?bro ken?= x", "bro ken x"},
        {"=?utf-8?X?abc?=", "=?utf-8?X?abc?="},
        {"=?utf-8?Q?open", "=?utf-8?Q?open"},
        {"1 = 1 =? 2", "1 = 1 =? 2"},
        {FRENCH, FRENCH},
        {"=?x-none?Q?a=E9b?=", "a\xc3\xa9"
                               "b"},
    };
    for (size_t i = 0; i < ARRAY_LEN(v); i++) {
        char raw[300];
        snprintf(raw, sizeof raw, "From: a@example.net\r\nSubject: %s\r\n\r\nx", v[i].raw);
        struct decoded d = decode(raw);
        assert_string_equal(d.r->subject, v[i].text);
        done(&d);
    }
}

static void names_of_sets(void **state CD_UNUSED)
{
    assert_true(charset_known("GB2312"));
    assert_true(charset_known("\"utf-8\""));
    assert_true(charset_known("us-ascii"));
    assert_true(charset_known("hz-gb-2312"));
    assert_false(charset_known("x-mystery"));
    assert_false(charset_known("../../etc/passwd"));
    assert_true(charset_prepare() > 100);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(declared),
        cmocka_unit_test(unlabelled),
        cmocka_unit_test(wrong_or_unknown),
        cmocka_unit_test(single_bad_byte),
        cmocka_unit_test(name_with_high_bytes),
        cmocka_unit_test(hz),
        cmocka_unit_test(html_meta),
        cmocka_unit_test(header_words),
        cmocka_unit_test(names_of_sets),
    };
    return cmocka_run_group_tests(tests, prepare, NULL);
}
