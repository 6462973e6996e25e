/* HELLO, STARTTLS and AUTH: what is offered, and who a session is. A session remembers which token let it in, so that it ends when the
 * configuration no longer has it. */
#include <string.h>
#include <unistd.h>

#include "channels/line/line_verbs.h"
#include "daemon/core/log.h"
#include "daemon/core/metrics.h"

enum verb_result line_bad_argument(struct line_slot *slot, const char *field, const char *message)
{
    line_answer_err(slot, "bad-argument", message, field, false);
    return VERB_DONE;
}

bool line_unknown_field(const json_t *args, const char *const *known, char ret[64])
{
    const char *name;
    json_t *value;
    json_object_foreach((json_t *)args, name, value) {
        size_t i = 0, n = strlen(name);
        while (known[i] && strcmp(known[i], name) != 0)
            i++;
        if (known[i])
            continue;
        n = utf8_cut(name, CD_MIN(n, (size_t)63));
        memcpy(ret, name, n);
        ret[n] = '\0';
        return true;
    }
    return false;
}

/* ---- who it is ---- */

const char *line_role_name(enum role r)
{
    static const char *const names[] = {"none", "intake", "agent", "admin"};
    return names[r];
}

void line_principal_set(struct line_session *s, const struct cfg_client *client)
{
    free(s->client);
    free(s->desk);
    strlist_free(&s->desks);
    s->client = s->desk = NULL;
    s->role = ROLE_NONE;
    s->may_see_vulnerable = false;
    s->by_token = client != NULL;
    line_rate_leave(s); /* it waited for another bucket */
    line_rate_join(s, client ? client->name : NULL);
    if (!client)
        return;
    s->client = cd_strdup(client->name);
    s->desk = client->desk && *client->desk ? cd_strdup(client->desk) : NULL;
    for (size_t i = 0; i < client->desks.n; i++)
        strlist_add(&s->desks, client->desks.v[i]);
    s->role = (enum role)client->role;
    s->may_see_vulnerable = client->may_see_vulnerable;
    memcpy(s->token, client->token_sha256, sizeof s->token);
}

void line_principal_of_peer(struct line_session *s, long uid)
{
    line_principal_set(s, NULL);
    if (uid < 0 || (uid != 0 && uid != (long)geteuid()))
        return;
    s->role = ROLE_ADMIN;
    s->client = cd_asprintf("@uid%ld", uid); /* no client of the configuration can have this name */
}

bool line_principal_refresh(struct line_session *s)
{
    const struct config *c = s->server->host->cfg;
    for (size_t i = 0; i < c->nclients; i++)
        if (str_eq(c->clients[i].name, s->client) && equal_ct(c->clients[i].token_sha256, s->token, sizeof s->token)) {
            bool waits = s->throttled;
            line_principal_set(s, &c->clients[i]);
            if (waits) /* it was in the list of those who wait */
                line_session_wake(s);
            return true;
        }
    return false;
}

/* ---- the verbs ---- */

static bool tls_offered(const struct line_session *s)
{
    return !s->unix_socket && !s->conn.tls && tls_context(s->server->host->tls);
}

enum verb_result line_verb_hello(struct line_session *s, struct line_slot *slot, const struct line_request *rq)
{
    static const char *const known[] = {"client", "version", NULL};
    const json_t *client = json_object_get(rq->args, "client"),
                 *version = json_object_get(rq->args, "version");
    char field[64];

    if (line_unknown_field(rq->args, known, field))
        return line_bad_argument(slot, field, "unknown field: HELLO takes client and version");
    if (client && !json_is_string(client))
        return line_bad_argument(slot, "client", "not a string");
    if (version && (!json_is_integer(version) || json_integer_value(version) != 1))
        return line_bad_argument(slot, "version", "this server speaks version 1");
    line_answer_ok(slot, json_pack("{s:s, s:i, s:[s], s:b}", "server", "complaintd", "version", 1, "auth",
                                   "token", "starttls", (int)tls_offered(s)));
    return VERB_DONE;
}

enum verb_result line_verb_starttls(struct line_session *s, struct line_slot *slot, const struct line_request *rq)
{
    static const char *const known[] = {NULL};
    char field[64];

    if (line_unknown_field(rq->args, known, field))
        return line_bad_argument(slot, field, "unknown field: STARTTLS takes none");
    if (s->conn.tls) {
        line_answer_err(slot, "conflict", "TLS is active already", NULL, false);
        return VERB_DONE;
    }
    if (!tls_offered(s)) {
        line_answer_err(slot, "tls-unavailable", "there is no TLS here", NULL, false);
        return VERB_DONE;
    }
    s->starttls = true; /* the answer leaves when those before it have left: line_tls_begin() */
    slot->open = true;
    return VERB_WAITING;
}

enum verb_result line_verb_auth(struct line_session *s, struct line_slot *slot, const struct line_request *rq)
{
    static const char *const known[] = {"token", NULL};
    const char *token = json_string_value(json_object_get(rq->args, "token"));
    char field[64];

    if (line_unknown_field(rq->args, known, field))
        return line_bad_argument(slot, field, "unknown field: AUTH takes token");
    if (!token)
        return line_bad_argument(slot, "token", "missing, or not a string");
    const struct cfg_client *client = config_client_by_token(s->server->host->cfg, token);
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
    line_principal_set(s, client);
    line_answer_ok(slot, json_pack("{s:s, s:s}", "client", s->client, "role", line_role_name(s->role)));
    return VERB_DONE;
}
