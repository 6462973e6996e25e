/* What parts are beside text and files: flowed text, calendars, S/MIME and OpenPGP, pictures in the text, what the bytes
 * are, and how a character set was read. */
#include "fixture.h"

#include <openssl/cms.h>
#include <openssl/evp.h>
#include <openssl/x509.h>

#include "channels/mail/calendar.h"
#include "channels/mail/decode_flowed.h"
#include "channels/mail/decode_magic.h"

#define FROM "From: Anna <anna@example.net>\r\nTo: care@example.com\r\n"

/* ---- format=flowed ---- */

static void check_flowed(const char *in, bool delsp, const char *out)
{
    size_t n;
    char *s = flowed_to_text(in, strlen(in), delsp, &n);
    assert_string_equal(s, out);
    assert_int_equal(n, strlen(out));
    free(s);
}

static void flowed(void **state CD_UNUSED)
{
    check_flowed("The kettle \r\nleaks.\r\nSecond line.\r\n", false, "The kettle leaks.\nSecond line.");
    check_flowed("Der Kess \r\nel leckt.", true, "Der Kessel leckt.");
    check_flowed("> quoted \r\n> goes on\r\n>> deeper\r\nown \r\n> not ours", false, "> quoted goes on\n>> deeper\nown \n> not ours");
    check_flowed(" >not a quote\r\n From here\r\n", false, ">not a quote\nFrom here");
    check_flowed("Bye \r\n-- \r\nAnna\r\n", false, "Bye \n-- \nAnna");
    check_flowed("", false, "");
    check_flowed(" \r\n \r\n", true, "\n"); /* protected spaces, so empty lines */
    struct decoded d = decode(FROM "Subject: s\r\nContent-Type: text/plain; format=Flowed; delsp=YES; charset=utf-8\r\n\r\n"
                                   "Das ist ein Wort und noch eins, das die Zei \r\nle sprengt.\r\n");
    assert_string_equal(d.r->text, "Das ist ein Wort und noch eins, das die Zeile sprengt.");
    done(&d);
    d = decode(FROM "Content-Type: text/plain\r\n\r\nnot \r\nflowed\r\n");
    assert_string_equal(d.r->text, "not\nflowed");
    done(&d);
}

/* ---- calendars ---- */

static const char reply_ics[] = "BEGIN:VCALENDAR\r\nMETHOD:REPLY\r\nBEGIN:VTIMEZONE\r\nTZID:X\r\nEND:VTIMEZONE\r\nBEGIN:VEVENT\r\nSUMMARY:Visit of the techni\r\n"
                                " cian\\, kettle\r\nORGANIZER;CN=\"Care; Team\":mailto:care@example.com\r\nATTENDEE;PARTSTAT=DECLINED;CN=Anna:MAILTO:anna@example.net\r\n"
                                "DTSTART;TZID=Europe/Berlin:20261201T100000\r\nDTEND:20261201T110000Z\r\nCOMMENT:I am away\\nthat day\r\n"
                                "BEGIN:VALARM\r\nDESCRIPTION:never shown\r\nEND:VALARM\r\nEND:VEVENT\r\nEND:VCALENDAR\r\n";

static void calendars(void **state CD_UNUSED)
{
    char raw[3000];
    snprintf(raw, sizeof raw, FROM "Subject: Declined\r\nContent-Type: text/calendar; method=REPLY; charset=utf-8\r\n\r\n%s", reply_ics);
    struct decoded d = decode(raw);
    assert_string_equal(d.r->text, "Answer to an invitation\nSummary: Visit of the technician, kettle\nOrganizer: Care; Team <care@example.com>\n"
                                   "Attendee: Anna <anna@example.net> (declined)\nStart: 2026-12-01 10:00 Europe/Berlin\nEnd: 2026-12-01 11:00 UTC\n"
                                   "Comment: I am away\nthat day\n");
    assert_int_equal(d.r->nattachments, 1);
    assert_int_equal(d.r->attachments[0].kind, AT_CALENDAR);
    done(&d);
    snprintf(raw, sizeof raw, FROM "Content-Type: multipart/alternative; boundary=b\r\n\r\n--b\r\n\r\nI cannot come.\r\n--b\r\nContent-Type: text/calendar\r\n\r\n%s\r\n--b--\r\n",
             reply_ics);
    d = decode(raw);
    assert_string_equal(d.r->text, "I cannot come."); /* there is a text: the calendar is an attachment only */
    assert_int_equal(d.r->attachments[0].kind, AT_CALENDAR);
    done(&d);
}

static void check_calendar(const char *ics, const char *text)
{
    struct charset_note note;
    struct buf out;
    buf_init(&out, CD_KIB(64));
    calendar_to_text(ics, strlen(ics), NULL, &out, &note);
    assert_string_equal(buf_str(&out), text);
    buf_free(&out);
}

static void odd_calendars(void **state CD_UNUSED)
{
    struct buf many;
    check_calendar("", "");
    check_calendar("BEGIN:VCALENDAR\nEND:VCALENDAR\n", "");
    check_calendar("BEGIN:VEVENT\nSUMMARY:caf\xc3\n \xa9\nDTSTART:20260230\n", "Calendar entry\nSummary: caf\xc3\xa9\nStart: 2026-02-30\n");
    check_calendar("BEGIN:VEVENT\nDTSTART:soon\nSUMMARY;X=\"never closed:a\nORGANIZER:\nATTENDEE;CN=:x\n", "Calendar entry\nStart: soon\nAttendee: x\n");
    buf_init(&many, CD_MIB(4));
    buf_append_str(&many, "METHOD:REQUEST\nBEGIN:VEVENT\n");
    for (int i = 0; i < 30; i++)
        buf_printf(&many, "ATTENDEE:mailto:a%d@example.net\n", i);
    for (int i = 0; i < 10000; i++)
        buf_append_str(&many, "BEGIN:VALARM\n");
    struct charset_note note;
    struct buf out;
    buf_init(&out, CD_KIB(64));
    calendar_to_text(many.data, many.len, NULL, &out, &note);
    assert_non_null(strstr(buf_str(&out), "Invitation\nAttendee: a0@example.net\n"));
    assert_null(strstr(buf_str(&out), "a20@"));
    assert_non_null(strstr(buf_str(&out), "and 10 more\n"));
    buf_free(&out);
    buf_free(&many);
}

/* ---- signed and encrypted ---- */

static void signed_and_encrypted(void **state CD_UNUSED)
{
    struct decoded d = decode(FROM "Content-Type: multipart/signed; protocol=\"application/pkcs7-signature\"; micalg=sha-256; boundary=b\r\n\r\n"
                                   "--b\r\nContent-Type: text/plain\r\n\r\nThe signed text.\r\n--b\r\nContent-Type: application/pkcs7-signature; name=smime.p7s\r\n"
                                   "Content-Transfer-Encoding: base64\r\n\r\nMAsGCSqGSIb3DQEHAg==\r\n--b--\r\n");
    assert_string_equal(d.r->text, "The signed text.");
    assert_string_equal(d.r->security, "smime-signed");
    assert_int_equal(d.r->attachments[0].kind, AT_SIGNATURE);
    assert_false(d.r->flags & REC_DEGRADED);
    done(&d);
    d = decode(FROM "Content-Type: multipart/encrypted; protocol=\"application/pgp-encrypted\"; boundary=b\r\n\r\n--b\r\nContent-Type: application/pgp-encrypted\r\n\r\n"
                    "Version: 1\r\n--b\r\nContent-Type: application/octet-stream; name=encrypted.asc\r\n\r\n-----BEGIN PGP MESSAGE-----\r\nabc\r\n--b--\r\n");
    assert_string_equal(d.r->security, "pgp-encrypted");
    assert_int_equal(d.r->nattachments, 2);
    assert_int_equal(d.r->attachments[1].kind, AT_ENCRYPTED);
    done(&d);
    d = decode(FROM "Content-Type: application/pkcs7-mime; smime-type=enveloped-data; name=smime.p7m\r\nContent-Transfer-Encoding: base64\r\n\r\nMIIBAAYJKoZIhvcNAQcD\r\n");
    assert_string_equal(d.r->security, "smime-encrypted");
    assert_int_equal(d.r->attachments[0].kind, AT_ENCRYPTED);
    assert_string_equal(d.r->text, "");
    done(&d);
}

/* What it is by its bytes, where no parameter says it. */
static void pkcs7_without_a_word(void **state CD_UNUSED)
{
    static const struct {
        const char *type, *bytes, *security;
        enum attachment_kind kind;
    } v[] = {{"application/pkcs7-mime", "MIIBAAYJKoZIhvcNAQcD", "smime-encrypted", AT_ENCRYPTED},
             {"application/x-pkcs7-mime", "MIIBAAYLKoZIhvcNAQkQARc=", "smime-encrypted", AT_ENCRYPTED},
             {"application/pkcs7-mime; smime-type=compressed-data", "MIIBAAYLKoZIhvcNAQkQAQk=", NULL, AT_FILE},
             {"application/pkcs7-mime", "AAAA", NULL, AT_FILE}};
    for (size_t i = 0; i < ARRAY_LEN(v); i++) {
        char *raw = cd_asprintf(FROM "Content-Type: %s\r\nContent-Transfer-Encoding: base64\r\n\r\n%s\r\n", v[i].type, v[i].bytes);
        struct decoded d = decode(raw);
        assert_true(str_eq(d.r->security, v[i].security) || (!d.r->security && !v[i].security));
        assert_int_equal(d.r->attachments[0].kind, v[i].kind);
        done(&d);
        free(raw);
    }
}

/* Signed as a whole: the text is inside the CMS structure. */
static void opaque_signed(void **state CD_UNUSED)
{
    static const char entity[] = "Content-Type: text/plain; charset=utf-8\r\n\r\nThe kettle, opaquely signed: caf\xc3\xa9.\r\n";
    EVP_PKEY *key = EVP_RSA_gen(2048);
    X509 *cert = X509_new();
    X509_set_version(cert, 2);
    ASN1_INTEGER_set(X509_get_serialNumber(cert), 1);
    X509_gmtime_adj(X509_getm_notBefore(cert), 0);
    X509_gmtime_adj(X509_getm_notAfter(cert), 3600);
    X509_set_pubkey(cert, key);
    X509_NAME_add_entry_by_txt(X509_get_subject_name(cert), "CN", MBSTRING_ASC, (const unsigned char *)"Anna", -1, -1, 0);
    X509_set_issuer_name(cert, X509_get_subject_name(cert));
    assert_true(X509_sign(cert, key, EVP_sha256()) > 0);
    BIO *in = BIO_new_mem_buf(entity, sizeof entity - 1);
    CMS_ContentInfo *cms = CMS_sign(cert, key, NULL, in, CMS_BINARY | CMS_NOSMIMECAP);
    assert_non_null(cms);
    unsigned char *der = NULL;
    int n = i2d_CMS_ContentInfo(cms, &der);
    char *b64 = base64_encode(der, (size_t)n);
    char *raw = cd_asprintf(FROM "Content-Type: application/pkcs7-mime; smime-type=signed-data; name=smime.p7m\r\nContent-Transfer-Encoding: base64\r\n\r\n%s\r\n", b64);
    struct decoded d = decode(raw);
    assert_string_equal(d.r->text, "The kettle, opaquely signed: caf\xc3\xa9.");
    assert_string_equal(d.r->security, "smime-signed");
    assert_int_equal(d.r->attachments[0].kind, AT_SIGNATURE);
    assert_false(d.r->flags & REC_DEGRADED);
    done(&d);
    free(raw);
    b64[strlen(b64) / 2 / 4 * 4] = '\0'; /* cut: named and kept, and flagged */
    raw = cd_asprintf(FROM "Content-Type: application/pkcs7-mime; smime-type=signed-data; name=smime.p7m\r\nContent-Transfer-Encoding: base64\r\n\r\n%s\r\n", b64);
    d = decode(raw);
    assert_string_equal(d.r->security, "smime-signed");
    assert_int_equal(d.r->nattachments, 1);
    assert_true(d.r->flags & REC_DEGRADED);
    done(&d);
    free(raw);
    free(b64);
    OPENSSL_free(der);
    CMS_ContentInfo_free(cms);
    BIO_free(in);
    X509_free(cert);
    EVP_PKEY_free(key);
}

static void armour(void **state CD_UNUSED)
{
    struct decoded d = decode(FROM "Subject: s\r\n\r\nIn front.\r\n-----BEGIN PGP SIGNED MESSAGE-----\r\nHash: SHA512\r\n\r\nThe kettle leaks.\r\n- -- \r\nAnna\r\n"
                                   "-----BEGIN PGP SIGNATURE-----\r\n\r\niQEzBAEBCgAdFiEE\r\n-----END PGP SIGNATURE-----\r\nBehind.\r\n");
    assert_string_equal(d.r->text, "In front.\nThe kettle leaks.\n-- \nAnna\nBehind.");
    assert_string_equal(d.r->security, "pgp-signed");
    done(&d);
    d = decode(FROM "\r\n-----BEGIN PGP MESSAGE-----\r\n\r\nhQEMA\r\n-----END PGP MESSAGE-----\r\n");
    assert_string_equal(d.r->security, "pgp-encrypted");
    assert_non_null(strstr(d.r->text, "hQEMA"));
    done(&d);
    d = decode(FROM "\r\nHe wrote -----BEGIN PGP SIGNED MESSAGE----- in his text, never ended.\r\n");
    assert_null(d.r->security);
    done(&d);
    d = decode(FROM "\r\n-----BEGIN PGP SIGNED MESSAGE-----\r\nHash: SHA1\r\n\r\nno signature follows\r\n");
    assert_non_null(strstr(d.r->text, "no signature follows"));
    done(&d);
}

/* ---- pictures, and what the bytes are ---- */

static void pictures(void **state CD_UNUSED)
{
    struct decoded d = decode(
        FROM "Content-Type: multipart/related; boundary=b\r\n\r\n--b\r\nContent-Type: multipart/alternative; boundary=c\r\n\r\n--c\r\n\r\nA text that is long enough to be read instead of the "
             "HTML part beside it, with the picture of the kettle that burned in my kitchen last Sunday in the afternoon, as you can see.\r\n--c\r\nContent-Type: text/html\r\n"
             "Content-Transfer-Encoding: quoted-printable\r\n\r\n<p>look <img src=3D\"CID:one@example.net\"></p>\r\n--c--\r\n"
             "--b\r\nContent-Type: image/png\r\nContent-ID: <one@example.net>\r\nContent-Disposition: attachment; filename=one.png\r\nContent-Transfer-Encoding: base64\r\n\r\niVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJ\r\n"
             "--b\r\nContent-Type: image/jpeg\r\nContent-ID: <two@example.net>\r\nContent-Disposition: attachment; filename=two.jpg\r\nContent-Transfer-Encoding: base64\r\n\r\niVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJ\r\n"
             "--b\r\nContent-Type: image/gif\r\nContent-ID: <three@example.net>\r\nContent-Transfer-Encoding: base64\r\n\r\nR0lGODlhAQABAAAAACw=\r\n"
             "--b\r\nContent-Type: application/pdf; name=bill.pdf\r\nContent-Disposition: inline\r\nContent-Transfer-Encoding: base64\r\n\r\nTVqQAAAAAAAAAAAAAAAAAAAAAAAAAAAAQAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAgAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAABQRQAAZIYBAAAAAAAAAAAAAAAAAPAAIgALAgAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=\r\n--b--\r\n");
    struct attachment *a = d.r->attachments;
    assert_int_equal(d.r->nattachments, 4);
    assert_int_equal(a[0].kind, AT_INLINE); /* the HTML shows it */
    assert_false(a[0].is_inline);
    assert_string_equal(a[0].content_id, "one@example.net");
    assert_string_equal(a[0].magic_type, "image/png");
    assert_int_equal(a[1].kind, AT_FILE);
    assert_string_equal(a[1].magic_type, "image/png"); /* and not what was said */
    assert_true(magic_differs(a[1].content_type, a[1].magic_type));
    assert_int_equal(a[2].kind, AT_INLINE); /* an id and no disposition */
    assert_int_equal(a[3].kind, AT_FILE);   /* "inline", but no picture */
    assert_true(a[3].is_inline);
    assert_string_equal(a[3].magic_type, "application/vnd.microsoft.portable-executable");
    assert_true(magic_differs(a[3].content_type, a[3].magic_type));
    done(&d);
}

static void differing_types(void **state CD_UNUSED)
{
    static const char *const same[][2] = {{"image/pjpeg", "image/jpeg"}, {"application/octet-stream", "image/png"}, {"application/x-zip-compressed", "application/zip"},
                                          {"application/vnd.openxmlformats-officedocument.wordprocessingml.document", "application/zip"}, {"application/msword", "application/x-ole-storage"},
                                          {"text/csv", "text/plain"}, {"application/json", "text/plain"}, {"IMAGE/PNG", "image/png"}, {"text/x-patch", "text/x-diff"}, {"image/svg+xml", "text/xml"}};
    static const char *const other[][2] = {{"image/png", "application/x-dosexec"}, {"application/pdf", "text/html"}, {"image/jpeg", "image/png"}, {"application/pdf", "application/zip"}};
    for (size_t i = 0; i < ARRAY_LEN(same); i++)
        assert_false(magic_differs(same[i][0], same[i][1]));
    for (size_t i = 0; i < ARRAY_LEN(other); i++)
        assert_true(magic_differs(other[i][0], other[i][1]));
    assert_false(magic_differs("image/png", NULL));
    assert_false(magic_differs("nonsense", "image/png"));
}

/* Only so many attachments are looked at. */
static void many_to_look_at(void **state CD_UNUSED)
{
    struct buf raw;
    buf_init(&raw, CD_MIB(1));
    buf_append_str(&raw, FROM "Content-Type: multipart/mixed; boundary=b\r\n\r\n");
    for (int i = 0; i < 100; i++)
        buf_append_str(&raw, "--b\r\nContent-Type: application/pdf\r\n\r\n%PDF-1.4\r\n\r\n");
    struct decoded d = decode_bytes(raw.data, raw.len, "anna@example.net");
    assert_int_equal(d.r->nattachments, 100);
    assert_string_equal(d.r->attachments[63].magic_type, "application/pdf");
    assert_null(d.r->attachments[64].magic_type);
    done(&d);
    buf_free(&raw);
}

/* ---- character sets ---- */

static void check_note(const char *raw, const char *note)
{
    struct decoded d = decode(raw);
    if (note)
        assert_string_equal(d.r->charset_note ? d.r->charset_note : "(none)", note);
    else
        assert_null(d.r->charset_note);
    done(&d);
}

static void charset_notes(void **state CD_UNUSED)
{
    check_note(FROM "Content-Type: text/plain; charset=us-ascii\r\n\r\nplain\r\n", NULL);
    check_note(FROM "Subject: =?UTF-8?Q?caf=C3=A9?=\r\nContent-Type: text/plain; charset=UTF-8\r\n\r\ncaf\xc3\xa9\r\n", NULL);
    check_note(FROM "Content-Type: text/plain; charset=gb2312\r\n\r\n\xce\xd2\xd2\xaa\xcd\xcb\xbf\xee\r\n", "gb2312 read as GB18030 (declared)");
    check_note(FROM "Content-Type: text/plain\r\n\r\n\xce\xd2\xd2\xaa\xcd\xcb\xbf\xee\r\n", "undeclared read as GB18030 (detected)");
    check_note(FROM "Subject: \xe9t\xe9\r\n\r\nplain\r\n", "undeclared read as windows-1252 (detected)");
    check_note(FROM "Content-Type: text/plain; charset=x-none\r\n\r\ncaf\xe9\r\n", "x-none read as windows-1252 (detected)");
    check_note(FROM "Content-Type: text/plain; charset=utf-8\r\n\r\n\xc3\xa9\xc3\xa9\xc3\xa9\xc3\xa9\xc3\xa9\xc3\xa9\xc3\xa9\xc3\xa9\xc3\xa9\xc3\xa9\xff\r\n",
               "utf-8 read as UTF-8 (declared, 1 replaced)");
    check_note(FROM "Subject: =?iso-8859-9?Q?=FEey?=\r\n\r\na\xfe \xfdk\r\n", "undeclared read as iso-8859-9 (detected)");
    struct decoded d = decode(FROM "Subject: =?iso-8859-9?Q?=FEey?=\r\n\r\na\xfe \xfdk\r\n"); /* the body is in the set of the Subject's words */
    assert_string_equal(d.r->text, "a\xc5\x9f \xc4\xb1k");
    assert_false(d.r->flags & REC_DEGRADED);
    done(&d);
    check_note(FROM "Subject: =?koi8-r?Q?=E6?= =?big5?B?p9o=?=\r\n\r\nx\r\n", "big5 read as CP950 (declared)");
}

static void check_head(const char *raw, const char *subject, const char *name, const char *email)
{
    struct decoded d = decode(raw);
    assert_string_equal(d.r->subject, subject);
    assert_string_equal(d.r->name ? d.r->name : "", name);
    assert_string_equal(d.r->email ? d.r->email : "", email);
    done(&d);
}

/* Fields that nobody labelled: in the body's set, or in what their escape sequences say. */
static void unlabelled_headers(void **state CD_UNUSED)
{
    check_head("From: \xba\xd2\xb8\xb8 <a@example.net>\r\nSubject: \xba\xd2\xb8\xb8\r\nContent-Type: text/plain; charset=euc-kr\r\n\r\nx\r\n", "\xeb\xb6\x88\xeb\xa7\x8c",
               "\xeb\xb6\x88\xeb\xa7\x8c", "a@example.net");
    check_head("From: a@example.net\r\nSubject: \xd0\xe0\xf1\xf1\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\nContent-Type: text/plain; charset=windows-1251\r\n\r\nx\r\n--b--\r\n",
               "\xd0\xa0\xd0\xb0\xd1\x81\xd1\x81", "", "a@example.net");
    check_head("From: a@example.net\r\nSubject: \033$B2u$l$F\033(B!\r\n\r\nx\r\n", "\xe5\xa3\x8a\xe3\x82\x8c\xe3\x81\xa6!", "", "a@example.net");
    check_head("From: a@example.net\r\nSubject: Fr+APY-sche\r\nContent-Type: text/plain; charset=utf-7\r\n\r\nx\r\n", "Fr\xc3\xb6sche", "", "a@example.net");
    check_head("From: a@example.net\r\nSubject: caf\xc3\xa9\r\nContent-Type: text/plain; charset=big5\r\n\r\nx\r\n", "caf\xc3\xa9", "", "a@example.net");
    check_head("From: =?ks_c_5601-1987?B?wMy8urz2?= ann@shop.example\r\n\r\nx\r\n", "", "\xec\x9d\xb4\xec\x84\xb1\xec\x88\x98", "ann@shop.example");
    check_head("From: nobody at all\r\n\r\nx\r\n", "", "", "anna@example.net");
}

/* Circled numbers and the like, which the standard's set has not. */
static void japanese_extensions(void **state CD_UNUSED)
{
    struct decoded d = decode(FROM "Subject: =?iso-2022-jp?B?GyRCLSEtahsoQg==?=\r\nContent-Type: text/plain; charset=iso-2022-jp\r\n\r\n\033$B-!-j\033(B ok\r\n\033(I1\033(B\r\n");
    assert_string_equal(d.r->subject, "\xe2\x91\xa0\xe3\x88\xb1");
    assert_string_equal(d.r->text, "\xe2\x91\xa0\xe3\x88\xb1 ok\n\xef\xbd\xb1");
    assert_false(d.r->flags & REC_DEGRADED);
    assert_non_null(strstr(d.r->charset_note, "iso-2022-jp read as CP50221 (declared)"));
    done(&d);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(flowed),          cmocka_unit_test(calendars),    cmocka_unit_test(odd_calendars),   cmocka_unit_test(signed_and_encrypted),
                                       cmocka_unit_test(opaque_signed), cmocka_unit_test(pkcs7_without_a_word),   cmocka_unit_test(armour),       cmocka_unit_test(pictures),        cmocka_unit_test(differing_types),
                                       cmocka_unit_test(many_to_look_at), cmocka_unit_test(charset_notes),
                                       cmocka_unit_test(unlabelled_headers), cmocka_unit_test(japanese_extensions)};
    return cmocka_run_group_tests(tests, prepare, NULL);
}
