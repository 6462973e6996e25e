/* The verb table, and the verbs that need no store. What reads or changes complaints goes to the front as a
 * request with an ack slot; its answer comes back through line_on_reply(). */
#include "channels/line/line_verbs.h"

#include <string.h>

#include "daemon/core/crypto.h"
#include "daemon/core/err.h"
#include "daemon/core/log.h"
#include "daemon/core/metrics.h"

static enum verb_result bad_argument(struct line_slot *slot, const char *field, const char *message)
{
    line_answer_err(slot, "bad-argument", message, field, false);
    return VERB_DONE;
}

/* Names the first field that is not in `known` (NULL-terminated); NULL when all are. */
static const char *unknown_field(const json_t *args, const char *const *known)
{
    const char *name;
    json_t *value;
    json_object_foreach((json_t *)args, name, value) {
        size_t i = 0;
        while (known[i] && strcmp(known[i], name) != 0)
            i++;
        if (!known[i])
            return name;
    }
    return NULL;
}

static enum verb_result verb_hello(struct line_session *s CD_UNUSED, struct line_slot *slot,
                                   const struct line_request *rq)
{
    static const char *const known[] = {"client", "version", NULL};
    const char *field = unknown_field(rq->args, known);
    const json_t *client = json_object_get(rq->args, "client"),
                 *version = json_object_get(rq->args, "version");

    if (field)
        return bad_argument(slot, field, "unknown field: HELLO takes client and version");
    if (client && !json_is_string(client))
        return bad_argument(slot, "client", "not a string");
    if (version && (!json_is_integer(version) || json_integer_value(version) != 1))
        return bad_argument(slot, "version", "this server speaks version 1");
    line_answer_ok(slot, json_pack("{s:s, s:i, s:[s], s:b}", "server", "complaintd", "version", 1, "auth",
                                   "token", "starttls", 0));
    return VERB_DONE;
}

/* Every client is compared, found or not, so that the time says nothing. */
static const struct cfg_client *client_of_token(const struct config *c, const char *token)
{
    uint8_t given[SHA256_SIZE], wanted[SHA256_SIZE];
    const struct cfg_client *found = NULL;

    sha256(token, strlen(token), given);
    for (size_t i = 0; i < c->nclients; i++) {
        const char *t = c->clients[i].token;
        sha256(t, strlen(t), wanted);
        if (equal_ct(given, wanted, sizeof given) && *t)
            found = &c->clients[i];
    }
    return found;
}

static const char *role_name(enum role r)
{
    static const char *const names[] = {"none", "intake", "agent", "admin"};
    return names[r];
}

static enum verb_result verb_auth(struct line_session *s, struct line_slot *slot,
                                  const struct line_request *rq)
{
    static const char *const known[] = {"token", NULL};
    const char *field = unknown_field(rq->args, known);
    const char *token = json_string_value(json_object_get(rq->args, "token"));

    if (field)
        return bad_argument(slot, field, "unknown field: AUTH takes token");
    if (!token)
        return bad_argument(slot, "token", "missing, or not a string");
    const struct cfg_client *client = client_of_token(s->server->host->cfg, token);
    if (!client) {
        metrics_inc(M_LINE_AUTH_FAILURES);
        log_event(LOG_L_WARN, EV_LINE_AUTH_FAILED, "peer=%s failures=%u", log_quote(s->peer),
                  s->auth_failures + 1);
        line_answer_err(slot, "auth-failed", "unknown token", NULL, false);
        if (++s->auth_failures >= LINE_MAX_AUTH_FAILURES) {
            s->closing = true;
            s->reason = "auth-failures";
        }
        return VERB_DONE;
    }
    free(s->client);
    free(s->desk);
    s->client = cd_strdup(client->name);
    s->desk = client->desk && *client->desk ? cd_strdup(client->desk) : NULL;
    s->role = (enum role)client->role;
    line_answer_ok(slot, json_pack("{s:s, s:s}", "client", s->client, "role", role_name(s->role)));
    return VERB_DONE;
}

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
    const struct request r = {
        .verb = rq->verb, .args = rq->args, .role = s->role, .actor = s->client, .slot = slot->ack};
    s->server->host->request(s->server->host->front, &r);
    return VERB_WAITING;
}

const struct line_verb line_verbs[] = {
    {"HELLO", ROLE_NONE, verb_hello},
    {"AUTH", ROLE_NONE, verb_auth},
    {"PING", ROLE_NONE, verb_ping},
    {"QUIT", ROLE_NONE, verb_quit},
    {"SUBMIT", ROLE_INTAKE, line_verb_submit},
    {"SHOW", ROLE_INTAKE, verb_request},
    {"LIST", ROLE_AGENT, verb_request},
    {"ATTACHMENT", ROLE_AGENT, verb_request},
    {"EXPLAIN", ROLE_AGENT, verb_request},
    {"ACK", ROLE_AGENT, verb_request},
    {"ASSIGN", ROLE_AGENT, verb_request},
    {"RESOLVE", ROLE_AGENT, verb_request},
    {"MERGE", ROLE_AGENT, verb_request},
    {"SPLIT", ROLE_AGENT, verb_request},
    {"STATS", ROLE_AGENT, verb_request},
    {"QUEUE", ROLE_ADMIN, verb_request},
    {"PENDING", ROLE_ADMIN, verb_request},
    {"CONFIG", ROLE_ADMIN, verb_request},
    {"CLOCK", ROLE_ADMIN, verb_request},
};
const size_t line_verb_count = ARRAY_LEN(line_verbs);

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
    if (v->role > s->role) {
        if (s->role == ROLE_NONE)
            line_answer_err(slot, "auth-required", "say AUTH {\"token\":\"…\"} first", NULL, false);
        else
            line_answer_err(slot, "forbidden", "this client's role may not use the verb", NULL, false);
        return VERB_DONE;
    }
    return v->handler(s, slot, rq);
}
