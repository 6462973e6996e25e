/* Mail by libesmtp: one session a job. The library blocks, keeps its own ideas of success and takes no care of
 * what it is given; its word counts only where the relay's statuses bear it out. What each trap of the library
 * is, and how it is closed, stands in the README. */
#include "channels/mail/esmtp_tls.h" /* brings openssl/ssl.h, which libesmtp.h must find before it */
#include "channels/mail/out_worker.h"
#include "daemon/core/err.h"

#include <auth-client.h> /* likewise */
#include <libesmtp.h>

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#define MAX_DESCRIPTOR 64 /* a worker opens the lowest that is free, and has a handful */

/* ---- judging ---- */

static int class_of(const smtp_status_t *st)
{
    return st ? st->code / 100 : 0;
}

static void refused(struct message *m, const char *step, const smtp_status_t *st)
{
    out_refused(m, step, st->code, st->text ? st->text : "");
}

/* The recipient's status decides first: after a refused recipient the library sends DATA all the same, and
 * the status of the message is then only the relay's complaint about that. Delivered is only what has 2xx
 * from both, and that only when the library has read the last answer (`whole`): until then the status of the
 * message may be that of a chunk (BDAT), or of a reply that has no end. */
static void judge(struct message *m, bool whole)
{
    const smtp_status_t *mail = smtp_reverse_path_status(m->handle);
    const smtp_status_t *rcpt = smtp_recipient_status(m->recipient);
    const smtp_status_t *data = smtp_message_transfer_status(m->handle);

    if (class_of(mail) >= 4)
        refused(m, "MAIL", mail);
    else if (class_of(rcpt) >= 4)
        refused(m, "RCPT", rcpt);
    else if (class_of(rcpt) == 2 && class_of(data) >= 4)
        refused(m, "DATA", data);
    else if (class_of(rcpt) == 2 && class_of(data) == 2 && m->begun && whole)
        out_report(m, SEND_SENT, "DATA: %d %s", data->code, data->text ? data->text : "");
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
    out_begun(m);
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

/* A third of the deadline each, so that one silence ends as an outcome and not with the worker's death. */
static int64_t patience_us(const struct session *s)
{
    return CD_MAX(s->cfg->timeout_us / 3, CD_SEC(1));
}

/* connect() waits for minutes, and getaddrinfo() goes on when interrupted; an address that takes longer than
 * `us` is given up by a signal, which has no other use here. 0: no more. */
static void on_alarm(int sig)
{
    (void)sig;
}

static void time_connecting(int64_t us)
{
    struct timeval tv = {.tv_sec = (time_t)(us / 1000000), .tv_usec = (suseconds_t)(us % 1000000)};
    const struct itimerval t = {.it_interval = tv, .it_value = tv};
    const struct sigaction a = {.sa_handler = on_alarm}; /* without SA_RESTART */

    sigaction(SIGALRM, &a, NULL);
    setitimer(ITIMER_REAL, &t, NULL);
}

/* The library writes a text in pieces of 2 kB and a rest, and does not say which socket is its own. With Nagle's algorithm the rest is held
 * back until the relay has acknowledged the piece before, which delays that for 40 ms or more. This process has no other TCP socket. */
static void send_at_once(void)
{
    const int on = 1;
    for (int fd = STDERR_FILENO + 1; fd < MAX_DESCRIPTOR; fd++)
        (void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on); /* fails for all that is no TCP socket */
}

static void on_event(smtp_session_t session, int event, void *arg, ...)
{
    struct session *s = arg;
    va_list ap;

    (void)session;
    va_start(ap, arg);
    if (event == SMTP_EV_CONNECT) {
        time_connecting(0);
        send_at_once();
    } else if (event == SMTP_EV_DISCONNECT) { /* its name may have another address, to be tried now */
        time_connecting(patience_us(s));
    } else if (event == SMTP_EV_MESSAGESENT) {
        struct message *m = message_of(s, va_arg(ap, smtp_message_t));
        if (m && !s->injected)
            judge(m, smtp_recipient_check_complete(m->recipient));
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
        if (n >= 10 && memmem(p, n, "MAIL FROM:", 10))
            out_reached(s);
    } else if (writing == SMTP_CB_READING) {
        if (s->starttls_sent)
            watch_starttls(s, p, n);
        out_heard(s, p, n);
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
        if (m->reported || out_is_utf8(m))
            continue;
        m->handle = smtp_add_message(h);
        if (!m->handle || !smtp_set_reverse_path(m->handle, m->m.from[0] ? m->m.from : NULL) ||
            !(m->recipient = smtp_add_recipient(m->handle, m->m.rcpt)) ||
            !smtp_set_messagecb(m->handle, on_text, m))
            return false;
    }
    return true;
}

static void set_timeouts(const struct session *s, smtp_session_t h)
{
    static const int which[] = {Timeout_GREETING, Timeout_ENVELOPE, Timeout_DATA, Timeout_TRANSFER,
                                Timeout_DATA2};
    long ms = (long)(patience_us(s) / 1000);

    for (size_t i = 0; i < ARRAY_LEN(which); i++)
        smtp_set_timeout(h, which[i] | Timeout_OVERRIDE_RFC2822_MINIMUM, ms);
}

static bool set_up(struct session *s, smtp_session_t h, auth_context_t auth, SSL_CTX *ctx)
{
    const struct relay *r = s->relay;
    CD_CLEANUP_FREE char *server = cd_asprintf("%s:%u", r->host, r->port);

    if (!smtp_set_server(h, server) || !smtp_set_hostname(h, s->cfg->hostname) ||
        !smtp_set_eventcb(h, on_event, s) || !smtp_set_monitorcb(h, on_monitor, s, 0))
        return false;
    set_timeouts(s, h);
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

void esmtp_run(struct session *s, char *error, size_t size)
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
        time_connecting(patience_us(s));
        int ok = smtp_start_session(h), code = smtp_errno();
        time_connecting(0);
        char text[128] = "";
        if (!ok || code)
            smtp_strerror(code, text, sizeof text);
        for (int i = 0; i < s->n && !s->injected; i++)
            if (s->v[i].handle)
                judge(&s->v[i], false);
        snprintf(error, size, "%s %s", text, s->reply);
    }
    if (h)
        smtp_destroy_session(h);
out:
    if (auth)
        auth_destroy_context(auth);
    SSL_CTX_free(ctx);
}
