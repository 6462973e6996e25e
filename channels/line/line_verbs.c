/* The verb table and the dispatch. What reads or changes complaints goes to the front as a request with an ack slot; its answer comes
 * back through line_on_reply(). */
#include "channels/line/line_verbs.h"

#include <stdio.h>
#include <string.h>

#include "channels/line/line_subscribe.h"
#include "daemon/core/err.h"
#include "daemon/core/metrics.h"

static enum verb_result verb_ping(struct line_session *s CD_UNUSED, struct line_slot *slot,
                                  const struct line_request *rq CD_UNUSED)
{
    line_answer_ok(slot, json_object());
    return VERB_DONE;
}

static enum verb_result verb_quit(struct line_session *s, struct line_slot *slot,
                                  const struct line_request *rq CD_UNUSED)
{
    line_answer_ok(slot, json_object());
    s->closing = true;
    s->reason = "quit";
    return VERB_DONE;
}

static enum verb_result verb_request(struct line_session *s, struct line_slot *slot,
                                     const struct line_request *rq)
{
    if (line_slot_wait(slot) < 0) {
        line_answer_err(slot, "busy", "too many requests in flight", NULL, true);
        return VERB_DONE;
    }
    const struct request r = {.verb = rq->verb, .args = rq->args, .role = s->role, .actor = s->client, .desks = &s->desks,
                              .may_see_vulnerable = s->may_see_vulnerable || s->role == ROLE_ADMIN,
                              .via = str_starts(s->peer, "unix:") ? "unix" : "line", .slot = slot->ack, .session = s->id};
    s->server->host->request(s->server->host->front, &r);
    return VERB_WAITING;
}

/* One whose answer may be as large as LINE_MAX_ANSWER. */
static enum verb_result verb_read(struct line_session *s, struct line_slot *slot, const struct line_request *rq)
{
    enum verb_result r = verb_request(s, slot, rq);
    if (!slot->waiting)
        return r;
    slot->read = true;
    if (++s->nreads == LINE_MAX_READS)
        metrics_inc(M_LINE_READS_HELD);
    return r;
}

const struct line_verb line_verbs[] = {
    {"HELLO", ROLE_NONE, line_verb_hello},
    {"STARTTLS", ROLE_NONE, line_verb_starttls},
    {"AUTH", ROLE_NONE, line_verb_auth},
    {"PING", ROLE_NONE, verb_ping},
    {"QUIT", ROLE_NONE, verb_quit},
    {"SUBMIT", ROLE_INTAKE, line_verb_submit},
    {"SHOW", ROLE_INTAKE, verb_read},
    {"LIST", ROLE_AGENT, verb_read},
    {"ATTACHMENT", ROLE_AGENT, verb_read},
    {"EXPLAIN", ROLE_AGENT, verb_read},
    {"VERIFY", ROLE_AGENT, verb_read},
    {"ACK", ROLE_AGENT, verb_request},
    {"ASSIGN", ROLE_AGENT, verb_request},
    {"NOTE", ROLE_AGENT, verb_request},
    {"REPLY", ROLE_AGENT, verb_request},
    {"RECLASSIFY", ROLE_AGENT, verb_request},
    {"WAIT", ROLE_AGENT, verb_request},
    {"RESOLVE", ROLE_AGENT, verb_request},
    {"REOPEN", ROLE_AGENT, verb_request},
    {"CLOSE", ROLE_AGENT, verb_request},
    {"MERGE", ROLE_AGENT, verb_request},
    {"SPLIT", ROLE_AGENT, verb_request},
    {"REREAD", ROLE_AGENT, verb_request},
    {"SUBSCRIBE", ROLE_AGENT, line_verb_subscribe},
    {"ABSENT", ROLE_AGENT, verb_request},
    {"PRESENT", ROLE_AGENT, verb_request},
    {"ABSENCES", ROLE_AGENT, verb_read},
    {"CUSTOMER", ROLE_AGENT, verb_read},
    {"CUSTOMERS", ROLE_AGENT, verb_read},
    {"FLAG", ROLE_AGENT, verb_request},
    {"STATS", ROLE_AGENT, verb_read},
    {"QUEUE", ROLE_ADMIN, verb_read},
    {"PENDING", ROLE_ADMIN, verb_read},
    {"CONFIG", ROLE_ADMIN, verb_read},
    {"CLOCK", ROLE_ADMIN, verb_request},
};
const size_t line_verb_count = ARRAY_LEN(line_verbs);

/* What may be said where line.require_tls wants TLS first. */
static bool needs_no_tls(const struct line_verb *v)
{
    return v->role == ROLE_NONE && v->handler != line_verb_auth;
}

static bool lacks_tls(const struct line_session *s)
{
    return s->server->host->cfg->line_require_tls && !s->conn.tls && !s->local;
}

bool line_may_follow(const struct line_session *s)
{
    return s->role >= ROLE_AGENT && !lacks_tls(s);
}

static void refuse_role(struct line_slot *slot, enum role needed, enum role has)
{
    char text[100];
    snprintf(text, sizeof text, "the verb is for the role %s, and this client's is %s", line_role_name(needed), line_role_name(has));
    line_answer_err(slot, "forbidden", text, NULL, false);
}

enum verb_result line_dispatch(struct line_session *s, struct line_slot *slot, const struct line_request *rq)
{
    const struct line_verb *v = NULL;
    for (size_t i = 0; i < line_verb_count && !v; i++)
        if (strcmp(line_verbs[i].name, rq->verb) == 0)
            v = &line_verbs[i];
    if (!v) {
        line_answer_err(slot, "unknown-verb", "no such verb", NULL, false);
        return VERB_DONE;
    }
    if (!needs_no_tls(v) && lacks_tls(s)) {
        line_answer_err(slot, "tls-required", "say STARTTLS first: this server wants TLS", NULL, false);
        return VERB_DONE;
    }
    if (v->role > s->role) {
        if (s->role == ROLE_NONE)
            line_answer_err(slot, "auth-required", "say AUTH {\"token\":\"…\"} first", NULL, false);
        else
            refuse_role(slot, v->role, s->role);
        return VERB_DONE;
    }
    return v->handler(s, slot, rq);
}
