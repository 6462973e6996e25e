/* From the checkers' answers to one verdict, and both as words. A result owns nothing; what scan_result_json() returns is the caller's. */
#include <jansson.h>
#include <stdio.h>
#include <string.h>

#include "daemon/scan/checkers.h"

static const char *const verdict_names[SCAN_VERDICTS] = {
    [SCAN_CLEAN] = "clean", [SCAN_UNSCANNED] = "unscanned", [SCAN_SUSPECT] = "suspect", [SCAN_QUARANTINED] = "quarantined"};
static const char *const outcome_names[ASK_OUTCOMES] = {
    [ASK_OFF] = "off",   [ASK_ANSWERED] = "answered", [ASK_TOO_LARGE] = "too-large", [ASK_SKIPPED] = "skipped", [ASK_BUSY] = "busy",
    [ASK_PAUSED] = "paused", [ASK_DOWN] = "down",     [ASK_SLOW] = "slow",           [ASK_ODD] = "odd"};
static const char *const checker_names[CHECKERS] = {[CHECK_RSPAMD] = "rspamd", [CHECK_CLAMD] = "clamd"};
static const char *const auth_words[] = {[AUTH_NONE] = "none", [AUTH_PASS] = "pass", [AUTH_FAIL] = "fail", [AUTH_OTHER] = "other"};

const char *scan_verdict_name(enum scan_verdict v)
{
    return v < SCAN_VERDICTS ? verdict_names[v] : NULL;
}

const char *scan_outcome_name(enum scan_outcome o)
{
    return o < ASK_OUTCOMES ? outcome_names[o] : "off";
}

void scan_answer_set(struct scan_answer *a, enum scan_outcome o, enum scan_verdict v, const char *text, size_t n)
{
    char *clean CD_CLEANUP_FREE = utf8_clean(text ? text : "", CD_MIN(n, sizeof a->text), NULL);
    size_t len = utf8_cut(clean, CD_MIN(strlen(clean), sizeof a->text - 1));
    *a = (struct scan_answer){.outcome = o, .verdict = v};
    for (size_t i = 0; i < len; i++)
        a->text[i] = (unsigned char)clean[i] < ' ' || clean[i] == 0x7f ? ' ' : clean[i];
}

/* A failing DMARC check is the domain's own word that the mail is not its. */
static enum scan_verdict auth_verdict_of(const struct scan_auth *a)
{
    if (!a->known)
        return SCAN_OFF;
    return a->dmarc == AUTH_FAIL ? SCAN_SUSPECT : SCAN_CLEAN;
}

void scan_result_settle(struct scan_result *r)
{
    const struct scan_auth *u = &r->auth;
    r->verdict = auth_verdict_of(u);
    r->again = false;
    for (size_t i = 0; i < CHECKERS; i++) {
        const struct scan_answer *a = &r->answer[i];
        enum scan_verdict v = a->outcome == ASK_OFF ? SCAN_OFF : a->outcome == ASK_ANSWERED ? a->verdict : SCAN_UNSCANNED;
        r->verdict = CD_MAX(r->verdict, v);
        r->again |= a->outcome >= ASK_BUSY;
    }
    r->again &= r->verdict < SCAN_QUARANTINED; /* it cannot get worse */
    r->unproven = u->known && (u->dmarc == AUTH_FAIL || (u->dmarc != AUTH_PASS && u->spf != AUTH_PASS && u->dkim != AUTH_PASS));
}

const char *scan_result_silence(const struct scan_result *r)
{
    if (r->verdict == SCAN_QUARANTINED)
        return "the mail is quarantined: a checker says that it is harmful";
    if (r->auth.known && r->auth.dmarc == AUTH_FAIL)
        return "the sender may be forged: DMARC failed";
    if (r->verdict == SCAN_SUSPECT)
        return "a checker says that the mail is suspect";
    if (r->unproven)
        return "the sender is not proven: neither SPF nor DKIM passed";
    return NULL;
}

static json_t *symbol_list(const char *symbols)
{
    json_t *list = json_array();
    for (const char *p = symbols; *p;) {
        size_t n = strcspn(p, " ");
        json_array_append_new(list, json_stringn(p, n));
        p += n + (p[n] == ' ');
    }
    return list;
}

char *scan_result_json(const struct scan_result *r)
{
    json_t *o = json_pack("{s:s?}", "verdict", scan_verdict_name(r->verdict));
    for (size_t i = 0; i < CHECKERS; i++) {
        const struct scan_answer *a = &r->answer[i];
        if (a->outcome == ASK_OFF)
            continue;
        json_t *one = json_pack("{s:s, s:s?}", "outcome", scan_outcome_name(a->outcome), "text", a->text[0] ? a->text : NULL);
        if (a->outcome == ASK_ANSWERED)
            json_object_set_new(one, "verdict", json_string(scan_verdict_name(a->verdict)));
        if (a->outcome == ASK_ANSWERED && i == CHECK_RSPAMD) {
            json_object_set_new(one, "score", json_real(r->score));
            json_object_set_new(one, "symbols", symbol_list(r->symbols));
        }
        json_object_set_new(o, checker_names[i], one);
    }
    if (r->auth.known)
        json_object_set_new(o, "sender", json_pack("{s:s, s:s, s:s, s:s, s:s, s:b}", "by", r->auth.by, "spf", auth_words[r->auth.spf], "dkim",
                                                   auth_words[r->auth.dkim], "dmarc", auth_words[r->auth.dmarc], "arc", auth_words[r->auth.arc],
                                                   "proven", (int)!r->unproven));
    char *text = json_dumps(o, JSON_COMPACT | JSON_REAL_PRECISION(6));
    json_decref(o);
    return text ? text : cd_strdup("{}");
}
