/* Mails of every shape through the decoder: people, ids, alternatives, attachments and their places,
 * forwards, classes. */
#include "fixture.h"

#include "channels/mail/content.h"

#include <gmime/gmime.h>

#define FROM "From: Anna Schmidt <Anna@Example.NET>\r\n"

static void plain(void **state CD_UNUSED)
{
    struct decoded d = decode(
        "Return-Path: <anna@example.net>\r\nReceived: from x by y; Mon, 5 Jan 2026 10:00:00 +0000\r\n" FROM
        "Reply-To: Office <office@example.net>, other@example.net\r\nSubject:  My  kettle\r\n caught fire "
        "\r\n"
        "Date: Mon, 5 Jan 2026 11:00:00 +0800\r\nMessage-ID: <a.1@example.net>\r\nIn-Reply-To: "
        "<b.2@example.com>\r\n"
        "References: <c.3@example.com>\r\n <b.2@example.com> <c.3@example.com>\r\n\r\nThe kettle caught "
        "fire.  \r\n\r\nPlease help.\r\n");
    assert_int_equal(d.result, 0);
    assert_string_equal(d.r->name, "Anna Schmidt");
    assert_string_equal(d.r->email, "anna@example.net");
    assert_string_equal(d.r->reply_to, "office@example.net");
    assert_string_equal(d.r->subject, "My kettle caught fire");
    assert_string_equal(d.r->text, "The kettle caught fire.\n\nPlease help.");
    assert_string_equal(d.r->message_id, "a.1@example.net");
    assert_string_equal(d.r->in_reply_to, "b.2@example.com");
    assert_int_equal(d.r->references.n, 2);
    assert_string_equal(d.r->references.v[0], "c.3@example.com");
    assert_int_equal(d.r->sent_at_us, CD_SEC(1767582000));
    assert_string_equal(d.r->language, "en");
    assert_int_equal(d.r->cls, MC_PERSON);
    assert_int_equal(d.r->flags, 0);
    assert_int_equal(d.r->nattachments, 0);
    done(&d);
}

static void sender_ladder(void **state CD_UNUSED)
{
    struct decoded d = decode("Sender: s@example.org\r\n\r\nx");
    assert_string_equal(d.r->email, "s@example.org");
    done(&d);
    d = decode("From: staff: =?utf-8?Q?J=C3=B6rg?= <j@example.org>, k@example.org;\r\n\r\nx");
    assert_string_equal(d.r->email, "j@example.org");
    assert_string_equal(d.r->name, "J\xc3\xb6rg");
    done(&d);
    d = decode("From: \"undisclosed\" <not an address>\r\n\r\nx");
    assert_string_equal(d.r->email, "anna@example.net");
    done(&d);
    d = decode("Subject: none\r\n\r\nx");
    assert_string_equal(d.r->email, "anna@example.net");
    assert_null(d.r->name);
    done(&d);
    d = decode_bytes("From: ???\r\n\r\nx", 14, "");
    assert_null(d.r->email);
    assert_true(d.r->flags & REC_NO_AUTO_ANSWER);
    done(&d);
    /* our own server's fields stand in front; a From among them that is not ours still counts as the only one
     */
    d = decode("From: =?gb2312?B?1cXI/Q==?= <zhang@example.cn>\r\n\r\nx");
    assert_string_equal(d.r->name, "\xe5\xbc\xa0\xe4\xb8\x89");
    done(&d);
}

static void references_of_complaints(void **state CD_UNUSED)
{
    char a[REF_TEXT_SIZE], b[REF_TEXT_SIZE], raw[512];
    ref_new(a);
    ref_new(b);
    snprintf(raw, sizeof raw, FROM "Subject: Re: [%s] kettle\r\n\r\nsee %s and %s and C-0000-0000-0001\r\n",
             a, b, a);
    struct decoded d = decode(raw);
    assert_int_equal(d.r->nrefs, 2);
    assert_string_equal(d.r->refs[0], a);
    assert_string_equal(d.r->refs[1], b);
    done(&d);
}

static void long_chain_of_references(void **state CD_UNUSED)
{
    struct buf raw;
    buf_init(&raw, CD_MIB(1));
    buf_append_str(&raw, FROM "References:");
    for (int i = 0; i < 200; i++)
        buf_printf(&raw, " <%d@example.com>\r\n", i);
    buf_append_str(&raw, "\r\nx");
    struct decoded d = decode_bytes(raw.data, raw.len, "a@example.net");
    assert_int_equal(d.r->references.n, RECORD_MAX_THREAD_IDS);
    assert_string_equal(d.r->references.v[0], "0@example.com");
    assert_string_equal(d.r->references.v[RECORD_MAX_THREAD_IDS - 1], "199@example.com");
    done(&d);
    buf_free(&raw);
}

/* ---- alternatives ---- */

#define ALT                                                                                                  \
    FROM "MIME-Version: 1.0\r\nContent-Type: multipart/alternative; boundary=\"b1\"\r\n\r\nignored "         \
         "prologue\r\n"

static void html_only(void **state CD_UNUSED)
{
    struct decoded d =
        decode(FROM "Content-Type: text/html; charset=utf-8\r\n\r\n<html><body><p>First</p><p>Second &amp; "
                    "last</p></body></html>\r\n");
    assert_string_equal(d.r->text, "First\n\nSecond & last");
    assert_true(d.r->flags & REC_HTML_ONLY);
    done(&d);
}

static void alternative_prefers_plain(void **state CD_UNUSED)
{
    struct decoded d =
        decode(ALT "--b1\r\nContent-Type: text/plain\r\n\r\nplain words\r\n--b1\r\nContent-Type: "
                   "text/html\r\n\r\n<p>html words</p>\r\n--b1--\r\n");
    assert_string_equal(d.r->text, "plain words");
    assert_false(d.r->flags & REC_HTML_ONLY);
    done(&d);
    d = decode(ALT "--b1\r\nContent-Type: text/plain\r\n\r\n \r\n--b1\r\nContent-Type: "
                   "text/html\r\n\r\n<p>html words</p>\r\n--b1--\r\n");
    assert_string_equal(d.r->text, "html words");
    assert_true(d.r->flags & REC_HTML_ONLY);
    done(&d);
}

static void alternative_with_a_stub(void **state CD_UNUSED)
{
    char raw[4096], words[1000] = "";
    for (int i = 0; i < 40; i++)
        strcat(words, "refund the money. ");
    snprintf(raw, sizeof raw,
             ALT "--b1\r\nContent-Type: text/plain\r\n\r\nYour reader shows no "
                 "HTML.\r\n--b1\r\nContent-Type: text/html\r\n\r\n<p>%s</p>\r\n--b1--\r\n",
             words);
    struct decoded d = decode(raw);
    assert_non_null(strstr(d.r->text, "refund the money."));
    done(&d);
}

static void alternative_with_files_inside(void **state CD_UNUSED)
{
    char longer[400];
    memset(longer, 'x', sizeof longer - 1);
    longer[sizeof longer - 1] = '\0';
    struct buf raw;
    buf_init(&raw, CD_KIB(8));
    buf_printf(&raw,
               ALT "--b1\r\nContent-Type: text/plain\r\n\r\n%s\r\n--b1\r\nContent-Type: multipart/related; "
                   "boundary=r\r\n\r\n"
                   "--r\r\nContent-Type: text/html\r\n\r\n<p>html</p>\r\n--r\r\nContent-Type: "
                   "image/png\r\nContent-ID: <i>\r\n"
                   "Content-Transfer-Encoding: base64\r\n\r\nAAAA\r\n--r--\r\n--b1--\r\n",
               longer);
    struct decoded d = decode(buf_str(&raw));
    assert_string_equal(d.r->text, longer);
    assert_int_equal(d.r->nattachments, 1);
    assert_true(d.r->attachments[0].is_inline);
    assert_int_equal(d.r->attachments[0].size_bytes, 3);
    done(&d);
    buf_free(&raw);
}

static void several_texts(void **state CD_UNUSED)
{
    struct decoded d =
        decode(FROM "Content-Type: multipart/mixed; boundary=m\r\n\r\n--m\r\n\r\none\r\n--m\r\nContent-Type: "
                    "text/html\r\n\r\n<b>two</b>\r\n"
                    "--m\r\nContent-Type: text/plain; name=note.txt\r\nContent-Disposition: "
                    "attachment\r\n\r\nthree\r\n--m--\r\n");
    assert_string_equal(d.r->text, "one\n\ntwo");
    assert_int_equal(d.r->nattachments, 1);
    assert_string_equal(d.r->attachments[0].filename, "note.txt");
    assert_string_equal(d.r->attachments[0].content_type, "text/plain");
    done(&d);
    d = decode(
        FROM
        "Content-Type: text/plain\r\nContent-Disposition: attachment; filename=c.txt\r\n\r\nonly a file\r\n");
    assert_string_equal(d.r->text, "only a file");
    assert_int_equal(d.r->nattachments, 1);
    done(&d);
}

/* ---- attachments ---- */

static void append_to(void *arg, const void *p, size_t n)
{
    buf_append(arg, p, n);
}

/* Decodes the slice of the raw message as the front would and compares length and digest. */
static void check_slice(const struct decoded *d, const struct attachment *a)
{
    const char *in = (const char *)d->e->raw.data + a->offset;
    GMimeEncoding enc;
    uint8_t sha[SHA256_SIZE];
    GMimeContentEncoding kind = g_mime_content_encoding_from_string(a->encoding);
    char *out = cd_alloc(a->length + 64);
    size_t n = a->length;
    assert_true(a->offset + a->length <= d->e->raw.len);
    if (kind == GMIME_CONTENT_ENCODING_BASE64 || kind == GMIME_CONTENT_ENCODING_QUOTEDPRINTABLE) {
        g_mime_encoding_init_decode(&enc, kind);
        n = g_mime_encoding_step(&enc, in, a->length, out);
    } else if (kind == GMIME_CONTENT_ENCODING_UUENCODE) { /* GMime's decoder takes the line "begin" for data */
        struct buf own;
        buf_init(&own, a->length + 64);
        content_decode(a->encoding, in, a->length, append_to, &own);
        memcpy(out, buf_str(&own), n = own.len);
        buf_free(&own);
    } else {
        memcpy(out, in, n);
    }
    sha256(out, n, sha);
    assert_int_equal(n, a->size_bytes);
    assert_memory_equal(sha, a->sha256, SHA256_SIZE);
    free(out);
}

static void photo(void **state CD_UNUSED)
{
    static uint8_t bytes[5000];
    uint8_t sha[SHA256_SIZE];
    struct buf raw;
    random_bytes(bytes, sizeof bytes);
    char *b64 = base64_encode(bytes, sizeof bytes);
    buf_init(&raw, CD_KIB(64));
    buf_append_str(&raw, "Return-Path: <a@example.net>\r\n" FROM
                         "Content-Type: multipart/mixed; boundary=\"=_p\"\r\n\r\nproloque\r\n--=_p\r\n\r\n"
                         "See the photo.\r\n--=_p\r\nContent-Type: IMAGE/JPEG; "
                         "name=\"x\"\r\nContent-Disposition: attachment;\r\n"
                         " filename*0*=utf-8''..%2F%E5%8F%91;\r\n filename*1*=%E7%A5%A8;\r\n "
                         "filename*2=\".jpg\"\r\nContent-Transfer-Encoding: base64\r\n\r\n");
    for (size_t i = 0; i < strlen(b64); i += 76)
        buf_printf(&raw, "%.76s\r\n", b64 + i);
    buf_append_str(&raw, "--=_p\r\nContent-Type: application/octet-stream; "
                         "name=\"C:\\\\dir\\\\..\\\\b\x01.bin\"\r\nContent-Transfer-Encoding: 8bit\r\n\r\n"
                         "\xff\xfe bytes\r\nmore\r\n--=_p--\r\n");
    struct decoded d = decode_bytes(raw.data, raw.len, "a@example.net");
    assert_string_equal(d.r->text, "See the photo.");
    assert_int_equal(d.r->nattachments, 2);
    const struct attachment *a = d.r->attachments;
    assert_string_equal(a[0].filename, "\xe5\x8f\x91\xe7\xa5\xa8.jpg");
    assert_string_equal(a[0].content_type, "image/jpeg");
    assert_string_equal(a[0].encoding, "base64");
    assert_int_equal(a[0].size_bytes, sizeof bytes);
    sha256(bytes, sizeof bytes, sha);
    assert_memory_equal(a[0].sha256, sha, SHA256_SIZE);
    check_slice(&d, &a[0]);
    assert_string_equal(a[1].filename, "b.bin");
    assert_int_equal(a[1].size_bytes, strlen("\xff\xfe bytes\r\nmore"));
    check_slice(&d, &a[1]);
    assert_int_equal(d.r->flags, 0);
    done(&d);
    free(b64);
    buf_free(&raw);
}

/* Places must be right as well where the bytes that were parsed are an edited copy. */
static void places_in_a_mended_mail(void **state CD_UNUSED)
{
    struct decoded d = decode("From nobody Mon Jan  5 10:00:00 2026\n" FROM
                              "Subject: a broken\nheader line\nContent-Type: multipart/mixed; boundary=q\n\n"
                              "--q\nThis part has no header.\n--q\nContent-Type: "
                              "image/gif\nContent-Transfer-Encoding: base64\n\nR0lGODlh\n--q--\n");
    assert_string_equal(d.r->subject, "a broken header line");
    assert_string_equal(d.r->text, "This part has no header.");
    assert_int_equal(d.r->nattachments, 1);
    assert_memory_equal(d.e->raw.data + d.r->attachments[0].offset, "R0lGODlh", 8);
    assert_int_equal(d.r->attachments[0].length, 8);
    check_slice(&d, &d.r->attachments[0]);
    done(&d);
}

static void long_and_odd_names(void **state CD_UNUSED)
{
    struct buf raw;
    buf_init(&raw, CD_KIB(8));
    buf_append_str(&raw,
                   FROM "Content-Type: multipart/mixed; boundary=m\r\n\r\n--m\r\nContent-Type: a/b; name=\"");
    for (int i = 0; i < 200; i++)
        buf_append_str(&raw, "\xe5\x8f\x91");
    buf_append_str(&raw, ".pdf\"\r\n\r\nx\r\n--m\r\nContent-Type: a/b; "
                         "name=\"../..\"\r\n\r\nx\r\n--m\r\nContent-Type: a/b;\r\n"
                         " name=\"=?gb2312?B?t6LGsS5wZGY=?=\"\r\n\r\nx\r\n--m\r\nContent-Type: a/b; "
                         "name=\"\xb7\xa2\xc6\xb1\xb7\xa2\xc6\xb1.pdf\"\r\n\r\nx\r\n--m--\r\n");
    struct decoded d = decode_bytes(raw.data, raw.len, "a@example.net");
    assert_int_equal(d.r->nattachments, 4);
    assert_in_range(strlen(d.r->attachments[0].filename), 240, 255);
    assert_string_equal(d.r->attachments[0].filename + strlen(d.r->attachments[0].filename) - 4, ".pdf");
    assert_string_equal(d.r->attachments[1].filename, "");
    assert_string_equal(d.r->attachments[2].filename, "\xe5\x8f\x91\xe7\xa5\xa8.pdf");
    assert_string_equal(d.r->attachments[3].filename, "\xe5\x8f\x91\xe7\xa5\xa8\xe5\x8f\x91\xe7\xa5\xa8.pdf");
    done(&d);
    buf_free(&raw);
}

static void dos_paths(void **state CD_UNUSED)
{
    struct decoded d = decode(FROM "Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\nContent-Type: image/png; name=\"C:\\TEMP\\nsmail.png\"\r\n\r\nx\r\n"
                                   "--b\r\nContent-Type: image/png\r\nContent-Disposition: attachment; filename=\"d:\\my \\files\\a \\b.png\"\r\n\r\nx\r\n"
                                   "--b\r\nContent-Type: image/png; name=\"say \\\"hi\\\".png\"\r\n\r\nx\r\n--b--\r\n");
    assert_string_equal(d.r->attachments[0].filename, "nsmail.png");
    assert_string_equal(d.r->attachments[1].filename, "b.png");
    assert_string_equal(d.r->attachments[2].filename, "say \"hi\".png");
    done(&d);
}

/* Written into the text by old programs; what only looks so stays text. */
static void uuencoded_in_the_text(void **state CD_UNUSED)
{
    struct decoded d = decode(FROM "Subject: s\r\n\r\nLook at this:\r\nbegin 644 ../a photo.png\r\n#86)C\r\n`\r\nend\r\nand this\r\nbegin 0644 b\r\n"
                                   "$86)C9```\r\n \r\nend\r\nBye.\r\n");
    assert_string_equal(d.r->text, "Look at this:\nand this\nBye.");
    assert_int_equal(d.r->nattachments, 2);
    assert_string_equal(d.r->attachments[0].filename, "a photo.png");
    assert_string_equal(d.r->attachments[0].content_type, "image/png");
    assert_string_equal(d.r->attachments[0].encoding, "x-uuencode");
    assert_int_equal(d.r->attachments[0].size_bytes, 3);
    assert_int_equal(d.r->attachments[1].size_bytes, 4);
    uint8_t sha[SHA256_SIZE];
    sha256("abc", 3, sha);
    assert_memory_equal(sha, d.r->attachments[0].sha256, sizeof sha);
    check_slice(&d, &d.r->attachments[0]);
    check_slice(&d, &d.r->attachments[1]);
    done(&d);
    d = decode(FROM "\r\nbegin 644 reading\r\nthe manual\r\nend\r\nbegin 7 x\r\nbegin 644 never-ends\r\n#86)C\r\n");
    assert_int_equal(d.r->nattachments, 0);
    assert_non_null(strstr(d.r->text, "the manual\nend\nbegin 7 x\nbegin 644 never-ends\n#86)C"));
    done(&d);
}

/* ---- messages inside ---- */

static void forwards(void **state CD_UNUSED)
{
    struct decoded d = decode(
        FROM
        "Subject: Fwd\r\nContent-Type: multipart/mixed; boundary=m\r\n\r\n--m\r\n\r\nPlease "
        "look.\r\n--m\r\nContent-Type: message/rfc822\r\n\r\n"
        "From: Bob <bob@example.org>\r\nSubject: =?utf-8?Q?caf=C3=A9?=\r\nContent-Type: multipart/mixed; "
        "boundary=n\r\n\r\n--n\r\n\r\nInner text.\r\n--n\r\n"
        "Content-Type: message/rfc822\r\n\r\nSubject: deepest\r\n\r\nDeepest text.\r\n--n\r\nContent-Type: "
        "image/png\r\nContent-Transfer-Encoding: base64\r\n\r\nAAAA\r\n--n--\r\n--m--\r\n");
    const char *t = d.r->text;
    assert_ptr_equal(strstr(t, "Please look."), t);
    assert_non_null(strstr(t, "From: Bob <bob@example.org>\nSubject: caf\xc3\xa9\n\nInner text."));
    assert_non_null(strstr(t, "Subject: deepest\n\nDeepest text."));
    assert_int_equal(d.r->nattachments, 2); /* the forwarded mail, and the picture in it */
    check_slice(&d, &d.r->attachments[0]);
    check_slice(&d, &d.r->attachments[1]);
    assert_int_equal(d.r->attachments[0].kind, AT_MESSAGE);
    const char *mail = (const char *)d.e->raw.data + d.r->attachments[0].offset;
    assert_true(strncmp(mail, "From: Bob", 9) == 0);
    assert_true(strncmp(mail + d.r->attachments[0].length, "\r\n--m--", 7) == 0);
    assert_string_equal(d.r->subject, "Fwd");
    done(&d);
}

static void encoded_forward(void **state CD_UNUSED)
{
    char *b64 = base64_encode("Subject: inner\n\nhidden words\n", 29), raw[1024];
    snprintf(raw, sizeof raw,
             FROM "Content-Type: multipart/mixed; boundary=m\r\n\r\n--m\r\n\r\nouter\r\n--m\r\nContent-Type: "
                  "message/rfc822\r\n"
                  "Content-Transfer-Encoding: base64\r\n\r\n%s\r\n--m--\r\n",
             b64);
    struct decoded d = decode(raw);
    assert_non_null(strstr(d.r->text, "Subject: inner\n\nhidden words"));
    assert_int_equal(d.r->nattachments, 1);
    check_slice(&d, &d.r->attachments[0]);
    done(&d);
    free(b64);
}

/* ---- classes ---- */

static void check_class(const char *raw, const char *sender, enum message_class cls, const char *reason)
{
    struct decoded d = decode_bytes(raw, strlen(raw), sender);
    assert_int_equal(d.r->cls, cls);
    if (reason) {
        assert_true(d.r->flags & REC_NO_AUTO_ANSWER);
        assert_string_equal(d.r->no_answer_reason, reason);
    } else {
        assert_false(d.r->flags & REC_NO_AUTO_ANSWER);
        assert_null(d.r->no_answer_reason);
    }
    done(&d);
}

static void classes(void **state CD_UNUSED)
{
    static const char *const a = "anna@example.net";
    check_class("From: MAILER-DAEMON@example.org\r\nSubject: Undelivered\r\nContent-Type: multipart/report; "
                "report-type=delivery-status; boundary=b\r\n\r\n"
                "--b\r\n\r\nSorry.\r\n--b\r\nContent-Type: message/delivery-status\r\n\r\nStatus: "
                "5.1.1\r\n\r\n--b--\r\n",
                "", MC_BOUNCE, "null-sender");
    check_class("From: Mail Delivery System <mailer-daemon@example.org>\r\nSubject: Hello\r\n\r\nx", "",
                MC_BOUNCE, "null-sender");
    check_class("From: postmaster@example.org\r\nSubject: Your contract\r\n\r\nI complain", a, MC_PERSON,
                "mailer-daemon");
    check_class(FROM "Auto-Submitted: auto-replied (vacation)\r\n\r\nI am away", a, MC_AUTO_REPLY,
                "auto-submitted");
    check_class(FROM "Auto-Submitted: no\r\n\r\nI complain", a, MC_PERSON, NULL);
    check_class(FROM "X-Autoreply: yes\r\n\r\nI am away", a, MC_AUTO_REPLY, "auto-submitted");
    check_class(FROM "Precedence: auto_reply\r\n\r\nI am away", a, MC_AUTO_REPLY, "auto-submitted");
    check_class(FROM "Subject: Automatic reply: kettle\r\n\r\nI am away", "", MC_AUTO_REPLY, "null-sender");
    check_class(
        FROM "Subject: Re: Automatic reply: kettle\r\nIn-Reply-To: <x@example.com>\r\n\r\nThis did not help",
        a, MC_PERSON, NULL);
    check_class(FROM "List-Id: <news.example.org>\r\n\r\nNews", a, MC_BULK, "list");
    check_class(FROM "Precedence: bulk\r\n\r\nNews", a, MC_BULK, "precedence");
    /* a form that a mailing service sends: a person reads it, no machine answers */
    check_class(FROM "List-Unsubscribe: <mailto:x@esp.example>\r\n\r\nI complain", a, MC_PERSON, "list");
    check_class(FROM "List-Unsubscribe: <mailto:x@esp.example>\r\nPrecedence: bulk\r\n\r\nNews", a, MC_BULK, "precedence");
    /* a group of our own in front of the desk is no mailing list */
    check_class(FROM "List-Id: <care.example.com>\r\nPrecedence: list\r\nList-Unsubscribe: <mailto:x@example.com>\r\n\r\nI complain",
                a, MC_PERSON, NULL);
    check_class(FROM "List-Id: Care <care.Example.COM>\r\nAuto-Submitted: auto-replied\r\n\r\nAway", a, MC_AUTO_REPLY, "auto-submitted");
    check_class(FROM "List-Id: <care.example.com>\r\nPrecedence: bulk\r\n\r\nNews", a, MC_BULK, "precedence");
    check_class(FROM "List-Id: <news.notexample.com>\r\n\r\nNews", a, MC_BULK, "list");
    check_class(FROM "List-Id: <care.example.com> <news.example.org>\r\n\r\nNews", a, MC_BULK, "list");
    check_class(FROM "X-Complaintd-Instance: main\r\nAuto-Submitted: auto-replied\r\n\r\nours", a, MC_OWN,
                "own");
    check_class(FROM "\r\nI complain", "", MC_PERSON, "null-sender");
    check_class("From: no-reply@shop.example\r\n\r\nI complain", a, MC_PERSON, "no-reply address");
    check_class("From: Care <care@example.com>\r\n\r\nI complain", a, MC_PERSON, "own address");
    check_class(FROM "X-Auto-Response-Suppress: All\r\n\r\nI complain", a, MC_PERSON,
                "auto-response-suppress");
    check_class(FROM "X-Auto-Response-Suppress: None\r\n\r\nI complain", a, MC_PERSON, NULL);
}

static void languages(void **state CD_UNUSED)
{
    static const struct {
        const char *text, *language;
    } v[] = {
        {"\xe6\x88\x91\xe8\xa6\x81\xe6\x8a\x95\xe8\xaf\x89\xef\xbc\x8c\xe8\xae\xa2\xe5\x8d\x95 AB-1234567",
         "zh"},
        {"\xe5\x95\x86\xe5\x93\x81\xe3\x81\x8c\xe5\xa3\x8a\xe3\x82\x8c\xe3\x81\xa6\xe3\x81\x84\xe3\x81\xbe"
         "\xe3\x81\x97\xe3\x81\x9f",
         "ja"},
        {"The kettle caught fire", "en"},
        {"Ich habe die Ware nicht bekommen und will mein Geld", "und"},
        {"Je veux parler avec le service client", "und"},
        {"\xd0\x96\xd0\xb0\xd0\xbb\xd0\xbe\xd0\xb1\xd0\xb0", "und"},
        {"12345", "und"},
        {"", "und"},
    };
    for (size_t i = 0; i < ARRAY_LEN(v); i++) {
        char raw[400];
        snprintf(raw, sizeof raw, FROM "Content-Type: text/plain; charset=utf-8\r\n\r\n%s\r\n", v[i].text);
        struct decoded d = decode(raw);
        assert_string_equal(d.r->language, v[i].language);
        done(&d);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(plain),
        cmocka_unit_test(sender_ladder),
        cmocka_unit_test(references_of_complaints),
        cmocka_unit_test(long_chain_of_references),
        cmocka_unit_test(html_only),
        cmocka_unit_test(alternative_prefers_plain),
        cmocka_unit_test(alternative_with_a_stub),
        cmocka_unit_test(alternative_with_files_inside),
        cmocka_unit_test(several_texts),
        cmocka_unit_test(photo),
        cmocka_unit_test(places_in_a_mended_mail),
        cmocka_unit_test(long_and_odd_names),
        cmocka_unit_test(dos_paths), cmocka_unit_test(uuencoded_in_the_text), cmocka_unit_test(forwards),
        cmocka_unit_test(encoded_forward),
        cmocka_unit_test(classes),
        cmocka_unit_test(languages),
    };
    return cmocka_run_group_tests(tests, prepare, NULL);
}
