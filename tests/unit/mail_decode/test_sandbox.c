/* The decoder where no file can be opened any more: all that it needs was loaded by mail_decode_prepare().
 * Each test runs in a child that prepares itself, shuts itself in and answers by its exit status; nothing is
 * loaded before in the parent. */
#include "fixture.h"
#include "tnef_maker.h"

#include <errno.h>
#include <seccomp.h>
#include <sys/wait.h>
#include <unistd.h>

#include "daemon/worker/worker.h"

static const struct {
    const char *charset, *bytes, *utf8;
} texts[] = {
    {"gb18030", "\xce\xd2\xd2\xaa\xcd\xb6\xcb\xdf", "\xe6\x88\x91\xe8\xa6\x81\xe6\x8a\x95\xe8\xaf\x89"},
    {"big5", "\xa7\xda\xad\x6e\xa7\xeb\xb6\x44", "\xe6\x88\x91\xe8\xa6\x81\xe6\x8a\x95\xe8\xa8\xb4"},
    {"big5-hkscs", "\xa7\xda\xad\x6e\xa7\xeb\xb6\x44", "\xe6\x88\x91\xe8\xa6\x81\xe6\x8a\x95\xe8\xa8\xb4"},
    {"koi8-r", "\xf6\xc1\xcc\xcf\xc2\xc1", "\xd0\x96\xd0\xb0\xd0\xbb\xd0\xbe\xd0\xb1\xd0\xb0"},
    {"windows-1251", "\xc6\xe0\xeb\xee\xe1\xe0", "\xd0\x96\xd0\xb0\xd0\xbb\xd0\xbe\xd0\xb1\xd0\xb0"},
    {"iso-2022-jp", "\x1b\x24\x42\x32\x75\x24\x6c\x24\x46\x1b\x28\x42",
     "\xe5\xa3\x8a\xe3\x82\x8c\xe3\x81\xa6"},
    {"shift_jis", "\x89\xf3\x82\xea\x82\xc4", "\xe5\xa3\x8a\xe3\x82\x8c\xe3\x81\xa6"},
    {"euc-jp", "\xb2\xf5\xa4\xec\xa4\xc6", "\xe5\xa3\x8a\xe3\x82\x8c\xe3\x81\xa6"},
    {"euc-kr", "\xba\xd2\xb8\xb8", "\xeb\xb6\x88\xeb\xa7\x8c"},
    {"windows-1256", "\xd4\xdf\xe6\xec", "\xd8\xb4\xd9\x83\xd9\x88\xd9\x89"},
    {"iso-8859-8-i", "\xfa\xec\xe5\xf0\xe4", "\xd7\xaa\xd7\x9c\xd7\x95\xd7\xa0\xd7\x94"},
    {"windows-874", "\xc3\xe9\xcd\xa7\xe0\xc3\xd5\xc2\xb9",
     "\xe0\xb8\xa3\xe0\xb9\x89\xe0\xb8\xad\xe0\xb8\x87\xe0\xb9\x80\xe0\xb8\xa3\xe0\xb8\xb5\xe0\xb8\xa2\xe0"
     "\xb8\x99"},
    {"utf-7", "\x2b\x59\x68\x47\x4a\x67\x51\x2d", "\xe6\x88\x91\xe8\xa6\x81"},
    {"ibm037", "\xc3\x96\x94\x97\x93\x81\x89\x95\xa3\x40\xf2\x4e\xf2", "Complaint 2+2"},
    {"utf-16be", "\x62\x11\x89\x81", "\xe6\x88\x91\xe8\xa6\x81"},
    {"iso-8859-16", "\xba", "\xc8\x99"},
};

/* Every call that reaches a file fails as it does in a worker; the rest passes, sanitizers need it. */
static bool close_files(void)
{
    static const int calls[] = {SCMP_SYS(open),       SCMP_SYS(openat),     SCMP_SYS(access),
                                SCMP_SYS(faccessat),  SCMP_SYS(faccessat2), SCMP_SYS(stat),
                                SCMP_SYS(newfstatat), SCMP_SYS(statx),      SCMP_SYS(readlink),
                                SCMP_SYS(readlinkat), SCMP_SYS(socket)};
    scmp_filter_ctx ctx = seccomp_init(SCMP_ACT_ALLOW);
    bool ok = ctx != NULL;
    for (size_t i = 0; i < ARRAY_LEN(calls); i++)
        ok = ok && seccomp_rule_add(ctx, SCMP_ACT_ERRNO(EACCES), calls[i], 0) == 0;
    ok = ok && seccomp_load(ctx) == 0;
    seccomp_release(ctx);
    return ok;
}

static bool real_lock_in(void)
{
    const struct worker_limits l = {.memory_bytes = CD_MIB(384), .cpu_seconds = 30};
    return worker_lock_in(&l) == 0;
}

static struct record *decode_quietly(const struct buf *raw)
{
    struct envelope *e = envelope_new(CH_MAIL, CD_MIB(64));
    struct record *r = record_new();
    buf_append(&e->raw, raw->data, raw->len);
    e->sender = cd_strdup("a@example.net");
    if (mail_decode(e, r) < 0)
        record_free(&r);
    envelope_free(&e);
    return r;
}

/* 0, or the number of the text that came out wrong. */
static int all_charsets(void)
{
    for (size_t i = 0; i < ARRAY_LEN(texts); i++) {
        struct buf raw;
        size_t n = str_eq(texts[i].charset, "utf-16be") ? 4 : strlen(texts[i].bytes);
        char *b64 = base64_encode(texts[i].bytes, n);
        buf_init(&raw, CD_KIB(64));
        buf_printf(&raw,
                   "From: \"=?%s?B?%s?=\" <a@example.net>\r\nSubject: =?%s?B?%s?=\r\nDate: Mon, 5 Jan 2026 "
                   "10:00:00 PST\r\n",
                   texts[i].charset, b64, texts[i].charset, b64);
        buf_printf(&raw,
                   "Content-Type: text/html; charset=%s\r\nContent-Transfer-Encoding: base64\r\n\r\n%s\r\n",
                   texts[i].charset, b64);
        struct record *r = decode_quietly(&raw);
        if (!r || strcmp(r->text, texts[i].utf8) != 0 || strcmp(r->subject, texts[i].utf8) != 0 ||
            (r->flags & REC_DEGRADED))
            return (int)i + 1;
        record_free(&r);
        buf_free(&raw);
        free(b64);
    }
    return 0;
}

static int unknown_charset(void)
{
    struct buf raw;
    buf_init(&raw, CD_KIB(64));
    buf_append_str(&raw, "From: =?x-none/../a?Q?a?= <a@example.net>\r\nContent-Type: text/plain; "
                         "charset=x-none-37\r\n\r\nThe kettle burns.\r\n");
    struct record *r = decode_quietly(&raw);
    bool good = r && strcmp(r->text, "The kettle burns.") == 0 && (r->flags & REC_DEGRADED);
    record_free(&r);
    buf_free(&raw);
    return good ? 0 : 100;
}

/* The largest message that is taken, and the most parts for their bytes, inside the worker's memory. */
static int big_ones(void)
{
    struct buf raw;
    buf_init(&raw, CD_MIB(64));
    buf_append_str(&raw, "From: a@example.net\r\nContent-Type: multipart/mixed; "
                         "boundary=x\r\n\r\n--x\r\n\r\nSee.\r\n--x\r\nContent-Type: image/png\r\n"
                         "Content-Transfer-Encoding: base64\r\n\r\n");
    while (raw.len < 25000000)
        buf_append_str(&raw, "QUJDREVGR0hJSktMTU5PUFFSU1RVVldYWVpBQkNERUZHSElKS0xNTk9QUVJTVFVWV1hZWkFC\r\n");
    struct record *r = decode_quietly(&raw);
    bool good = r && r->nattachments == 1 && r->attachments[0].size_bytes > 18000000;
    record_free(&r);
    buf_reset(&raw);
    buf_append_str(&raw,
                   "From: a@example.net\r\nContent-Type: multipart/mixed; boundary*=us-ascii''x\r\n\r\n");
    while (raw.len < 25000000)
        buf_append_str(&raw, "--x\r\n\r\n");
    r = decode_quietly(&raw);
    good = good && r && (r->flags & REC_DEGRADED);
    record_free(&r);
    buf_reset(&raw);
    while (raw.len < 25000000)
        buf_append_str(&raw, "To: a@b.c,\r\nFrom: a@b.c,d@e.f\r\n");
    r = decode_quietly(&raw);
    good = good && r && (r->flags & REC_DEGRADED);
    record_free(&r);
    buf_reset(&raw);
    buf_append_str(&raw, "From: a@example.net\r\nContent-Type: text/html; charset=iso-8859-1\r\n\r\n");
    while (raw.len < 25000000)
        buf_append_str(&raw, "<td>\xe9\xe9\xe9\xe9\xe9\xe9");
    r = decode_quietly(&raw);
    good = good && r && (r->flags & REC_DEGRADED);
    record_free(&r);
    buf_free(&raw);
    return good ? 0 : 101;
}

/* What the libraries for attachments do without files: a picture, a calendar, winmail.dat and a signed part. */
static int attachments(void)
{
    struct buf raw, t;
    tnef_begin(&t);
    tnef_attribute(&t, 1, TNEF_BODY, "in winmail", 11);
    tnef_member(&t, "a.pdf", "%PDF-1.4\n", 9);
    char *b64 = base64_encode(t.data, t.len);
    buf_init(&raw, CD_MIB(1));
    buf_printf(&raw,
               "From: a@example.net\r\nContent-Type: multipart/mixed; boundary=x\r\n\r\n--x\r\nContent-Type: application/ms-tnef\r\n"
               "Content-Transfer-Encoding: base64\r\n\r\n%s\r\n--x\r\nContent-Type: image/jpeg\r\nContent-Transfer-Encoding: base64\r\n\r\n"
               "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJ\r\n--x\r\nContent-Type: application/octet-stream\r\n\r\n"
               "{\"json\": [1, 2]}\r\n--x\r\nContent-Type: application/x-zip\r\n\r\nPK\003\004\024\r\n--x\r\nContent-Type: text/calendar\r\n\r\n"
               "BEGIN:VEVENT\r\nSUMMARY:visit\r\nEND:VEVENT\r\n--x\r\nContent-Type: application/pkcs7-mime; smime-type=signed-data\r\n"
               "Content-Transfer-Encoding: base64\r\n\r\nMAsGCSqGSIb3DQEHAg==\r\n--x--\r\n",
               b64);
    struct record *r = decode_quietly(&raw);
    bool good = r && r->nattachments == 7 && str_eq(r->attachments[1].magic_type, "application/pdf") && str_eq(r->attachments[1].inner, "tnef:1") &&
                str_eq(r->attachments[2].magic_type, "image/png") && r->attachments[3].magic_type && str_eq(r->security, "smime-signed") &&
                str_starts(r->text, "in winmail") && strstr(r->text, "Summary: visit");
    record_free(&r);
    buf_free(&raw);
    buf_free(&t);
    free(b64);
    return good ? 0 : 102;
}

static int in_child(bool (*lock)(void), int (*work)(void))
{
    int status = 0;
    fflush(NULL);
    pid_t pid = fork();
    if (pid == 0) {
        alarm(120);
        _exit(mail_decode_prepare() < 0 || !lock() ? 99 : work());
    }
    assert_true(pid > 0);
    assert_int_equal(waitpid(pid, &status, 0), pid);
    if (WIFSIGNALED(status))
        print_message("child ended by signal %d\n", WTERMSIG(status));
    assert_true(WIFEXITED(status));
    return WEXITSTATUS(status);
}

static void charsets_without_files(void **state CD_UNUSED)
{
    assert_int_equal(in_child(close_files, all_charsets), 0);
    assert_int_equal(in_child(close_files, unknown_charset), 0);
    assert_int_equal(in_child(close_files, attachments), 0);
}

static void under_the_real_filter(void **state CD_UNUSED)
{
    if (worker_sanitized())
        skip(); /* the sanitizer's own calls do not pass; release builds run this */
    assert_int_equal(in_child(real_lock_in, all_charsets), 0);
    assert_int_equal(in_child(real_lock_in, unknown_charset), 0);
    assert_int_equal(in_child(real_lock_in, attachments), 0);
    assert_int_equal(in_child(real_lock_in, big_ones), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(charsets_without_files),
                                       cmocka_unit_test(under_the_real_filter)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
