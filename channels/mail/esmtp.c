/* The mail worker: one libesmtp session a job. The library blocks, keeps its own ideas of success and takes
 * no care of what it is given; therefore it runs in a process that may be killed at any moment, sees only
 * checked addresses, and its word counts only where the relay's statuses bear it out. Everything that a job
 * owns is freed at its end; a fault in a job is an outcome. */
#include "channels/mail/esmtp_tls.h" /* brings openssl/ssl.h, which libesmtp.h must find before it */
#include "channels/mail/mail.h"
#include "channels/mail/out_wire.h"
#include "daemon/core/err.h"
#include "daemon/core/log.h"
#include "daemon/intake/handle.h"
#include "daemon/worker/worker.h"

#include <auth-client.h> /* likewise */
#include <libesmtp.h>

#include <errno.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

struct message {
    struct session *session;
    uint32_t index;
    struct out_message m;
    smtp_message_t handle;
    smtp_recipient_t recipient;
    bool handed; /* the text, since the last rewind */
    bool begun, reported;
};

struct session {
    const struct relay *relay;
    struct worker_child *child;
    uint64_t job;
    struct message v[OUT_BATCH_MAX];
    int n;
    /* what the monitor saw */
    bool starttls_sent, starttls_answered, injected;
    char reply[128]; /* the relay's last words */
};

/* ---- answers to the front ---- */

static void answer(struct session *s, const struct part *p, bool more)
{
    struct buf b;

    buf_init(&b, CD_KIB(4));
    if (p)
        part_write(&b, p);
    worker_child_answer(s->child, s->job, more, b.data, b.len);
    buf_free(&b);
}

static void report(struct message *m, enum send_outcome outcome, const char *fmt, ...) CD_PRINTF(3, 4);
static void report(struct message *m, enum send_outcome outcome, const char *fmt, ...)
{
    char text[OUT_DETAIL_MAX];
    va_list ap;

    if (m->reported)
        return;
    m->reported = true;
    va_start(ap, fmt);
    vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    for (char *p = text; *p; p++)
        if ((unsigned char)*p < ' ' || *p == 0x7f)
            *p = ' ';
    size_t n = strlen(text);
    while (n > 0 && text[n - 1] == ' ')
        text[--n] = '\0';
    CD_CLEANUP_FREE char *clean = utf8_clean(text, n, NULL);
    struct part p = {.kind = PART_OUTCOME, .index = m->index, .outcome = outcome, .detail = clean};
    answer(m->session, &p, true);
}

/* ---- judging ---- */

static int class_of(const smtp_status_t *st)
{
    return st ? st->code / 100 : 0;
}

static void report_status(struct message *m, enum send_outcome outcome, const char *step,
                          const smtp_status_t *st)
{
    report(m, outcome, "%s: %d %s", step, st->code, st->text ? st->text : "");
}

/* A refusal that is about us, not about the message: to be mended here and tried again. */
static bool about_us(const smtp_status_t *st)
{
    return st->code == 530 || st->code == 534 || st->code == 535 || st->code == 538;
}

static void report_refusal(struct message *m, const char *step, const smtp_status_t *st)
{
    report_status(m, st->code / 100 == 5 && !about_us(st) ? SEND_REJECTED : SEND_RETRY, step, st);
}

/* The recipient's status decides first: after a refused recipient the library sends DATA all the same, and
 * the status of the message is then only the relay's complaint about that. Delivered is only what has 2xx
 * from both. */
static void judge(struct message *m, bool session_over)
{
    const smtp_status_t *mail = smtp_reverse_path_status(m->handle);
    const smtp_status_t *rcpt = smtp_recipient_status(m->recipient);
    const smtp_status_t *data = smtp_message_transfer_status(m->handle);

    if (m->reported)
        return;
    if (class_of(mail) >= 4)
        report_refusal(m, "MAIL", mail);
    else if (class_of(rcpt) >= 4)
        report_refusal(m, "RCPT", rcpt);
    else if (class_of(rcpt) == 2 && class_of(data) == 2 && m->begun)
        report_status(m, SEND_SENT, "DATA", data);
    else if (class_of(rcpt) == 2 && class_of(data) >= 4)
        report_refusal(m, "DATA", data);
    else if (!session_over)
        return;
    else if (m->begun) /* the relay may have taken it: the same again under the same Message-ID */
        report(m, SEND_UNKNOWN, "connection lost after the text: %s", m->session->reply);
}

/* ---- callbacks of libesmtp ---- */

/* The whole text in one piece; len NULL means rewind. The library reads errno after the last call. */
static const char *on_text(void **ctx, int *len, void *arg)
{
    struct message *m = arg;

    (void)ctx; /* the library would free() it */
    if (!len) {
        m->handed = false;
        return NULL;
    }
    if (m->handed) {
        *len = 0;
        errno = 0;
        return NULL;
    }
    m->handed = true;
    if (!m->begun) {
        m->begun = true;
        struct part p = {.kind = PART_BEGUN, .index = m->index};
        answer(m->session, &p, true);
    }
    *len = (int)m->m.ntext;
    errno = 0;
    return (const char *)m->m.text;
}

static struct message *message_of(struct session *s, smtp_message_t handle)
{
    for (int i = 0; i < s->n; i++)
        if (s->v[i].handle == handle)
            return &s->v[i];
    return NULL;
}

static void on_event(smtp_session_t session, int event, void *arg, ...)
{
    struct session *s = arg;
    va_list ap;

    (void)session;
    va_start(ap, arg);
    if (event == SMTP_EV_MESSAGESENT) {
        struct message *m = message_of(s, va_arg(ap, smtp_message_t));
        if (m && !s->injected)
            judge(m, false);
    } else if (event == SMTP_EV_WRONG_PEER_CERTIFICATE) {
        /* The library compared with the wrong name; a name that does not match ours ended the handshake
         * before this. */
        int *ok = va_arg(ap, int *);
        if (ok)
            *ok = 1;
    }
    va_end(ap);
    errno = 0;
}

/* Everything that the relay sends before TLS and after its answer to STARTTLS would be taken for answers
 * inside TLS. */
static void watch_starttls(struct session *s, const char *p, size_t n)
{
    while (n > 0) {
        if (s->starttls_answered) {
            s->injected = true;
            return;
        }
        const char *nl = memchr(p, '\n', n);
        if (!nl)
            return;
        s->starttls_answered = !(nl - p > 3 && p[3] == '-');
        n -= (size_t)(nl + 1 - p);
        p = nl + 1;
    }
}

static void on_monitor(const char *p, int len, int writing, void *arg)
{
    struct session *s = arg;
    size_t n = len > 0 ? (size_t)len : 0;

    if (writing == SMTP_CB_WRITING) {
        s->starttls_sent = n == 10 && memcmp(p, "STARTTLS\r\n", 10) == 0;
        s->starttls_answered = false;
    } else if (writing == SMTP_CB_READING) {
        if (s->starttls_sent)
            watch_starttls(s, p, n);
        size_t line = CD_MIN(n, sizeof s->reply - 1);
        memcpy(s->reply, p, line);
        s->reply[line] = '\0';
    }
}

static int on_auth(auth_client_request_t request, char **result, int fields, void *arg)
{
    struct session *s = arg;

    for (int i = 0; i < fields; i++)
        if (request[i].flags & AUTH_USER)
            result[i] = s->relay->user;
        else if (request[i].flags & AUTH_PASS)
            result[i] = s->relay->password;
        else
            result[i] = NULL;
    return 1;
}

/* ---- a session ---- */

static bool add_messages(struct session *s, smtp_session_t h)
{
    for (int i = 0; i < s->n; i++) {
        struct message *m = &s->v[i];
        if (m->reported)
            continue;
        m->handle = smtp_add_message(h);
        if (!m->handle || !smtp_set_reverse_path(m->handle, m->m.from[0] ? m->m.from : NULL) ||
            !(m->recipient = smtp_add_recipient(m->handle, m->m.rcpt)) ||
            !smtp_set_messagecb(m->handle, on_text, m))
            return false;
    }
    return true;
}

/* A third of the job's time each, so that one silence ends as an outcome and not with the deadline. */
static void set_timeouts(const struct relay *r, smtp_session_t h)
{
    static const int which[] = {Timeout_GREETING, Timeout_ENVELOPE, Timeout_DATA, Timeout_TRANSFER,
                                Timeout_DATA2};
    long ms = (long)CD_MAX(r->timeout_us / 3000, (int64_t)1000);

    for (size_t i = 0; i < ARRAY_LEN(which); i++)
        smtp_set_timeout(h, which[i] | Timeout_OVERRIDE_RFC2822_MINIMUM, ms);
}

static bool set_up(struct session *s, smtp_session_t h, auth_context_t auth, SSL_CTX *ctx)
{
    const struct relay *r = s->relay;
    CD_CLEANUP_FREE char *server = cd_asprintf("%s:%u", r->host, r->port);

    if (!smtp_set_server(h, server) || !smtp_set_hostname(h, r->hostname) ||
        !smtp_set_eventcb(h, on_event, s) || !smtp_set_monitorcb(h, on_monitor, s, 0))
        return false;
    set_timeouts(r, h);
    if (ctx && (!smtp_starttls_enable(h, Starttls_REQUIRED) || !smtp_starttls_set_ctx(h, ctx)))
        return false;
    if (auth) {
        auth_set_mechanism_flags(auth, AUTH_PLUGIN_PLAIN, 0);
        auth_set_interact_cb(auth, on_auth, s);
        if (!smtp_auth_set_context(h, auth))
            return false;
    }
    return add_messages(s, h);
}

/* Speaks with the relay and reports what became clear; the rest is left to the caller, with the reason in
 * `error`. */
static void run_session(struct session *s, char *error, size_t size)
{
    struct esmtp_tls tls = {.relay = s->relay, .injected = &s->injected};
    SSL_CTX *ctx = NULL;
    auth_context_t auth = s->relay->user[0] ? auth_create_context() : NULL;

    if (s->relay->starttls && !(ctx = esmtp_tls_context(&tls, error, size)))
        goto out;
    smtp_session_t h = smtp_create_session();
    if (!h || !set_up(s, h, auth, ctx)) {
        snprintf(error, size, "libesmtp refused the session");
    } else {
        int ok = smtp_start_session(h), code = smtp_errno();
        char text[128] = "";
        if (!ok || code)
            smtp_strerror(code, text, sizeof text);
        for (int i = 0; i < s->n && !s->injected; i++)
            if (s->v[i].handle)
                judge(&s->v[i], true);
        snprintf(error, size, "%s %s", text, s->reply);
    }
    if (h)
        smtp_destroy_session(h);
out:
    if (auth)
        auth_destroy_context(auth);
    SSL_CTX_free(ctx);
}

/* ---- jobs ---- */

/* libesmtp writes what it is given into commands: nothing but strict addresses may get there. */
static bool addresses_ok(const struct out_message *m)
{
    return mail_address_valid(m->rcpt, strlen(m->rcpt), false) &&
           (!m->from[0] || mail_address_valid(m->from, strlen(m->from), false)) && m->ntext > 0 &&
           m->ntext < INT32_MAX;
}

static void on_job(void *arg, struct worker_child *c, uint64_t job, const uint8_t *data, size_t n)
{
    struct out_message v[OUT_BATCH_MAX];
    struct session s = {.relay = arg, .child = c, .job = job};
    char error[256] = "";
    bool any = false;

    s.n = job_read(data, n, v);
    for (int i = 0; i < s.n; i++) {
        s.v[i] = (struct message){.session = &s, .index = (uint32_t)i, .m = v[i]};
        if (addresses_ok(&v[i]))
            any = true;
        else
            report(&s.v[i], SEND_REJECTED, "not a mail address");
    }
    if (any)
        run_session(&s, error, sizeof error);
    if (s.injected)
        log_event(
            LOG_L_ERROR, EV_MAIL_REPLY_INJECTION, "relay=%s hint=%s", log_quote(s.relay->host),
            log_quote("text before TLS: somebody between us and the relay; nothing of this session counts"));
    for (int i = 0; i < s.n; i++)
        if (s.injected)
            report(&s.v[i], s.v[i].begun ? SEND_UNKNOWN : SEND_RETRY, "reply injection after STARTTLS");
        else
            report(&s.v[i], SEND_RETRY, "%s", error[0] ? error : "no outcome");
    answer(&s, NULL, false);
    job_free(v);
}

int mail_worker_main(void)
{
    struct relay relay;
    struct stat st;

    signal(SIGPIPE, SIG_IGN);
    log_open();
    log_set_process("mail");
    if (relay_read(WORKER_CONFIG_FD, &relay) < 0) {
        log_event(LOG_L_ERROR, EV_MAIL_WORKER_CONFIG, "error=unreadable");
        return 78;
    }
    /* libesmtp looks for certificates below HOME and takes every error but "does not exist" for its own
     * failure. */
    setenv("HOME", stat(relay.home, &st) == 0 && S_ISDIR(st.st_mode) ? relay.home : "/", 1);
    if (relay.user[0])
        auth_client_init();
    int r = worker_child_run(on_job, &relay);
    relay_free(&relay);
    return r;
}
