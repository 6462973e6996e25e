/* winmail.dat: members, texts in each form, and streams that lie about lengths and counts or break off anywhere. */
#include "fixture.h"
#include "tnef_maker.h"

#include "channels/mail/content.h"
#include "channels/mail/rtf.h"
#include "channels/mail/tnef.h"

#define FROM "From: Anna <anna@example.net>\r\nTo: care@example.com\r\nSubject: s\r\n"
static const char png[] = "\x89PNG\r\n\x1a\n\0\0\0\rIHDR\0\0\0\x01\0\0\0\x01\x08\x06\0\0\0";

static void put_count(struct buf *b, uint32_t n)
{
    buf_init(b, CD_MIB(8));
    put32(b, n);
}

static struct decoded decode_tnef_mail(const struct buf *t, const char *text)
{
    char *b64 = base64_encode(t->data, t->len);
    char *raw = cd_asprintf(FROM "Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\nContent-Type: text/plain\r\n\r\n%s\r\n--b\r\n"
                                 "Content-Type: application/ms-tnef; name=\"winmail.dat\"\r\nContent-Transfer-Encoding: base64\r\n"
                                 "Content-Disposition: attachment; filename=\"winmail.dat\"\r\n\r\n%s\r\n--b--\r\n",
                            text, b64);
    struct decoded d = decode(raw);
    free(raw);
    free(b64);
    return d;
}

static void collect(void *arg, const void *p, size_t n)
{
    buf_append(arg, p, n);
}

/* The bytes that would be handed out are those that were summed. */
static void check_member(const struct decoded *d, const struct attachment *a)
{
    struct buf out;
    uint8_t sha[SHA256_SIZE];
    buf_init(&out, CD_MIB(64));
    assert_int_equal(content_member(a->encoding, a->inner, d->e->raw.data + a->offset, a->length, collect, &out), 0);
    assert_int_equal(out.len, a->size_bytes);
    sha256(buf_str(&out), out.len, sha);
    assert_memory_equal(sha, a->sha256, sizeof sha);
    buf_free(&out);
}

static void members(void **state CD_UNUSED)
{
    struct buf t, props;
    tnef_begin(&t);
    tnef_attribute(&t, 1, TNEF_VERSION, "\0\0\1\0", 4);
    tnef_attribute(&t, 1, TNEF_CODEPAGE, "\xa8\x03\0\0\0\0\0\0", 8); /* 936 */
    tnef_member(&t, "BILL~1.PNG", png, sizeof png - 1);
    put_count(&props, 4);
    put32(&props, 0x80010003); /* a named property, to be walked over */
    buf_append(&props, "0123456789abcdef", 16);
    put32(&props, 1);
    put32(&props, 6);
    buf_append(&props, "x\0y\0\0\0\0\0", 8);
    put32(&props, 7);
    put32(&props, 0x0e210003); /* a number */
    put32(&props, 5);
    tnef_wide(&props, 0x3707001f, "../evil/bill of October.png");
    tnef_wide(&props, 0x370e001f, "image/PNG");
    tnef_attribute(&t, 2, TNEF_MEMBER_PROPS, props.data, props.len);
    buf_free(&props);
    tnef_member(&t, "\xd5\xca\xb5\xa5.txt", "hello", 5);
    struct decoded d = decode_tnef_mail(&t, "Here is the bill.");
    struct attachment *a = d.r->attachments;
    assert_string_equal(d.r->text, "Here is the bill.");
    assert_int_equal(d.r->nattachments, 3);
    assert_int_equal(a[0].kind, AT_CONTAINER);
    assert_string_equal(a[0].filename, "winmail.dat");
    assert_int_equal(a[0].size_bytes, t.len);
    assert_string_equal(a[1].filename, "bill of October.png");
    assert_string_equal(a[1].content_type, "image/png");
    assert_string_equal(a[1].magic_type, "image/png");
    assert_string_equal(a[1].inner, "tnef:1");
    assert_int_equal(a[1].size_bytes, sizeof png - 1);
    assert_int_equal(a[1].offset, a[0].offset);
    assert_string_equal(a[2].filename, "\xe5\xb8\x90\xe5\x8d\x95.txt");
    assert_string_equal(a[2].content_type, "text/plain");
    assert_string_equal(a[2].inner, "tnef:2");
    for (size_t i = 0; i < 3; i++)
        check_member(&d, &a[i]);
    assert_false(d.r->flags & REC_DEGRADED);
    struct buf out;
    buf_init(&out, CD_KIB(64));
    assert_int_equal(content_member("base64", "tnef:3", d.e->raw.data + a[0].offset, a[0].length, collect, &out), CD_ENOTFOUND);
    assert_int_equal(content_member("base64", "tnef:0", d.e->raw.data + a[0].offset, a[0].length, collect, &out), CD_ENOTFOUND);
    assert_int_equal(content_member("base64", "zip:1", d.e->raw.data + a[0].offset, a[0].length, collect, &out), CD_ENOTFOUND);
    assert_int_equal(out.len, 0);
    done(&d);
    buf_free(&t);
}

static void check_text(struct buf *t, const char *text, const char *sees)
{
    struct decoded d = decode_tnef_mail(t, text);
    assert_string_equal(d.r->text, sees);
    assert_int_equal(d.r->attachments[0].kind, AT_CONTAINER);
    done(&d);
    buf_free(t);
}

static void texts(void **state CD_UNUSED)
{
    struct buf t, props, rtf;
    tnef_begin(&t);
    tnef_attribute(&t, 1, TNEF_CODEPAGE, "\xa8\x03\0\0\0\0\0\0", 8);
    tnef_attribute(&t, 1, TNEF_BODY, "\xce\xd2\xd2\xaa\xcd\xcb\xbf\xee", 9);
    check_text(&t, "", "\xe6\x88\x91\xe8\xa6\x81\xe9\x80\x80\xe6\xac\xbe");

    tnef_begin(&t);
    put_count(&props, 1);
    tnef_property(&props, 0x1000001f, "\x3d\xd8\x00\xde\x0d\0\x0a\0o\0k\0\0", 14); /* a surrogate pair */
    tnef_attribute(&t, 1, TNEF_PROPS, props.data, props.len);
    buf_free(&props);
    check_text(&t, "", "\xf0\x9f\x98\x80\nok");

    tnef_begin(&t);
    put_count(&props, 2);
    put32(&props, 0x3fde0003);
    put32(&props, 65001);
    tnef_property(&props, 0x10130102, "<p>caf\xc3\xa9<br>leaks", 17);
    tnef_attribute(&t, 1, TNEF_PROPS, props.data, props.len);
    buf_free(&props);
    check_text(&t, "", "caf\xc3\xa9\nleaks");

    tnef_begin(&t);
    put_count(&props, 1);
    tnef_pack_rtf(&rtf, "{\\rtf1\\ansi\\ansicpg1252\\fromhtml1{\\fonttbl{\\f0 Arial;}}{\\*\\htmltag64 <p>}The kettle \\'e9 leaks\\u8364 ?.\\par {\\b Bye}\\tab x}");
    tnef_property(&props, 0x10090102, rtf.data, rtf.len);
    tnef_attribute(&t, 1, TNEF_PROPS, props.data, props.len);
    buf_free(&props);
    buf_free(&rtf);
    check_text(&t, "", "The kettle \xc3\xa9 leaks\xe2\x82\xac.\nBye\tx");

    tnef_begin(&t);
    tnef_attribute(&t, 1, TNEF_BODY, "not this", 9);
    check_text(&t, "The mail has a text of its own.", "The mail has a text of its own.");
}

/* A reference into the words the ring begins with, one over its own end, and the mark of the end. */
static void packed_rtf(void **state CD_UNUSED)
{
    static const uint8_t packed[] = {0,    0,    0,   0,   17,  0,   0,   0,    0x4c, 0x5a, 0x46, 0x75, 0,    0,    0,    0,
                                     0x3d, 0x00, 0x04, 'a', 0x0d, 0x50, 0x0d, 0x54, 0x0d, 0x10, 'z', 'z'};
    size_t n;
    uint8_t *p = tnef_unpack_rtf(packed, sizeof packed, 100, &n);
    assert_non_null(p);
    assert_true(n >= 7 && memcmp(p, "{\\rtf1a", 7) == 0);
    free(p);
    for (size_t len = 0; len <= sizeof packed; len++) { /* cut anywhere */
        uint8_t *copy = cd_alloc(len + 1);
        memcpy(copy, packed, len);
        p = tnef_unpack_rtf(copy, len, 100, &n);
        assert_true(len >= 16 ? p != NULL : p == NULL);
        free(p);
        free(copy);
    }
    struct buf stored;
    buf_init(&stored, 100);
    put32(&stored, 20);
    put32(&stored, 0xffffffff); /* lies about its size */
    put32(&stored, 0x414c454d);
    put32(&stored, 0);
    buf_append_str(&stored, "{\\rtf1 x}");
    p = tnef_unpack_rtf(stored.data, stored.len, 1000, &n);
    assert_int_equal(n, 9);
    free(p);
    buf_free(&stored);
}

static void check_rtf(const char *rtf, const char *text)
{
    struct buf out;
    buf_init(&out, CD_KIB(64));
    rtf_to_text(rtf, strlen(rtf), "cp1252", &out);
    assert_string_equal(buf_str(&out), text);
    buf_free(&out);
}

static void rtf(void **state CD_UNUSED)
{
    check_rtf("", "");
    check_rtf("{\\rtf1 a\\\\b\\{c\\}d\\~e\\line f}", "a\\b{c}d e\nf");
    check_rtf("{\\rtf1{\\stylesheet{\\s1 Normal;}}{\\info{\\author X}}{\\pict 00ff}seen{\\*\\unknown hidden{\\b deep}}}", "seen");
    check_rtf("{\\rtf1\\ansicpg936 \\'ce\\'d2\\'d2\\'aa}", "\xe6\x88\x91\xe8\xa6\x81");
    check_rtf("{\\rtf1\\uc2\\u-10179\\'a1\\'a1\\u-8704\\'a1\\'a1!}", "\xf0\x9f\x98\x80!");
    check_rtf("{\\rtf1\\u56320 ?\\u8364", "\xef\xbf\xbd\xe2\x82\xac");
    check_rtf("{\\rtf1 a{\\bin5 }}}}}b\\bin99999999 c}", "ab"); /* what \\bin counts is skipped, as far as there is any */
    check_rtf("}}}}\\par\\'\\'z\\", "\nz");
    struct buf deep, out;
    buf_init(&deep, CD_MIB(4));
    for (int i = 0; i < 100000; i++)
        buf_append_str(&deep, "{\\b x");
    buf_init(&out, CD_MIB(4));
    rtf_to_text(deep.data, deep.len, "cp1252", &out);
    assert_int_equal(out.len, 100000);
    buf_free(&deep);
    buf_free(&out);
}

/* ---- streams that lie ---- */

static void is_degraded(const struct buf *t, const char *why)
{
    struct decoded d = decode_tnef_mail(t, "text");
    assert_true(d.r->flags & REC_DEGRADED);
    assert_non_null(strstr(d.r->degraded_reason, why));
    assert_string_equal(d.r->text, "text");
    assert_true(d.r->nattachments >= 1); /* the container is kept, whatever is in it */
    for (size_t i = 0; i < d.r->nattachments; i++)
        check_member(&d, &d.r->attachments[i]);
    done(&d);
}

static void lies(void **state CD_UNUSED)
{
    static const uint32_t sizes[] = {0, 6, 0x7fffffff, 0x80000000, 0xffffffff};
    static const uint32_t counts[] = {0, 1, 2, 1000, 1001, 0x7fffffff, 0xffffffff};
    static const uint32_t tags[] = {0x00370102, 0x1000001f, 0x10000002, 0x1009101f, 0x80010003, 0x37070013, 0x3701000d, 0x0e1d001e, 0xffffffff};
    struct buf t, props;
    for (size_t i = 0; i < ARRAY_LEN(sizes); i++) {
        tnef_begin(&t);
        tnef_member(&t, "a.txt", "hello", 5);
        tnef_attribute_lying(&t, 1, TNEF_BODY, "hello", 5, sizes[i]);
        is_degraded(&t, "damaged");
        buf_free(&t);
    }
    for (size_t i = 0; i < ARRAY_LEN(counts); i++)
        for (size_t k = 0; k < ARRAY_LEN(tags); k++)
            for (size_t s = 0; s < ARRAY_LEN(sizes); s++) {
                tnef_begin(&t);
                put_count(&props, counts[i]);
                put32(&props, tags[k]);
                put32(&props, counts[i]);
                put32(&props, sizes[s]);
                buf_append(&props, "abc", 3);
                tnef_attribute(&t, 1, TNEF_PROPS, props.data, props.len);
                tnef_attribute(&t, 2, TNEF_MEMBER_PROPS, props.data, props.len);
                struct tnef *x = tnef_open(t.data, t.len);
                assert_non_null(x);
                tnef_close(&x);
                buf_free(&props);
                buf_free(&t);
            }
    tnef_begin(&t);
    is_degraded(&(struct buf){.data = (uint8_t *)(uintptr_t)"winmail.dat that is none", .len = 24}, "could not be read");
    buf_free(&t);
}

/* The same attribute again and again: what libytnef would forget to free never reaches it. */
static void twice(void **state CD_UNUSED)
{
    struct buf t;
    tnef_begin(&t);
    for (int i = 0; i < 50; i++) {
        tnef_attribute(&t, 1, TNEF_BODY, "body", 5);
        tnef_attribute(&t, 1, TNEF_CODEPAGE, "\xe4\x04\0\0", 4);
        tnef_attribute(&t, 2, TNEF_TITLE, "a", 2); /* of no member yet */
        tnef_attribute(&t, 2, TNEF_DATA, "first", 5);
        tnef_attribute(&t, 2, TNEF_DATA, "second", 6);
        tnef_attribute(&t, 2, TNEF_DATA, "", 0);
    }
    struct tnef *x = tnef_open(t.data, t.len);
    assert_int_equal(x->nmembers, 1);
    assert_int_equal(x->members[0].n, 5);
    assert_memory_equal(x->members[0].data, "first", 5);
    tnef_close(&x);
    buf_free(&t);
}

static void too_much(void **state CD_UNUSED)
{
    struct buf t, props;
    tnef_begin(&t);
    for (int i = 0; i < TNEF_MAX_MEMBERS + 50; i++)
        tnef_member(&t, "a", "x", 1);
    struct decoded d = decode_tnef_mail(&t, "text");
    assert_int_equal(d.r->nattachments, TNEF_MAX_MEMBERS + 1);
    assert_non_null(strstr(d.r->degraded_reason, "over budget"));
    done(&d);
    buf_free(&t);

    tnef_begin(&t);
    put_count(&props, TNEF_MAX_PROPERTIES + 1);
    for (int i = 0; i < TNEF_MAX_PROPERTIES + 1; i++) {
        put32(&props, 0x0e210003);
        put32(&props, 1);
    }
    tnef_attribute(&t, 1, TNEF_PROPS, props.data, props.len);
    is_degraded(&t, "over budget");
    buf_free(&props);
    buf_free(&t);

    struct buf large; /* the library gives up on such properties: a member's goes another way, a text is left out */
    buf_init(&large, CD_MIB(2));
    while (large.len < TNEF_MAX_VALUE + 100)
        buf_append_str(&large, "0123456789abcdef");
    tnef_begin(&t);
    tnef_attribute(&t, 2, TNEF_RENDDATA, "01234567890123", 14);
    put_count(&props, 2);
    tnef_wide(&props, 0x3707001f, "large.bin");
    tnef_property(&props, 0x3701000d, large.data, large.len);
    tnef_attribute(&t, 2, TNEF_MEMBER_PROPS, props.data, props.len);
    buf_free(&props);
    struct decoded l = decode_tnef_mail(&t, "text");
    assert_string_equal(l.r->attachments[1].filename, "large.bin");
    assert_int_equal(l.r->attachments[1].size_bytes, large.len - 16);
    assert_false(l.r->flags & REC_DEGRADED);
    check_member(&l, &l.r->attachments[1]);
    done(&l);
    buf_free(&t);
    tnef_begin(&t);
    tnef_member(&t, "a", "x", 1);
    put_count(&props, 1);
    tnef_property(&props, 0x1000001e, large.data, large.len);
    tnef_attribute(&t, 1, TNEF_PROPS, props.data, props.len);
    is_degraded(&t, "over budget");
    buf_free(&props);
    buf_free(&large);
    buf_free(&t);

    tnef_begin(&t); /* a huge member is a member */
    struct buf huge;
    buf_init(&huge, CD_MIB(20));
    assert_int_equal(buf_reserve(&huge, CD_MIB(12)), 0);
    memset(huge.data, 'x', CD_MIB(12));
    tnef_member(&t, "huge.bin", huge.data, CD_MIB(12));
    d = decode_tnef_mail(&t, "text");
    assert_int_equal(d.r->nattachments, 2);
    assert_int_equal(d.r->attachments[1].size_bytes, CD_MIB(12));
    assert_false(d.r->flags & REC_DEGRADED);
    check_member(&d, &d.r->attachments[1]);
    done(&d);
    buf_free(&huge);
    buf_free(&t);
}

/* Cut at every byte, and each byte changed. */
static void cut_and_changed(void **state CD_UNUSED)
{
    struct buf t, props, packed;
    tnef_begin(&t);
    put_count(&props, 2);
    tnef_pack_rtf(&packed, "{\\rtf1 hello}");
    tnef_property(&props, 0x10090102, packed.data, packed.len);
    tnef_wide(&props, 0x0037001f, "subject");
    tnef_attribute(&t, 1, TNEF_PROPS, props.data, props.len);
    tnef_member(&t, "a.png", png, sizeof png - 1);
    for (size_t n = 0; n < t.len; n++) {
        uint8_t *copy = cd_alloc(n + 1);
        memcpy(copy, t.data, n);
        struct tnef *x = tnef_open(copy, n);
        tnef_close(&x);
        free(copy);
    }
    for (size_t i = 0; i < t.len; i++) {
        for (int k = 0; k < 4; k++) {
            static const uint8_t with[] = {0x00, 0xff, 0x7f, 0x80};
            uint8_t *copy = cd_alloc(t.len);
            memcpy(copy, t.data, t.len);
            copy[i] = with[k];
            struct tnef *x = tnef_open(copy, t.len);
            if (x && x->form == TNEF_RTF) {
                struct buf out;
                buf_init(&out, CD_MIB(8));
                rtf_to_text(x->text, x->ntext, x->charset, &out);
                buf_free(&out);
            }
            tnef_close(&x);
            free(copy);
        }
    }
    buf_free(&packed);
    buf_free(&props);
    buf_free(&t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(members), cmocka_unit_test(texts), cmocka_unit_test(packed_rtf), cmocka_unit_test(rtf),
                                       cmocka_unit_test(lies),    cmocka_unit_test(twice), cmocka_unit_test(too_much),   cmocka_unit_test(cut_and_changed)};
    return cmocka_run_group_tests(tests, prepare, NULL);
}
