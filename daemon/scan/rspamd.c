/* rspamd over HTTP: the request, and what its answer means. Its JSON is read here, in the front: it comes from a service that the operator
 * chose, is at most WEB_CLIENT_ANSWER bytes, and no text of it is kept but names. */
#include <jansson.h>
#include <stdio.h>
#include <string.h>

#include "daemon/core/err.h"
#include "daemon/scan/checkers.h"

#define MAX_RECIPIENTS 50 /* told; spam is no matter of how many there are */
#define MAX_SYMBOL 64

/* ---- the request ---- */

/* A field that a line break would end early is left out: rspamd then knows less, and nobody is fooled. */
static void add_header(struct strlist *l, const char *name, const char *value)
{
    if (value && *value && !strpbrk(value, "\r\n"))
        strlist_take(l, cd_asprintf("%s: %s", name, value));
}

int rspamd_ask(struct web_client *web, const struct config *c, const struct scan_mail *m, http_fetch_done done, void *arg)
{
    struct http_fetch f = {.content_type = "message/rfc822", .body = m->text, .nbody = m->n, .body_stays = true,
                           .timeout_us = c->scan_rspamd_timeout_us};
    bool front = scan_mail_from_front(c, m);
    char *url CD_CLEANUP_FREE = cd_asprintf("%s/checkv2", c->scan_rspamd_url);
    f.url = url;
    add_header(&f.headers, "From", m->from);
    for (size_t i = 0; m->recipients && i < m->recipients->n && i < MAX_RECIPIENTS; i++)
        add_header(&f.headers, "Rcpt", m->recipients->v[i]);
    /* of a server of ours: SPF would be asked for the wrong host */
    add_header(&f.headers, "Ip", front ? NULL : m->client);
    add_header(&f.headers, "Helo", front ? NULL : m->helo);
    add_header(&f.headers, "Queue-Id", m->id);
    add_header(&f.headers, "Password", c->scan_rspamd_password);
    int r = web_client_fetch(web, &f, done, arg);
    strlist_free(&f.headers);
    return r;
}

/* ---- the answer ---- */

/* "reject" is a mail that rspamd would turn away: here it is taken and set apart. An action that this list does not know is somebody's own,
 * and not "no action". */
static enum scan_verdict verdict_of(const char *action)
{
    static const char *const bad[] = {"reject", "quarantine", "discard"};
    if (strcmp(action, "no action") == 0)
        return SCAN_CLEAN;
    for (size_t i = 0; i < ARRAY_LEN(bad); i++)
        if (strcmp(action, bad[i]) == 0)
            return SCAN_QUARANTINED;
    return SCAN_SUSPECT; /* "greylist", "add header", "rewrite subject", "soft reject", … */
}

enum method { SPF, DKIM, DMARC, ARC };
static const struct auth_symbol {
    const char *name;
    enum method method;
    enum auth_verdict verdict;
} auth_symbols[] = {
    {"R_SPF_ALLOW", SPF, AUTH_PASS},     {"R_SPF_FAIL", SPF, AUTH_FAIL},         {"R_SPF_SOFTFAIL", SPF, AUTH_OTHER},
    {"R_SPF_NEUTRAL", SPF, AUTH_OTHER},  {"R_SPF_PLUSALL", SPF, AUTH_OTHER},     {"R_SPF_DNSFAIL", SPF, AUTH_OTHER},
    {"R_SPF_PERMFAIL", SPF, AUTH_OTHER}, {"R_SPF_NA", SPF, AUTH_NONE},           {"R_DKIM_ALLOW", DKIM, AUTH_PASS},
    {"R_DKIM_REJECT", DKIM, AUTH_FAIL},  {"R_DKIM_TEMPFAIL", DKIM, AUTH_OTHER},  {"R_DKIM_PERMFAIL", DKIM, AUTH_OTHER},
    {"R_DKIM_NA", DKIM, AUTH_NONE},      {"DMARC_POLICY_ALLOW", DMARC, AUTH_PASS}, {"DMARC_POLICY_ALLOW_WITH_FAILURES", DMARC, AUTH_PASS},
    {"DMARC_POLICY_REJECT", DMARC, AUTH_FAIL}, {"DMARC_POLICY_QUARANTINE", DMARC, AUTH_FAIL}, {"DMARC_POLICY_SOFTFAIL", DMARC, AUTH_FAIL},
    {"DMARC_BAD_POLICY", DMARC, AUTH_OTHER}, {"DMARC_DNSFAIL", DMARC, AUTH_OTHER}, {"DMARC_NA", DMARC, AUTH_NONE},
    {"ARC_ALLOW", ARC, AUTH_PASS},       {"ARC_REJECT", ARC, AUTH_FAIL},         {"ARC_INVALID", ARC, AUTH_FAIL},
    {"ARC_DNSFAIL", ARC, AUTH_OTHER},    {"ARC_NA", ARC, AUTH_NONE},
};

static void take_auth(struct scan_auth *a, const char *symbol)
{
    enum auth_verdict *const place[] = {[SPF] = &a->spf, [DKIM] = &a->dkim, [DMARC] = &a->dmarc, [ARC] = &a->arc};
    for (size_t i = 0; i < ARRAY_LEN(auth_symbols); i++) {
        const struct auth_symbol *s = &auth_symbols[i];
        if (strcmp(s->name, symbol) != 0)
            continue;
        if (*place[s->method] == AUTH_NONE || s->verdict == AUTH_PASS) /* of several signatures one that is good will do */
            *place[s->method] = s->verdict;
        a->known = true;
        return;
    }
}

static void add_symbol(struct scan_result *r, const char *name)
{
    size_t used = strlen(r->symbols), n = strlen(name);
    for (size_t i = 0; i < n; i++)
        if (name[i] <= ' ' || name[i] >= 0x7f)
            return;
    if (n == 0 || n > MAX_SYMBOL || used + n + 2 > sizeof r->symbols)
        return;
    snprintf(r->symbols + used, sizeof r->symbols - used, "%s%s", used ? " " : "", name);
}

static void take_symbols(const json_t *symbols, struct scan_result *r)
{
    struct scan_auth a = {.by = "rspamd"};
    const char *name;
    const json_t *value;
    /* the cast: jansson's iterator wants it changeable, and does not change it */
    json_object_foreach((json_t *)symbols, name, value) {
        take_auth(&a, name);
        add_symbol(r, name);
    }
    if (a.known && !r->auth.known)
        r->auth = a;
}

static void read_answer(const char *body, size_t n, struct scan_result *r)
{
    struct scan_answer *a = &r->answer[CHECK_RSPAMD];
    json_t *o = json_loadb(body, n, 0, NULL);
    const char *action = json_string_value(json_object_get(o, "action"));
    const json_t *score = json_object_get(o, "score"), *symbols = json_object_get(o, "symbols");
    if (!action || !json_is_number(score) || (symbols && !json_is_object(symbols))) {
        scan_answer_set(a, ASK_ODD, SCAN_OFF, "no answer of rspamd's", 21);
    } else if (json_is_true(json_object_get(o, "is_skipped"))) {
        scan_answer_set(a, ASK_SKIPPED, SCAN_OFF, action, strlen(action));
    } else {
        scan_answer_set(a, ASK_ANSWERED, verdict_of(action), action, strlen(action));
        r->score = json_number_value(score);
        take_symbols(symbols, r);
    }
    json_decref(o);
}

void rspamd_read(const struct http_fetch_result *f, struct scan_result *r)
{
    struct scan_answer *a = &r->answer[CHECK_RSPAMD];
    char text[64];
    if (f->outcome == FETCH_ANSWERED && f->status == 200) {
        read_answer(f->body, f->nbody, r);
    } else if (f->outcome == FETCH_ANSWERED) {
        int n = snprintf(text, sizeof text, "HTTP status %d", f->status);
        scan_answer_set(a, ASK_ODD, SCAN_OFF, text, (size_t)n);
    } else {
        scan_answer_set(a, f->timed_out ? ASK_SLOW : ASK_DOWN, SCAN_OFF, f->error, strlen(f->error));
    }
}
