/* cases_prepare() checks a request against the table of verbs (verbs.c) and makes the parameters; cases_finish()
 * makes the reply. Faults of the caller become a reply with code, message and the field's name. Parameters
 * are copies, freed by case_query_free(); a reply owns its JSON, freed by reply_free(). */
#include "daemon/cases/commands.h"

#include <stdio.h>
#include <string.h>

#include "daemon/cases/life.h"
#include "daemon/cases/lifecycle.h"
#include "daemon/cases/people.h"
#include "daemon/cases/verbs.h"
#include "daemon/core/err.h"
#include "daemon/core/ref.h"

/* QUEUE and PENDING answer with rows unless one of these asks for a change. */
static bool is_change(const json_t *args)
{
    return json_object_get(args, "retry") || json_object_get(args, "drop") || json_is_true(json_object_get(args, "all"));
}

/* ---- from a request to a statement ---- */

static int refuse(struct reply *err, int code, const char *word, const char *message, const char *field)
{
    reply_set_error(err, word, message, field, false);
    return code;
}

/* Of a verb that changes something: the last event that its client has seen. */
#define IF_SEQ "if_seq"

static int check_names(const struct case_command *cmd, json_t *args, struct reply *err)
{
    const char *name;
    json_t *value;
    json_object_foreach(args, name, value) {
        size_t i = 0;
        while (i < MAX_ARGS && cmd->args[i].name && strcmp(cmd->args[i].name, name) != 0)
            i++;
        if ((i == MAX_ARGS || !cmd->args[i].name) && !(case_command_changes(cmd) && strcmp(name, IF_SEQ) == 0)) {
            char cut[64];
            snprintf(cut, sizeof cut, "%.*s", (int)utf8_cut(name, CD_MIN(strlen(name), sizeof cut - 1)),
                     name);
            return refuse(err, CD_EINVAL, "bad-argument", "unknown field", cut);
        }
    }
    return 0;
}

static int check_one_of(const struct case_command *cmd, const json_t *args, struct reply *err)
{
    char text[120] = "missing: give one of these at least:";
    for (size_t i = 0; i < ARRAY_LEN(cmd->one_of) && cmd->one_of[i]; i++) {
        size_t n = strlen(text);
        if (json_object_get(args, cmd->one_of[i]))
            return 0;
        snprintf(text + n, sizeof text - n, "%s %s", i ? "," : "", cmd->one_of[i]);
    }
    return cmd->one_of[0] ? refuse(err, CD_EINVAL, "bad-argument", text, cmd->one_of[0]) : 0;
}

/* The first two parameters of a change. */
static int read_context(const struct config *c, const struct request *rq, struct case_query *q, struct reply *err)
{
    const json_t *seen = json_object_get(rq->args, IF_SEQ);
    q->params[q->nparams++] = cd_strdup(rq->via ? rq->via : "unknown");
    const char *wrong = seen ? case_read_n(c, seen, &q->params[q->nparams]) : NULL;
    q->nparams++;
    return wrong ? refuse(err, CD_EINVAL, "bad-argument", wrong, IF_SEQ) : 0;
}

static int check_queue(const json_t *args, struct reply *err)
{
    const char *reason = json_string_value(json_object_get(args, "reason"));
    if (json_object_get(args, "retry") && json_object_get(args, "drop"))
        return refuse(err, CD_EINVAL, "bad-argument", "either retry or drop", "drop");
    if (json_object_get(args, "drop") ? !reason || !*reason : reason != NULL)
        return refuse(err, CD_EINVAL, "bad-argument", "drop needs a reason, and nothing else takes one", "reason");
    return 0;
}

static int read_args(const struct case_command *cmd, const struct config *c, json_t *args,
                     struct case_query *q, struct reply *err)
{
    for (size_t i = 0; i < MAX_ARGS && cmd->args[i].name; i++) {
        const struct case_arg *a = &cmd->args[i];
        const json_t *v = json_object_get(args, a->name);
        bool required = a->required == REQUIRED || (a->required == REQUIRED_IF_LISTED && life_listed(c, a->name));
        const char *missing = a->required == REQUIRED_IF_LISTED ? life_codes_fault(c, a->name) : "missing";
        const char *wrong = v ? a->read(c, v, &q->params[q->nparams]) : required ? missing : NULL;
        /* To the caller a reference with a slip is one that does not exist. */
        bool unknown = wrong && a->read == case_read_ref && json_is_string(v);
        if (wrong)
            return refuse(err, CD_EINVAL, unknown ? "not-found" : "bad-argument", wrong, a->name);
        q->nparams++;
    }
    if (strcmp(cmd->verb, "QUEUE") == 0 && check_queue(args, err) < 0)
        return CD_EINVAL;
    if (strcmp(cmd->verb, "WAIT") == 0 && json_object_get(args, "for") && json_object_get(args, "until"))
        return refuse(err, CD_EINVAL, "bad-argument", "either for or until", "until");
    return check_one_of(cmd, args, err);
}

/* Without "who" the client speaks of itself, and has to be a member of a team by its own name. */
static int default_self(const struct config *c, const struct request *rq, struct case_query *q, struct reply *err)
{
    if (q->params[0])
        return 0;
    if (!config_member(c, rq->actor))
        return refuse(err, CD_EINVAL, "bad-argument", "missing: no team has a member of this client's name", "who");
    q->params[0] = cd_strdup(rq->actor);
    return 0;
}

static void add_teams(const struct config *c, const struct request *rq CD_UNUSED, struct case_query *q)
{
    q->params[q->nparams++] = people_teams_json(c);
}

/* Parameters after the tail. */
static void (*const more[ACTION_COUNT])(const struct config *c, const struct request *rq, struct case_query *q) = {
    [ACTION_REPLY] = life_add_reply,
    [ACTION_RECLASSIFY] = life_add_reclassify,
    [ACTION_RESOLVE] = life_add_resolve,
    [ACTION_REOPEN] = life_add_reopen,
    [ACTION_MERGE] = add_teams,
};

static void add_tail(const struct case_command *cmd, const struct config *c, const struct request *rq,
                     struct case_query *q)
{
    char from[LIFECYCLE_ARRAY_SIZE], to[LIFECYCLE_ARRAY_SIZE], ref[REF_TEXT_SIZE];
    if (cmd->tail == TAIL_NONE)
        return;
    if (cmd->tail == TAIL_FULL || cmd->tail == TAIL_MAY) {
        bool yes = cmd->tail == TAIL_FULL ? rq->role >= ROLE_AGENT : rq->may_see_vulnerable;
        q->params[q->nparams++] = cd_strdup(yes ? "true" : "false");
        return;
    }
    q->write = true;
    q->params[q->nparams++] = cd_strdup(rq->actor);
    if (cmd->tail == TAIL_ACTOR)
        return;
    if (cmd->tail == TAIL_SELF || cmd->tail == TAIL_SEES) {
        bool yes = cmd->tail == TAIL_SELF ? rq->role >= ROLE_ADMIN : rq->may_see_vulnerable;
        q->params[q->nparams++] = cd_strdup(yes ? "true" : "false");
        return;
    }
    lifecycle_arrays(cmd->action, from, to);
    q->params[q->nparams++] = cd_strdup(from);
    if (cmd->tail == TAIL_SPLIT) { /* the reference of the new complaint, and how long its acknowledgement is tried */
        ref_new(ref);
        q->params[q->nparams++] = cd_strdup(ref);
        q->params[q->nparams++] = cd_asprintf("%lld", (long long)(c->notify_statutory_life_us / CD_SEC(1)));
        return;
    }
    q->params[q->nparams++] = cd_strdup(to);
    if (cmd->tail == TAIL_ACTION || cmd->tail == TAIL_ASSIGN)
        q->params[q->nparams++] = cd_asprintf("%u", lifecycle_stops(cmd->action));
    if (cmd->tail == TAIL_ASSIGN)
        q->params[q->nparams++] = people_member_json(c, q->params[3]);
    if (cmd->tail == TAIL_REREAD)
        q->nparams += 2;
    if (more[cmd->action])
        more[cmd->action](c, rq, q);
}

int cases_prepare(const struct config *c, const struct request *rq, struct case_query *ret, struct reply *err)
{
    const struct case_command *cmd = case_command_find(rq->verb);
    struct case_query q = {.sql = cmd ? cmd->sql : NULL};

    *err = (struct reply){.ok = false};
    if (!cmd)
        return refuse(err, CD_ENOTFOUND, "unknown-verb", "no such verb", NULL);
    if (rq->role < (case_command_changes(cmd) ? (enum role)lifecycle_role(cmd->action) : cmd->role))
        return refuse(err, CD_EPERM, "forbidden", "this client's role may not use the verb", NULL);
    int r = check_names(cmd, rq->args, err);
    if (r == 0 && case_command_changes(cmd))
        r = read_context(c, rq, &q, err);
    if (r == 0)
        r = read_args(cmd, c, rq->args, &q, err);
    if (r == 0 && cmd->tail == TAIL_SELF)
        r = default_self(c, rq, &q, err);
    if (r < 0) {
        case_query_free(&q);
        return r;
    }
    add_tail(cmd, c, rq, &q);
    q.lane = is_change(rq->args) ? CASE_CHANGES : case_command_lane(cmd);
    q.write = q.write && q.lane == CASE_CHANGES;
    *ret = q;
    return 0;
}

void case_query_free(struct case_query *q)
{
    for (int i = 0; i < CASE_MAX_PARAMS; i++)
        free(q->params[i]);
    *q = (struct case_query){0};
}

/* ---- from a result to a reply ---- */

/* SQLSTATEs by their beginning; the first that fits. The text of a database error is for the log, not for
 * clients, except where the API functions wrote it for them. */
static const struct sqlstate_row {
    const char *prefix, *code, *message; /* message NULL: the database's own */
    bool retry;
} sqlstates[] = {
    {"CD404", "not-found", NULL, false},
    {"CD409", "conflict", NULL, false},
    {"CD400", "bad-argument", NULL, false},
    {"CD403", "forbidden", NULL, false},
    {"40", "busy", "somebody else changes it at this moment: try again", true},
    {"55P03", "busy", "somebody else changes it at this moment: try again", true},
    {"08", "busy", "the database is away: look what became of it, then try again", true},
    {"53", "busy", "the database is short of resources: try again", true},
    {"57", "busy", "the database is stopping or the statement took too long: try again", true},
    {"25006", "busy", "the database only reads at the moment: try again", true},
};

/* What can be asked for less when the database had to end it (statement_timeout, or an administrator). */
static const char *narrower(const char *verb)
{
    static const char *const hints[][2] = {
        {"LIST", "too much to look through: narrow it with rarer words, status, team, category, priority, desk or channel"},
        {"VERIFY", "too much to look through: narrow it with ref, or a smaller limit"},
        {"QUEUE", "too much to look through: narrow it with state, or a smaller limit"},
    };
    for (size_t i = 0; i < ARRAY_LEN(hints); i++)
        if (strcmp(verb, hints[i][0]) == 0)
            return hints[i][1];
    return NULL;
}

static void finish_error(const char *verb, const char *sqlstate, const char *message, struct reply *ret)
{
    if (!*sqlstate)
        sqlstate = "08006";
    if (strcmp(sqlstate, CASE_ENDED) == 0 && narrower(verb)) {
        reply_set_error(ret, "too-much", narrower(verb), NULL, false);
        return;
    }
    for (size_t i = 0; i < ARRAY_LEN(sqlstates); i++) {
        const struct sqlstate_row *row = &sqlstates[i];
        if (!str_starts(sqlstate, row->prefix))
            continue;
        const char *text = row->message ? row->message : message ? message : row->code;
        reply_set_error(ret, row->code, text, NULL, row->retry);
        return;
    }
    char text[80];
    snprintf(text, sizeof text, "the database refused it (SQLSTATE %.5s): see the daemon's log", sqlstate);
    reply_set_error(ret, "internal", text, NULL, false);
}

/* Lists: rows, their count and, when there may be more, where the next page begins. */
static void finish_list(const struct request *rq, struct reply *ret)
{
    size_t n = json_array_size(ret->rows);
    json_t *limit = json_object_get(rq->args, "limit");
    size_t wanted = json_is_integer(limit) ? (size_t)json_integer_value(limit) : 50;

    ret->body = json_pack("{s:i}", "rows", (int)n);
    if (n > 0 && n >= wanted)
        json_object_set(ret->body, "next", json_object_get(json_array_get(ret->rows, n - 1), "id"));
}

void cases_finish(const struct request *rq, const char *const *rows, size_t nrows, const char *sqlstate,
                  const char *message, struct reply *ret)
{
    *ret = (struct reply){.ok = true};
    if (sqlstate) {
        finish_error(rq->verb, sqlstate, message, ret);
        return;
    }
    ret->rows = json_array();
    for (size_t i = 0; i < nrows; i++) {
        json_t *v = rows[i] ? json_loads(rows[i], JSON_DECODE_ANY, NULL) : NULL;
        if (!v || json_array_append_new(ret->rows, v) < 0) {
            reply_set_error(ret, "internal", "the database's answer could not be read", NULL, false);
            return;
        }
    }
    bool waits = strcmp(rq->verb, "QUEUE") == 0 || strcmp(rq->verb, "PENDING") == 0;
    if (strcmp(rq->verb, "LIST") == 0 || strcmp(rq->verb, "CUSTOMERS") == 0 || (waits && !is_change(rq->args))) {
        finish_list(rq, ret);
        return;
    }
    if (strcmp(rq->verb, "ABSENCES") == 0 || (strcmp(rq->verb, "ATTACHMENT") == 0 && !json_object_get(rq->args, "n"))) {
        ret->body = json_pack("{s:i}", "rows", (int)nrows);
        return;
    }
    ret->body = json_incref(json_array_get(ret->rows, 0));
    json_decref(ret->rows);
    ret->rows = NULL;
    if (!json_is_object(ret->body))
        reply_set_error(ret, "internal", "the database gave no answer", NULL, false);
}

void reply_free(struct reply *r)
{
    json_decref(r->rows);
    json_decref(r->body);
    *r = (struct reply){.ok = false};
}

void reply_set_error(struct reply *r, const char *code, const char *message, const char *field, bool retry)
{
    reply_free(r);
    r->body = json_object();
    json_object_set_new(r->body, "code", json_string(code));
    json_object_set_new(r->body, "message", json_string(message));
    if (field)
        json_object_set_new(r->body, "field", json_string(field));
    json_object_set_new(r->body, "retry", json_boolean(retry));
}
