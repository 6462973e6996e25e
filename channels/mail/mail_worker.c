/* The mail worker: takes jobs, has them carried, and tells the front what becomes of each message. It runs in a
 * process that may be killed at any moment and sees only checked addresses. Everything that a job owns is
 * freed at its end; a fault in a job is an outcome. */
#include "channels/mail/out_worker.h"

#include <curl/curl.h>
#include <auth-client.h>
#include <ctype.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "channels/mail/mail.h"
#include "channels/mail/out_message.h"
#include "daemon/core/err.h"
#include "daemon/core/log.h"
#include "daemon/intake/handle.h"

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

static void tell(struct session *s, enum part_kind kind, uint32_t index, enum send_outcome outcome, const char *text)
{
    char line[OUT_DETAIL_MAX];

    snprintf(line, sizeof line, "%s", text);
    for (char *p = line; *p; p++)
        if ((unsigned char)*p < ' ' || *p == 0x7f)
            *p = ' ';
    size_t n = strlen(line);
    while (n > 0 && line[n - 1] == ' ')
        line[--n] = '\0';
    CD_CLEANUP_FREE char *clean = utf8_clean(line, n, NULL);
    struct part p = {.kind = kind, .index = index, .outcome = outcome, .detail = clean};
    answer(s, &p, true);
}

static void conclude(struct message *m, enum part_kind kind, enum send_outcome outcome, const char *text)
{
    if (m->reported)
        return;
    m->reported = true;
    tell(m->session, kind, m->index, outcome, text);
}

void out_report(struct message *m, enum send_outcome outcome, const char *fmt, ...)
{
    char text[OUT_DETAIL_MAX];
    va_list ap;

    va_start(ap, fmt);
    vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    conclude(m, PART_OUTCOME, outcome, text);
}

void out_elsewhere(struct message *m, const char *fmt, ...)
{
    char text[OUT_DETAIL_MAX];
    va_list ap;

    va_start(ap, fmt);
    vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    conclude(m, PART_ELSEWHERE, SEND_RETRY, text);
}

void out_unable(struct message *m, const char *why)
{
    conclude(m, PART_ELSEWHERE, SEND_REJECTED, why);
}

/* To be mended here, not by the message's sender or recipient. */
static bool about_us(int code)
{
    return code == 530 || code == 534 || code == 535 || code == 538;
}

void out_refused(struct message *m, const char *step, int code, const char *text)
{
    if (!m->begun && (code == 421 || about_us(code)))
        out_elsewhere(m, "%s: %d %s", step, code, text);
    else
        out_report(m, code / 100 == 5 && !about_us(code) ? SEND_REJECTED : SEND_RETRY, "%s: %d %s", step, code, text);
}

void out_begun(struct message *m)
{
    if (!m->begun)
        tell(m->session, PART_BEGUN, m->index, SEND_UNKNOWN, "");
    m->begun = true;
}

void out_reached(struct session *s)
{
    if (!s->reached)
        tell(s, PART_REACHED, 0, SEND_UNKNOWN, "");
    s->reached = true;
}

void out_heard(struct session *s, const char *p, size_t n)
{
    size_t line = CD_MIN(n, sizeof s->reply - 1);

    memcpy(s->reply, p, line);
    s->reply[line] = '\0';
    bool status = n >= 3 && isdigit((unsigned char)p[0]) && isdigit((unsigned char)p[1]) && isdigit((unsigned char)p[2]);
    s->code = status ? (p[0] - '0') * 100 + (p[1] - '0') * 10 + (p[2] - '0') : 0;
}

bool out_is_utf8(const struct message *m)
{
    return !mail_address_ascii(m->m.rcpt);
}

void out_session_over(struct session *s, bool utf8, const char *error)
{
    if (!s->reached)
        tell(s, s->code >= 400 && !s->injected ? PART_TURNED_AWAY : PART_UNREACHED, 0, SEND_UNKNOWN, error);
    for (int i = 0; i < s->n; i++) {
        struct message *m = &s->v[i];
        if (out_is_utf8(m) != utf8)
            continue;
        if (m->begun) /* the relay may have taken it: the same again under the same Message-ID */
            out_report(m, SEND_UNKNOWN, "connection lost after the text: %s", error);
        else
            out_elsewhere(m, "%s", *error ? error : "no outcome");
    }
    s->code = 0;
    s->reply[0] = '\0';
}

/* ---- jobs ---- */

/* Addresses are written into commands as they are: nothing but strict ones may get there. */
static bool addresses_ok(const struct out_message *m)
{
    return mail_address_valid(m->rcpt, strlen(m->rcpt), true) &&
           (!m->from[0] || mail_address_valid(m->from, strlen(m->from), false)) && m->ntext > 0 &&
           m->ntext < INT32_MAX;
}

static bool any_left(const struct session *s, bool utf8)
{
    for (int i = 0; i < s->n; i++)
        if (!s->v[i].reported && out_is_utf8(&s->v[i]) == utf8)
            return true;
    return false;
}

static void carry(struct session *s)
{
    char error[256] = "";

    if (any_left(s, false)) {
        esmtp_run(s, error, sizeof error);
        if (s->injected) {
            log_event(LOG_L_ERROR, EV_MAIL_REPLY_INJECTION, "relay=%s hint=%s", log_quote(s->relay->host),
                      log_quote("text before TLS: somebody between us and the relay; nothing of this session "
                                "counts"));
            snprintf(error, sizeof error, "reply injection after STARTTLS");
        }
        out_session_over(s, false, error);
    }
    if (any_left(s, true)) {
        error[0] = '\0';
        curl_smtp_run(s, error, sizeof error);
        out_session_over(s, true, error);
    }
}

static void on_job(void *arg, struct worker_child *c, uint64_t job, const uint8_t *data, size_t n)
{
    const struct out_config *cfg = arg;
    struct out_message v[OUT_BATCH_MAX];
    struct session *s = cd_alloc(sizeof *s);
    size_t relay = 0;

    *s = (struct session){.cfg = cfg, .child = c, .job = job};
    s->n = job_read(data, n, &relay, v);
    if (s->n < 0 || relay >= cfg->nrelays) {
        log_event(LOG_L_ERROR, EV_MAIL_WORKER_CONFIG, "error=job");
        s->n = 0;
    } else {
        s->relay = &cfg->relays[relay];
    }
    for (int i = 0; i < s->n; i++) {
        s->v[i] = (struct message){.session = s, .index = (uint32_t)i, .m = v[i]};
        if (!addresses_ok(&v[i]))
            out_report(&s->v[i], SEND_REJECTED, "not a mail address");
    }
    if (s->n > 0)
        carry(s);
    answer(s, NULL, false);
    job_free(v);
    free(s);
}

int mail_worker_main(void)
{
    struct out_config cfg;
    struct stat st;

    signal(SIGPIPE, SIG_IGN);
    log_open();
    log_set_process("mail");
    if (out_config_read(WORKER_CONFIG_FD, &cfg) < 0) {
        log_event(LOG_L_ERROR, EV_MAIL_WORKER_CONFIG, "error=unreadable");
        return 78;
    }
    /* libesmtp looks for certificates below HOME and takes every error but "does not exist" for its own
     * failure. */
    setenv("HOME", stat(cfg.home, &st) == 0 && S_ISDIR(st.st_mode) ? cfg.home : "/", 1);
    for (size_t i = 0; i < cfg.nrelays; i++)
        if (cfg.relays[i].user[0]) {
            auth_client_init();
            break;
        }
    int r = worker_child_run(on_job, &cfg);
    curl_global_cleanup();
    out_config_free(&cfg);
    return r;
}
