/* Everything that would be loaded on first use is loaded here: character set converters, GLib types, the time
 * zone, libxml2's tables. Mails of several kinds run through the decoder once; after that it needs no file.
 */
#include <glib.h>
#include <gmime/gmime.h>
#include <libxml/xmlerror.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "channels/mail/charset.h"
#include "channels/mail/decode.h"
#include "channels/mail/decode_log.h"
#include "channels/mail/decode_magic.h"
#include "channels/mail/html.h"
#include "daemon/core/err.h"
#include "daemon/core/log.h"

static unsigned log_count;

static GLogWriterOutput count_only(GLogLevelFlags level, const GLogField *fields, gsize n, gpointer arg)
{
    (void)fields;
    (void)n;
    (void)arg;
    if (level & (G_LOG_LEVEL_CRITICAL | G_LOG_LEVEL_WARNING | G_LOG_LEVEL_ERROR))
        log_count++;
    return G_LOG_WRITER_HANDLED;
}

void decode_log_install(void)
{
    static bool installed; /* GLib takes one writer for the life of the process */
    if (!installed)
        g_log_set_writer_func(count_only, NULL, NULL);
    installed = true;
}

unsigned decode_log_count(void)
{
    return log_count;
}

static void quiet_xml(void *ctx, const char *msg, ...)
{
    (void)ctx;
    (void)msg;
}

static const char *const samples[] = {
    "Return-Path: <a@example.com>\r\nFrom: =?gb2312?B?1tDOxA==?= <a@example.com>\r\nSubject: "
    "=?iso-8859-1?Q?caf=E9?= =?utf-8?B?4oKs?=\r\n"
    "Date: Mon, 5 Jan 2026 10:00:00 +0800\r\nMessage-ID: <1@example.com>\r\nReferences: "
    "<2@example.com>\r\nReply-To: b@example.com\r\n\r\ntext\r\n",
    "From: a@example.com\r\nDate: Tue, 6 Jan 2026 10:00 EST\r\nContent-Type: multipart/mixed; "
    "boundary=\"x\"\r\n\r\nprologue\r\n--x\r\n"
    "Content-Type: multipart/alternative; boundary=y\r\n\r\n--y\r\nContent-Type: text/plain; "
    "charset=gb18030\r\n"
    "Content-Transfer-Encoding: quoted-printable\r\n\r\n=D6=D0\r\n--y\r\nContent-Type: text/html; "
    "charset=big5\r\n\r\n<p>x<br>y</p>\r\n--y--\r\n"
    "--x\r\nContent-Type: image/png; name*=utf-8''%E4%B8%AD.png\r\nContent-Transfer-Encoding: "
    "base64\r\n\r\nAAAA\r\n--x\r\n"
    "Content-Type: message/rfc822\r\n\r\nFrom: group: c@example.com, d@example.com;\r\nSubject: "
    "inner\r\n\r\nuu\r\n--x\r\n"
    "Content-Type: application/octet-stream\r\nContent-Transfer-Encoding: x-uuencode\r\n\r\nbegin 644 "
    "a\n#86)C\n`\nend\r\n--x--\r\nepilogue\r\n",
    "From: mailer-daemon@example.com\r\nContent-Type: multipart/report; report-type=delivery-status; "
    "boundary=z\r\n\r\n--z\r\n\r\nsorry\r\n--z\r\n"
    "Content-Type: message/delivery-status\r\n\r\nStatus: 5.1.1\r\n\r\n--z\r\nContent-Type: message/partial; "
    "number=1; id=a\r\n\r\na\r\n--z--\r\n",
    "From: a@example.com\r\nContent-Type: multipart/mixed; boundary=w\r\n\r\n--w\r\nContent-Type: application/ms-tnef\r\n"
    "Content-Transfer-Encoding: base64\r\n\r\neJ8+IgEA\r\n--w\r\nContent-Type: text/calendar; method=REPLY\r\n\r\n"
    "BEGIN:VEVENT\r\nSUMMARY:x\r\nEND:VEVENT\r\n--w\r\nContent-Type: application/pkcs7-mime\r\nContent-Transfer-Encoding: "
    "base64\r\n\r\nMAsGCSqGSIb3DQEHAg==\r\n--w--\r\n",
    "no header at all, only \xd6\xd0\xce\xc4\xd6\xd0\xce\xc4 and \xe9\r\n",
};

static void run_sample(const char *text)
{
    struct envelope *e = envelope_new(CH_MAIL, CD_MIB(1));
    struct record *r = record_new();
    buf_append_str(&e->raw, text);
    e->sender = cd_strdup("");
    if (mail_decode(e, r) < 0)
        cd_panic(__FILE__, __LINE__, "a sample mail could not be decoded");
    record_free(&r);
    envelope_free(&e);
}

int mail_decode_prepare(void)
{
    static bool done;
    if (done)
        return 0;
    setenv("TZ", "UTC0", 1);
    tzset();
    decode_log_install();
    xmlSetGenericErrorFunc(NULL, quiet_xml);
    g_mime_init();
    if (charset_prepare() == 0)
        return CD_EIO;
    html_prepare();
    if (!magic_prepare())
        log_event(LOG_L_WARN, EV_TRIAGE_NO_MAGIC, "advice=%s", log_quote("install libmagic-mgc"));
    for (size_t i = 0; i < ARRAY_LEN(samples); i++)
        run_sample(samples[i]);
    GDateTime *now = g_date_time_new_now_utc();
    g_date_time_unref(now);
    done = true;
    return 0;
}
