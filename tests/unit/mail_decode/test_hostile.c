/* Mails that are broken or made to hurt: nothing may crash, hang or lose text without a flag. Budgets are
 * reached here. */
#include "fixture.h"

#include <time.h>

#include "channels/mail/decode_scan.h"

#define FROM "From: Anna <anna@example.net>\r\n"

static struct decoded decode_buf(struct buf *raw)
{
    struct timespec a, b;
    assert_false(raw->failed);
    clock_gettime(CLOCK_MONOTONIC, &a);
    struct decoded d = decode_bytes(raw->data, raw->len, "a@example.net");
    clock_gettime(CLOCK_MONOTONIC, &b);
    double s = (double)(b.tv_sec - a.tv_sec) + (double)(b.tv_nsec - a.tv_nsec) / 1e9;
    print_message("%10zu bytes in %.3f s\n", raw->len, s);
    assert_true(s < 20); /* a worker has seconds; sanitizers and a busy machine cost ten times */
    buf_free(raw);
    return d;
}

static struct buf begin(void)
{
    struct buf raw;
    buf_init(&raw, CD_MIB(64));
    return raw;
}

static void degraded_because(const struct decoded *d, const char *word)
{
    assert_int_equal(d->result, 0);
    assert_true(d->r->flags & REC_DEGRADED);
    assert_non_null(strstr(d->r->degraded_reason, word));
}

static void nothing(void **state CD_UNUSED)
{
    struct decoded d = decode_bytes("", 0, "");
    assert_int_equal(d.result, CD_EINVAL);
    assert_string_equal(d.r->text, "");
    done(&d);
    static const char *const little[] = {
        "\n", "\r\n\r\n", " ", "a", "From", "From:", ":", "\r", "--", "From: a@example.net", "\xff"};
    for (size_t i = 0; i < ARRAY_LEN(little); i++) {
        d = decode(little[i]);
        done(&d);
    }
}

static void no_headers(void **state CD_UNUSED)
{
    struct decoded d = decode(
        "Return-Path: <anna@example.net>\r\nReceived: from x by y\r\nThe kettle burns.\r\nCall me: now\r\n");
    assert_string_equal(d.r->text, "The kettle burns.\nCall me: now");
    assert_string_equal(d.r->email, "anna@example.net");
    done(&d);
    d = decode("\r\nThe kettle burns.\r\n");
    assert_string_equal(d.r->text, "The kettle burns.");
    done(&d);
}

static void header_behind_an_empty_line(void **state CD_UNUSED)
{
    struct decoded d =
        decode("Return-Path: <x@example.net>\r\n\r\n\xef\xbb\xbf" FROM "Subject: kettle\r\n\r\nbody\r\n");
    assert_string_equal(d.r->email, "anna@example.net");
    assert_string_equal(d.r->subject, "kettle");
    assert_string_equal(d.r->text, "body");
    done(&d);
}

/* The fields of the transport do not reach the library. What is around them does, and attachments' places are those in the mail; the
 * same mail over the size up to which they are left out reads the same. */
static void fields_of_the_transport(void **state CD_UNUSED)
{
    static const char head[] =
        "Return-Path: <anna@example.net>\r\nReceived: from a by b;\r\n\tSun, 1 Nov 2026 08:00:00 +0000\r\n" FROM
        "DKIM-Signature: v=1; a=rsa-sha256;\r\n b=abc\r\nlost its space\r\nSubject: kettle\r\nTo: =?utf-8?q?=FF?=\r\n"
        "Content-Type: multipart/mixed; boundary=x\r\nUser-Agent:\r\nX-Mailer: y\r\n\r\n--x\r\nTo: inner\r\n\r\nThe kettle burns.\r\n"
        "--x\r\nContent-Type: image/png\r\nContent-Transfer-Encoding: base64\r\n\r\nAAAA\r\n--x--\r\n";
    for (size_t size = 0; size <= CD_KIB(100); size += CD_KIB(100)) {
        struct buf raw = begin();
        buf_append_str(&raw, head);
        while (raw.len < size)
            buf_append_str(&raw, "behind the end\r\n");
        size_t at = (size_t)(strstr(buf_str(&raw), "AAAA") - buf_str(&raw));
        struct decoded d = decode_buf(&raw);
        assert_int_equal(d.result, 0);
        assert_int_equal(d.r->flags, 0);
        assert_string_equal(d.r->email, "anna@example.net");
        assert_string_equal(d.r->subject, "kettle");
        assert_string_equal(d.r->text, "The kettle burns.");
        assert_int_equal(d.r->nattachments, 1);
        assert_int_equal(d.r->attachments[0].offset, at);
        assert_int_equal(d.r->attachments[0].size_bytes, 3);
        done(&d);
    }
}

static void no_body(void **state CD_UNUSED)
{
    struct decoded d = decode(FROM "Subject: only a subject\r\n\r\n");
    assert_string_equal(d.r->text, "");
    assert_int_equal(d.r->flags, 0);
    done(&d);
    d = decode(FROM "Subject: cut off");
    assert_string_equal(d.r->subject, "cut off");
    done(&d);
}

static void nul_bytes(void **state CD_UNUSED)
{
    static const char raw[] = FROM "Subject: bef\0ore\r\nX\0: y\r\n\r\nbe\0fore \0 after\0";
    struct decoded d = decode_bytes(raw, sizeof raw - 1, "a@example.net");
    assert_string_equal(d.r->subject, "bef ore");
    assert_string_equal(d.r->text, "before  after");
    done(&d);
}

static void bare_cr(void **state CD_UNUSED)
{
    struct decoded d = decode(
        "Return-Path: <x@example.net>\r\nFrom: b@example.net\rSubject: old system\r\rfirst\rsecond\r\r\n");
    assert_string_equal(d.r->email, "b@example.net");
    assert_string_equal(d.r->subject, "old system");
    assert_string_equal(d.r->text, "first\nsecond");
    done(&d);
}

static void boundary_never_met(void **state CD_UNUSED)
{
    struct decoded d =
        decode(FROM "Content-Type: multipart/mixed; boundary=abc\r\n\r\nThe kettle burns.\r\n");
    assert_non_null(strstr(d.r->text, "The kettle burns."));
    done(&d);
    d = decode(FROM "Content-Type: multipart/mixed\r\n\r\n--abc\r\n\r\nThe kettle burns.\r\n--abc--\r\n");
    assert_non_null(strstr(d.r->text, "The kettle burns."));
    done(&d);
    d = decode(
        FROM
        "Content-Type: multipart/mixed; boundary=abc\r\n\r\nThe kettle burns.\r\n--abc\r\n\r\n--abc--\r\n");
    assert_non_null(strstr(d.r->text, "The kettle burns."));
    done(&d);
    d = decode(FROM "Content-Type: kettle\r\n\r\nThe kettle burns.\r\n");
    assert_string_equal(d.r->text, "The kettle burns.");
    done(&d);
}

static void cut_in_the_middle(void **state CD_UNUSED)
{
    static const char raw[] =
        FROM "Content-Type: multipart/mixed; boundary=\"m\"\r\n\r\n--m\r\nContent-Type: text/plain; "
             "charset=gb2312\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\n"
             "=CE=D2=D2=AA=CD=B6=CB=DF\r\n--m\r\nContent-Type: image/png; "
             "name=\"=?utf-8?B?5oo=?=\"\r\nContent-Transfer-Encoding: base64\r\n\r\nAAAABBBB\r\n--m--\r\n";
    for (size_t n = 1; n < sizeof raw; n++) {
        struct decoded d = decode_bytes(raw, n, "a@example.net");
        done(&d);
    }
    /* every byte wrong once */
    for (size_t i = 0; i < sizeof raw - 1; i++) {
        char copy[sizeof raw];
        memcpy(copy, raw, sizeof raw);
        copy[i] = (char)(copy[i] ^ 0x85);
        struct decoded d = decode_bytes(copy, sizeof raw - 1, "a@example.net");
        done(&d);
    }
}

static void deep_multiparts(void **state CD_UNUSED)
{
    struct buf raw = begin();
    buf_append_str(&raw, FROM "Content-Type: multipart/mixed; boundary=b0\r\n\r\n");
    for (int i = 0; i < 2000; i++)
        buf_printf(&raw, "--b%d\r\nContent-Type: multipart/mixed; boundary=b%d\r\n\r\n", i, i + 1);
    buf_append_str(&raw, "--b2000\r\n\r\nThe kettle burns.\r\n--b2000--\r\n");
    struct decoded d = decode_buf(&raw);
    degraded_because(&d, "parts");
    assert_non_null(strstr(d.r->text, "The kettle burns."));
    done(&d);
    raw = begin();
    buf_append_str(&raw, FROM "Content-Type: multipart/mixed; boundary=b0\r\n\r\n");
    for (int i = 0; i < 30; i++)
        buf_printf(&raw, "--b%d\r\nContent-Type: multipart/mixed; boundary=b%d\r\n\r\n", i, i + 1);
    buf_append_str(&raw, "--b30\r\n\r\nThe kettle burns.\r\n--b30--\r\n");
    d = decode_buf(&raw);
    degraded_because(&d, "nested deeper than 20");
    assert_string_equal(d.r->text, "The kettle burns.");
    done(&d);
}

static void deep_messages(void **state CD_UNUSED)
{
    struct buf raw = begin();
    for (int i = 0; i < 20000; i++)
        buf_append_str(&raw, "Content-Type: message/rfc822\r\n\r\n");
    buf_append_str(&raw, "Subject: inner\r\n\r\nThe kettle burns.\r\n");
    struct decoded d = decode_buf(&raw);
    degraded_because(&d, "parts");
    assert_non_null(strstr(d.r->text, "The kettle burns."));
    done(&d);
}

/* A digest's parts are messages by default: their headers announce boundaries where no part header does. */
static void parts_in_a_digest(void **state CD_UNUSED)
{
    struct buf raw = begin();
    buf_append_str(&raw, FROM "Content-Type: multipart/digest; boundary=d\r\n\r\n--d\r\n\r\nSubject: "
                              "s\r\nContent-Type: multipart/mixed; boundary=zz\r\n\r\n");
    for (int i = 0; i < 20000; i++)
        buf_append_str(&raw, "--zz\r\n\r\n");
    buf_append_str(&raw, "--zz--\r\n--d--\r\n");
    struct decoded d = decode_buf(&raw);
    degraded_because(&d, "parts");
    done(&d);
}

static void hundred_thousand_parts(void **state CD_UNUSED)
{
    static const char *const boundaries[] = {"boundary=x",       "boundary*=us-ascii''x",
                                             "boundary (c) = x", "BOUNDARY=\"x\"",
                                             "boundary=\r\n x",  "boundary=x--; boundary=x"};
    for (size_t k = 0; k < ARRAY_LEN(boundaries); k++) {
        struct buf raw = begin();
        buf_printf(&raw, FROM "Content-Type: multipart/mixed; %s\r\n\r\nstart\r\n", boundaries[k]);
        for (int i = 0; i < 100000; i++)
            buf_append_str(&raw, k == 5 ? "--x--\r\n\r\n" : "--x\r\n\r\n");
        buf_append_str(&raw, "--x\r\n\r\nThe kettle burns.\r\n--x--\r\n");
        struct decoded d = decode_buf(&raw);
        degraded_because(&d, "parts");
        assert_non_null(strstr(d.r->text, "The kettle burns."));
        done(&d);
    }
}

static void many_attachments(void **state CD_UNUSED)
{
    struct buf raw = begin();
    buf_append_str(&raw,
                   FROM "Content-Type: multipart/mixed; boundary=x\r\n\r\n--x\r\n\r\nThe kettle burns.\r\n");
    for (int i = 0; i < 600; i++)
        buf_append_str(&raw,
                       "--x\r\nContent-Type: image/png\r\nContent-Transfer-Encoding: base64\r\n\r\nAAAA\r\n");
    struct decoded d = decode_buf(&raw);
    degraded_because(&d, "parts");
    assert_in_range(d.r->nattachments, 490, RECORD_MAX_ATTACHMENTS);
    done(&d);
}

/* Dashes in a text that is no multipart, or are no boundary of it, are just dashes. */
static void dashes_are_no_parts(void **state CD_UNUSED)
{
    struct buf raw = begin();
    buf_append_str(&raw,
                   FROM "Content-Type: multipart/mixed; boundary=\"real one\"\r\n\r\n--real one\r\n\r\n");
    for (int i = 0; i < 2000; i++)
        buf_append_str(&raw, "--- a/file\r\n");
    buf_append_str(&raw, "--real one--\r\n");
    struct decoded d = decode_buf(&raw);
    assert_int_equal(d.r->flags, 0);
    assert_int_equal(strlen(d.r->text), 2000 * 11 - 1);
    done(&d);
}

static void huge_header(void **state CD_UNUSED)
{
    struct buf raw = begin();
    buf_append_str(&raw, "X-Junk: ");
    for (int i = 0; i < 20000000 / 10; i++)
        buf_append_str(&raw, "0123456789");
    buf_append_str(&raw, "\r\n" FROM "Subject: kettle\r\n\r\nThe kettle burns.\r\n");
    struct decoded d = decode_buf(&raw);
    degraded_because(&d, "header");
    assert_string_equal(d.r->email, "anna@example.net");
    assert_string_equal(d.r->subject, "kettle");
    assert_string_equal(d.r->text, "The kettle burns.");
    done(&d);
}

static void many_headers(void **state CD_UNUSED)
{
    struct buf raw = begin();
    for (int i = 0; i < 300000; i++)
        buf_append_str(&raw, "a:\r\n");
    buf_append_str(&raw, FROM "Subject: ");
    for (int i = 0; i < 100000; i++)
        buf_append_str(&raw, "subject words ");
    buf_append_str(&raw, "\r\n\r\nThe kettle burns.\r\n");
    struct decoded d = decode_buf(&raw);
    degraded_because(&d, "header");
    assert_string_equal(d.r->email, "anna@example.net");
    assert_in_range(strlen(d.r->subject), 30000, SCAN_MAX_FIELD);
    assert_string_equal(d.r->text, "The kettle burns.");
    done(&d);
}

static void header_without_end(void **state CD_UNUSED)
{
    static const char *const lines[] = {"odd line\r\n",        "To: a@b.c\r\n", " continued\r\n",
                                        "From: <<<<(((((\r\n", "From x\r\n",    "odd line\r\nSubject: a\r\n"};
    for (size_t k = 0; k < ARRAY_LEN(lines); k++) {
        struct buf raw = begin();
        buf_append_str(&raw, FROM);
        while (raw.len < 3000000)
            buf_append_str(&raw, lines[k]);
        struct decoded d = decode_buf(&raw);
        assert_int_equal(d.result, 0);
        done(&d);
    }
}

static void repeat(struct buf *raw, const char *s, size_t n)
{
    for (size_t i = 0; i < n; i++)
        buf_append_str(raw, s);
}

static void twisted_fields(void **state CD_UNUSED)
{
    static const struct {
        const char *field, *piece;
    } v[] = {
        {"From: ", "("},
        {"From: ", "a:"},
        {"From: ", "<"},
        {"From: ", "\""},
        {"From: ", "a@b,"},
        {"From: ", "=?a?q?"},
        {"From: ", "\\"},
        {"From: ", "=?utf-8?Q?a?= "},
        {"Subject: ", "=?gb2312?B?1tA=?= "},
        {"Subject: ", "=?x?Q?"
                      "?="},
        {"Subject: ", "=?"},
        {"Content-Type: text/plain", ";a=b"},
        {"Content-Type: multipart/mixed", ";boundary=a"},
        {"Content-Type: text/plain", ";a*0*=b"},
        {"Content-Disposition: attachment", ";filename*1=b"},
        {"References: ", "<a@b>"},
        {"References: ", "<"},
        {"Date: ", "Mon, "},
        {"Date: ", "9"},
        {"Message-ID: ", "<("},
        {"Content-Type: text/plain; charset=", "x"},
        {"Content-Disposition: attachment; filename=\"", "../"},
    };
    for (size_t i = 0; i < ARRAY_LEN(v); i++) {
        struct buf raw = begin();
        buf_append_str(&raw, v[i].field);
        repeat(&raw, v[i].piece, 30000 / strlen(v[i].piece));
        buf_append_str(&raw, "\r\n\r\nThe kettle burns.\r\n");
        struct decoded d = decode_buf(&raw);
        assert_int_equal(d.result, 0);
        assert_non_null(strstr(d.r->text, "The kettle burns."));
        done(&d);
    }
}

/* At the budget all is read; over it the field ends before the parameter that is too many, and the mail is read on. */
static void parameters(void **state CD_UNUSED)
{
    static const struct {
        const char *between;
        int n;
        bool over;
    } v[] = {{"; a%d=b", SCAN_MAX_PARAMS - 1, false}, {";\r\n a%d=b", SCAN_MAX_PARAMS - 1, false}, {"; a%d=b", SCAN_MAX_PARAMS, true},
             {";\r\n a%d=b", 50000, true}, {"; a%d=b", 50000, true}};
    for (size_t i = 0; i < ARRAY_LEN(v); i++) {
        struct buf raw = begin();
        buf_append_str(&raw, FROM "Content-Type: text/plain; charset=iso-8859-2");
        for (int k = 0; k < v[i].n; k++)
            buf_printf(&raw, v[i].between[1] == ' ' ? "; a%d=b" : ";\r\n a%d=b", k);
        buf_append_str(&raw, "\r\nSubject: kettle\r\n\r\nThe \xb3 kettle burns.\r\n");
        struct decoded d = decode_buf(&raw);
        if (v[i].over)
            degraded_because(&d, "more than 100 parameters");
        else
            assert_false(d.r->flags & REC_DEGRADED);
        assert_string_equal(d.r->subject, "kettle");
        assert_string_equal(d.r->text, "The \xc5\x82 kettle burns.");
        done(&d);
    }
}

static void text_over_the_cap(void **state CD_UNUSED)
{
    static const char *const types[] = {"text/plain", "text/html", "text/plain; charset=iso-8859-1",
                                        "text/plain; charset=utf-16"};
    for (size_t k = 0; k < ARRAY_LEN(types); k++) {
        struct buf raw = begin();
        buf_printf(&raw, FROM "Content-Type: %s\r\n\r\n", types[k]);
        repeat(&raw, k == 2 ? "\xe9\xe9\xe9\xe9 \xe9\xe9\xe9\xe9\xe9\r\n" : "The kettle burns. ",
               (RECORD_MAX_TEXT + 500000) / (k == 2 ? 12 : 18));
        struct decoded d = decode_buf(&raw);
        if (k < 3)
            degraded_because(&d, "cut");
        assert_in_range(strlen(d.r->text), RECORD_MAX_TEXT / 2, RECORD_MAX_TEXT);
        done(&d);
    }
}

static void encoded_messages_in_each_other(void **state CD_UNUSED)
{
    char *inner = cd_strdup("Subject: inner\n\nThe kettle burns.\n");
    for (int i = 0; i < 15; i++) {
        char *b64 = base64_encode(inner, strlen(inner));
        free(inner);
        inner =
            cd_asprintf("Subject: level %d\nContent-Type: multipart/mixed; boundary=m\n\n--m\nContent-Type: "
                        "message/rfc822\nContent-Transfer-Encoding: base64\n\n%s\n--m--\n",
                        i, b64);
        free(b64);
    }
    struct buf raw = begin();
    buf_append_str(&raw, inner);
    free(inner);
    struct decoded d = decode_buf(&raw);
    degraded_because(&d, "encoded messages");
    done(&d);
}

static void binary_rubbish(void **state CD_UNUSED)
{
    for (int i = 0; i < 30; i++) {
        struct buf raw = begin();
        uint8_t bytes[20000];
        random_bytes(bytes, sizeof bytes);
        if (i % 2)
            buf_append_str(&raw, FROM "Content-Type: text/html\r\n\r\n");
        buf_append(&raw, bytes, sizeof bytes);
        struct decoded d = decode_bytes(raw.data, raw.len, "a@example.net");
        done(&d);
        buf_free(&raw);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(nothing),
        cmocka_unit_test(no_headers),
        cmocka_unit_test(header_behind_an_empty_line),
        cmocka_unit_test(fields_of_the_transport),
        cmocka_unit_test(no_body),
        cmocka_unit_test(nul_bytes),
        cmocka_unit_test(bare_cr),
        cmocka_unit_test(boundary_never_met),
        cmocka_unit_test(cut_in_the_middle),
        cmocka_unit_test(deep_multiparts),
        cmocka_unit_test(deep_messages),
        cmocka_unit_test(parts_in_a_digest),
        cmocka_unit_test(hundred_thousand_parts),
        cmocka_unit_test(many_attachments),
        cmocka_unit_test(dashes_are_no_parts),
        cmocka_unit_test(huge_header),
        cmocka_unit_test(many_headers),
        cmocka_unit_test(header_without_end),
        cmocka_unit_test(twisted_fields),
        cmocka_unit_test(parameters), cmocka_unit_test(text_over_the_cap),
        cmocka_unit_test(encoded_messages_in_each_other),
        cmocka_unit_test(binary_rubbish),
    };
    return cmocka_run_group_tests(tests, prepare, NULL);
}
