/* Mail to addresses outside ASCII, by libcurl: libesmtp knows no SMTPUTF8 (RFC 6531). One connection a job, kept
 * by the handle from message to message; a NOOP first, since libcurl would give such an address to any relay,
 * also to one that did not offer to take it. What the relay said is read from libcurl's trace, for its own
 * result does not tell a refusal from a lost connection. The handle is freed with the job. */
#include "channels/mail/out_worker.h"

#include <curl/curl.h>
#include <stdio.h>
#include <string.h>

struct dialogue {
    struct session *s;
    struct message *m; /* NULL while greeting */
    const char *step;  /* the last command: "MAIL", "RCPT", "DATA"; "" before */
    size_t at;         /* bytes of the text that were read */
    bool utf8;         /* offered */
    bool over;         /* libcurl says QUIT; the answer is about nothing */
    char error[CURL_ERROR_SIZE];
};

static void on_reply(struct dialogue *d, const char *p, size_t n)
{
    if (d->over)
        return;
    out_heard(d->s, p, n);
    if (n > 4 && p[3] == '-')
        d->s->code = 0; /* its last line decides */
    if (!d->step[0] && n >= 12 && memcmp(p, "250", 3) == 0 && strncasecmp(p + 4, "SMTPUTF8", 8) == 0 &&
        (n == 12 || (unsigned char)p[12] <= ' '))
        d->utf8 = true;
}

static void on_command(struct dialogue *d, const char *p, size_t n)
{
    static const char *const steps[] = {"MAIL", "RCPT", "DATA"};

    if (n >= 4 && memcmp(p, "EHLO", 4) == 0)
        d->utf8 = false; /* what was offered before TLS does not count */
    d->over = n >= 4 && memcmp(p, "QUIT", 4) == 0;
    for (size_t i = 0; i < ARRAY_LEN(steps); i++)
        if (n > 4 && memcmp(p, steps[i], 4) == 0) {
            d->step = steps[i];
            d->s->code = 0;
        }
}

static int on_trace(CURL *h, curl_infotype type, char *p, size_t n, void *arg)
{
    struct dialogue *d = arg;

    (void)h;
    if (type == CURLINFO_HEADER_IN)
        on_reply(d, p, n);
    else if (type == CURLINFO_HEADER_OUT)
        on_command(d, p, n);
    return 0;
}

static size_t on_text(char *to, size_t size, size_t count, void *arg)
{
    struct dialogue *d = arg;
    size_t n = CD_MIN(size * count, d->m->m.ntext - d->at);

    if (!d->at) {
        out_begun(d->m);
        d->s->code = 0; /* of DATA; the next one is about the text */
    }
    memcpy(to, d->m->m.text + d->at, n);
    d->at += n;
    return n;
}

static size_t on_body(char *p, size_t size, size_t count, void *arg)
{
    (void)p;
    (void)arg;
    return size * count; /* of the NOOP's answer; not to standard output */
}

static void set_up(CURL *h, struct dialogue *d)
{
    const struct session *s = d->s;
    const struct relay *r = s->relay;
    CD_CLEANUP_FREE char *url = cd_asprintf("smtp://%s:%u/%s", r->host, r->port, s->cfg->hostname);
    long ms = (long)(CD_MAX(s->cfg->timeout_us / 3, CD_SEC(1)) / 1000);

    curl_easy_setopt(h, CURLOPT_URL, url);
    curl_easy_setopt(h, CURLOPT_PROTOCOLS_STR, "smtp");
    curl_easy_setopt(h, CURLOPT_PROXY, ""); /* none from the environment */
    curl_easy_setopt(h, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(h, CURLOPT_CONNECTTIMEOUT_MS, ms);
    curl_easy_setopt(h, CURLOPT_SERVER_RESPONSE_TIMEOUT, CD_MAX(ms / 1000, 1L));
    curl_easy_setopt(h, CURLOPT_TIMEOUT_MS, 2 * ms);
    curl_easy_setopt(h, CURLOPT_USE_SSL, (long)(r->starttls ? CURLUSESSL_ALL : CURLUSESSL_NONE));
    curl_easy_setopt(h, CURLOPT_SSLVERSION, (long)CURL_SSLVERSION_TLSv1_2);
    if (r->ca_file[0]) {
        curl_easy_setopt(h, CURLOPT_CAINFO, r->ca_file);
        curl_easy_setopt(h, CURLOPT_CAPATH, NULL);
    }
    if (r->user[0]) {
        curl_easy_setopt(h, CURLOPT_USERNAME, r->user);
        curl_easy_setopt(h, CURLOPT_PASSWORD, r->password);
    }
    curl_easy_setopt(h, CURLOPT_ERRORBUFFER, d->error);
    curl_easy_setopt(h, CURLOPT_VERBOSE, 1L);
    curl_easy_setopt(h, CURLOPT_DEBUGFUNCTION, on_trace);
    curl_easy_setopt(h, CURLOPT_DEBUGDATA, d);
    curl_easy_setopt(h, CURLOPT_WRITEFUNCTION, on_body);
    curl_easy_setopt(h, CURLOPT_READFUNCTION, on_text);
    curl_easy_setopt(h, CURLOPT_READDATA, d);
}

/* Connects and greets; false: no session, d->error says why. */
static bool greet(CURL *h, struct dialogue *d)
{
    curl_easy_setopt(h, CURLOPT_CUSTOMREQUEST, "NOOP");
    CURLcode r = curl_easy_perform(h);
    curl_easy_setopt(h, CURLOPT_CUSTOMREQUEST, NULL);
    if (r && !d->error[0])
        snprintf(d->error, sizeof d->error, "%s", curl_easy_strerror(r));
    return r == CURLE_OK;
}

static void judge(struct dialogue *d, CURLcode r)
{
    struct message *m = d->m;
    int code = d->s->code;

    if (m->begun && code / 100 == 2)
        out_report(m, SEND_SENT, "DATA: %s", d->s->reply);
    else if (d->step[0] && code >= 400)
        out_refused(m, m->begun ? "DATA" : d->step, code, d->s->reply + 3 + (d->s->reply[3] == ' '));
    else if (r == CURLE_OK && !d->error[0])
        snprintf(d->error, sizeof d->error, "no answer to the text");
    else if (!d->error[0])
        snprintf(d->error, sizeof d->error, "%s", curl_easy_strerror(r));
}

/* false when nothing more can be said on this connection. */
static bool send_one(CURL *h, struct dialogue *d)
{
    struct curl_slist *to = curl_slist_append(NULL, d->m->m.rcpt);

    d->step = "";
    d->at = 0;
    d->error[0] = '\0';
    d->s->code = 0;
    curl_easy_setopt(h, CURLOPT_MAIL_FROM, d->m->m.from);
    curl_easy_setopt(h, CURLOPT_MAIL_RCPT, to);
    curl_easy_setopt(h, CURLOPT_UPLOAD, 1L);
    curl_easy_setopt(h, CURLOPT_INFILESIZE_LARGE, (curl_off_t)d->m->m.ntext);
    CURLcode r = curl_easy_perform(h);
    judge(d, r);
    curl_easy_setopt(h, CURLOPT_MAIL_RCPT, NULL);
    curl_slist_free_all(to);
    return d->m->reported;
}

void curl_smtp_run(struct session *s, char *error, size_t size)
{
    struct dialogue d = {.s = s, .step = ""};
    CURL *h = curl_easy_init();

    if (!h) {
        snprintf(error, size, "libcurl cannot be set up");
        return;
    }
    set_up(h, &d);
    if (greet(h, &d)) {
        bool on = true;
        out_reached(s);
        for (int i = 0; i < s->n && on; i++) {
            d.m = &s->v[i];
            if (d.m->reported || !out_is_utf8(d.m))
                continue;
            if (d.utf8)
                on = send_one(h, &d);
            else
                out_unable(d.m, "the relay takes no address outside ASCII (it does not offer SMTPUTF8)");
        }
    }
    snprintf(error, size, "%s %s", d.error, s->reply);
    curl_easy_cleanup(h);
}
