/* One table of verbs. cases_prepare() checks a request against it and makes the parameters; cases_finish()
 * makes the reply. Faults of the caller become a reply with code, message and the field's name. Parameters
 * are copies, freed by case_query_free(); a reply owns its JSON, freed by reply_free(). */
#include "daemon/cases/commands.h"

#include <stdio.h>
#include <string.h>

#include "daemon/cases/life.h"
#include "daemon/cases/lifecycle.h"
#include "daemon/cases/people.h"
#include "daemon/core/err.h"
#include "daemon/core/ref.h"

#define MAX_WORD 200   /* characters of a name */
#define LIST_MAX_ROWS 500
#define MAX_PIECE CD_KIB(128) /* bytes of an attachment in one answer */
#define MAX_PIECE_TEXT "131072"

/* What an argument may hold: fills *ret (owned) or says what is wrong. */
typedef const char *(*arg_reader)(const struct config *c, const json_t *v, char **ret);

struct case_arg {
    const char *name;
    arg_reader read;
    enum { OPTIONAL, REQUIRED, REQUIRED_IF_LISTED } required; /* the last: where the configuration lists codes for it */
};

#define MAX_ARGS 14
struct case_command {
    const char *verb;
    enum role role; /* ROLE_NONE: the life-cycle table says it */
    enum { /* parameters after the arguments */
        TAIL_NONE,
        TAIL_FULL,
        TAIL_SELF, /* who asks, and whether for others, too; the first argument is "who", without it the client itself */
        TAIL_SEES, /* who asks, and whether they may see what is restricted */
        TAIL_ACTOR, /* who asks */
        TAIL_ACTION,
        TAIL_ASSIGN, /* and what the configuration says of $4, the assignee */
        TAIL_MERGE,
        TAIL_SPLIT
    } tail;
    enum case_action action; /* from TAIL_ACTION on */
    const char *sql;
    const char *one_of[3]; /* at least one of them must be given */
    struct case_arg args[MAX_ARGS];
};

/* ---- readers ---- */

static size_t characters(const char *s)
{
    size_t n = 0;
    for (; *s; s++)
        n += ((unsigned char)*s & 0xC0) != 0x80;
    return n;
}

static const char *read_text(const struct config *c CD_UNUSED, const json_t *v, char **ret)
{
    const char *s = json_string_value(v);
    if (!s)
        return "not a string";
    if (characters(s) > CASE_MAX_TEXT)
        return "too long";
    *ret = cd_strdup(s);
    return NULL;
}

static const char *read_word(const struct config *c CD_UNUSED, const json_t *v, char **ret)
{
    const char *s = json_string_value(v);
    if (!s)
        return "not a string";
    if (!*s || characters(s) > MAX_WORD)
        return *s ? "too long" : "empty";
    for (const char *p = s; *p; p++)
        if ((unsigned char)*p < 0x20 || *p == 0x7f)
            return "control characters are not allowed here";
    *ret = cd_strdup(s);
    return NULL;
}

static const char *read_ref(const struct config *c CD_UNUSED, const json_t *v, char **ret)
{
    const char *s = json_string_value(v);
    char ref[REF_TEXT_SIZE];
    if (!s)
        return "not a string";
    if (ref_parse(s, strlen(s), ref) < 0)
        return "no such reference: its length or its check symbol is wrong, look for a slip in it";
    *ret = cd_strdup(ref);
    return NULL;
}

static const char *read_status(const struct config *c, const json_t *v, char **ret)
{
    const char *s = json_string_value(v);
    if (!s || case_status_from_name(s) < 0)
        return "not a status: new, open, waiting, resolved or closed";
    return read_word(c, v, ret);
}

static const char *read_priority(const struct config *c, const json_t *v, char **ret)
{
    const char *s = json_string_value(v);
    if (!s || priority_from_name(s) < 0)
        return "not a priority: critical, high, normal or low";
    return read_word(c, v, ret);
}

static const char *read_outcome(const struct config *c, const json_t *v, char **ret)
{
    const char *s = json_string_value(v);
    if (!s || !case_outcome_known(s))
        return "not an outcome: upheld, partly-upheld, rejected, withdrawn, not-a-complaint or duplicate";
    return read_word(c, v, ret);
}

static const char *read_team(const struct config *c, const json_t *v, char **ret)
{
    const char *s = json_string_value(v);
    if (!s || !config_team(c, s))
        return "no such team in the configuration";
    return read_word(c, v, ret);
}

/* Any name will do for a person, but that of a team is a slip: the complaint would lie with somebody who does not exist. */
static const char *read_assignee(const struct config *c, const json_t *v, char **ret)
{
    const char *s = json_string_value(v);
    if (s && config_team(c, s) && !config_member(c, s))
        return "a team has this name: say it as the team, or name a person";
    return read_word(c, v, ret);
}

static const char *read_scan(const struct config *c, const json_t *v, char **ret)
{
    static const char *const verdicts[] = {"clean", "unscanned", "suspect", "quarantined"};
    const char *s = json_string_value(v);
    for (size_t i = 0; s && i < ARRAY_LEN(verdicts); i++)
        if (strcmp(s, verdicts[i]) == 0)
            return read_word(c, v, ret);
    return "not a verdict: clean, unscanned, suspect or quarantined";
}

static const char *read_bool(const struct config *c CD_UNUSED, const json_t *v, char **ret)
{
    if (!json_is_boolean(v))
        return "not true or false";
    *ret = cd_strdup(json_is_true(v) ? "true" : "false");
    return NULL;
}

static const char *read_limit(const struct config *c CD_UNUSED, const json_t *v, char **ret)
{
    if (!json_is_integer(v) || json_integer_value(v) < 1 || json_integer_value(v) > LIST_MAX_ROWS)
        return "not a number from 1 to 500";
    *ret = cd_asprintf("%d", (int)json_integer_value(v));
    return NULL;
}

static const char *read_number(const json_t *v, json_int_t min, json_int_t max, char **ret)
{
    if (!json_is_integer(v) || json_integer_value(v) < min || json_integer_value(v) > max)
        return "not a number, or out of its range";
    *ret = cd_asprintf("%lld", (long long)json_integer_value(v));
    return NULL;
}

static const char *read_n(const struct config *c CD_UNUSED, const json_t *v, char **ret)
{
    return read_number(v, 1, INT32_MAX, ret);
}

static const char *read_offset(const struct config *c CD_UNUSED, const json_t *v, char **ret)
{
    return read_number(v, 0, INT32_MAX, ret);
}

static const char *read_piece(const struct config *c CD_UNUSED, const json_t *v, char **ret)
{
    return read_number(v, 1, MAX_PIECE, ret);
}

static const char *read_message(const struct config *c CD_UNUSED, const json_t *v, char **ret)
{
    const char *s = json_string_value(v);
    struct uuid id;
    char text[UUID_TEXT_SIZE];
    if (!s || uuid_parse(s, &id) < 0)
        return "not the id of a message: SHOW tells them";
    uuid_format(&id, text);
    *ret = cd_strdup(text);
    return NULL;
}

static const char *read_category(const struct config *c, const json_t *v, char **ret)
{
    const char *s = json_string_value(v);
    if (!s || !config_category(c, s))
        return "no such category in the configuration";
    return read_word(c, v, ret);
}

static const char *read_cursor(const struct config *c CD_UNUSED, const json_t *v, char **ret)
{
    const char *s = json_string_value(v);
    struct uuid id;
    char text[UUID_TEXT_SIZE];
    if (!s || uuid_parse(s, &id) < 0)
        return "not a cursor: give back what LIST answered as \"next\"";
    uuid_format(&id, text);
    *ret = cd_strdup(text);
    return NULL;
}

/* What looks like a reference is made one; everything else is words. A long word may have the check symbol of one by chance, so it also
 * has to hold a digit, or begin as we write them. */
static const char *read_search(const struct config *c, const json_t *v, char **ret)
{
    const char *s = json_string_value(v);
    char ref[REF_TEXT_SIZE];
    if (s && (strpbrk(s, "0123456789") || str_starts(s, "C-") || str_starts(s, "c-")) && ref_parse(s, strlen(s), ref) == 0) {
        *ret = cd_strdup(ref);
        return NULL;
    }
    return read_word(c, v, ret);
}

static const char *read_queue_state(const struct config *c, const json_t *v, char **ret)
{
    static const char *const states[] = {"pending", "unknown", "sending", "failed", "dead", "expired"};
    const char *s = json_string_value(v);
    for (size_t i = 0; s && i < ARRAY_LEN(states); i++)
        if (strcmp(s, states[i]) == 0)
            return read_word(c, v, ret);
    return "not a state of the queue: pending, unknown, sending, failed, dead or expired";
}

static const char *read_id(const struct config *c, const json_t *v, char **ret)
{
    return read_message(c, v, ret) ? "not an id: the list tells them" : NULL;
}

/* ---- the table ---- */

/* Every changing verb: $1 and $2 say who asks and what they have seen, $3 is the reference. */
#define CHANGE(call)                                                                                                      \
    "select complaintd.api_done(r) from complaintd.api_context($1, $2::integer, $3) as x(ref), lateral complaintd." call " as r"

/* clang-format off */
static const struct case_command commands[] = {
    {"SHOW", ROLE_INTAKE, TAIL_FULL, ACTION_COUNT, "select complaintd.api_show($1, $2::boolean)", {NULL},
     {{"ref", read_ref, REQUIRED}}},
    {"LIST", ROLE_AGENT, TAIL_NONE, ACTION_COUNT,
     "select complaintd.api_list($1, $2, $3, $4, $5, $6, $7, $8::boolean, $9::boolean, $10,"
     " $11::integer, $12::uuid, $13, $14::boolean)",
     {NULL},
     {{"status", read_status, OPTIONAL}, {"category", read_word, OPTIONAL}, {"priority", read_priority, OPTIONAL},
      {"team", read_word, OPTIONAL}, {"assignee", read_word, OPTIONAL}, {"channel", read_word, OPTIONAL},
      {"desk", read_word, OPTIONAL}, {"overdue", read_bool, OPTIONAL}, {"degraded", read_bool, OPTIONAL},
      {"scan", read_scan, OPTIONAL}, {"limit", read_limit, OPTIONAL}, {"after", read_cursor, OPTIONAL}, {"search", read_search, OPTIONAL},
      {"detail", read_bool, OPTIONAL}}},
    {"ATTACHMENT", ROLE_AGENT, TAIL_NONE, ACTION_COUNT,
     "select complaintd.api_attachment($1, $2::integer, $3::uuid, $4::integer, coalesce($5::integer, " MAX_PIECE_TEXT "))", {NULL},
     {{"ref", read_ref, REQUIRED}, {"n", read_n, OPTIONAL}, {"message", read_message, OPTIONAL}, {"offset", read_offset, OPTIONAL}, {"length", read_piece, OPTIONAL}}},
    {"EXPLAIN", ROLE_AGENT, TAIL_NONE, ACTION_COUNT, "select complaintd.api_explain($1)", {NULL},
     {{"ref", read_ref, REQUIRED}}},
    {"VERIFY", ROLE_AGENT, TAIL_NONE, ACTION_COUNT, "select complaintd.api_verify($1, $2::uuid, coalesce($3::integer, 100))", {NULL},
     {{"ref", read_ref, OPTIONAL}, {"after", read_cursor, OPTIONAL}, {"limit", read_limit, OPTIONAL}}},
    {"ACK", ROLE_NONE, TAIL_ACTION, ACTION_ACK, CHANGE("api_ack(x.ref, $4, $5::text[], $6::text[], $7::integer)"), {NULL},
     {{"ref", read_ref, REQUIRED}}},
    {"ASSIGN", ROLE_NONE, TAIL_ASSIGN, ACTION_ASSIGN, CHANGE("api_assign_to(x.ref, $4, $5, $6, $7::text[], $8::text[], $9::integer, $10::jsonb)"),
     {"assignee", "team"},
     {{"ref", read_ref, REQUIRED}, {"assignee", read_assignee, OPTIONAL}, {"team", read_team, OPTIONAL}}},
    {"NOTE", ROLE_NONE, TAIL_ACTION, ACTION_NOTE, CHANGE("api_note(x.ref, $4, $5, $6::text[], $7::text[], $8::integer)"), {NULL},
     {{"ref", read_ref, REQUIRED}, {"text", life_read_said, REQUIRED}}},
    {"REPLY", ROLE_NONE, TAIL_ACTION, ACTION_REPLY,
     CHANGE("api_reply(x.ref, $4, $5, $6::text[], $7::text[], $8::integer, $9::uuid, $10, $11::double precision * interval '1 second')"),
     {NULL},
     {{"ref", read_ref, REQUIRED}, {"text", life_read_said, REQUIRED}}},
    {"RECLASSIFY", ROLE_NONE, TAIL_ACTION, ACTION_RECLASSIFY,
     CHANGE("api_reclassify(x.ref, $4, $5, $6, $7, $8::text[], $9::text[], $10::integer, $11, $12::jsonb)"),
     {"category", "priority", "team"},
     {{"ref", read_ref, REQUIRED}, {"category", read_category, OPTIONAL}, {"priority", read_priority, OPTIONAL}, {"team", read_team, OPTIONAL}}},
    {"WAIT", ROLE_NONE, TAIL_ACTION, ACTION_WAIT,
     CHANGE("api_wait(x.ref, $4::double precision * interval '1 second', $5::timestamptz, $6, $7, $8::text[], $9::text[], $10::integer)"),
     {"for", "until"},
     {{"ref", read_ref, REQUIRED}, {"for", life_read_for, OPTIONAL}, {"until", life_read_until, OPTIONAL}, {"note", life_read_said, OPTIONAL}}},
    {"RESOLVE", ROLE_NONE, TAIL_ACTION, ACTION_RESOLVE,
     CHANGE("api_resolve(x.ref, $4, $5, $6, $7, $8, $9::text[], $10::text[], $11::integer, $12::boolean, $13::boolean,"
            " $14::double precision * interval '1 second')"),
     {NULL},
     {{"ref", read_ref, REQUIRED}, {"outcome", read_outcome, REQUIRED}, {"cause", life_read_cause, REQUIRED_IF_LISTED},
      {"remedy", life_read_remedy, REQUIRED_IF_LISTED}, {"note", read_text, OPTIONAL}}},
    {"REOPEN", ROLE_NONE, TAIL_ACTION, ACTION_REOPEN,
     CHANGE("api_reopen(x.ref, $4, $5, $6::text[], $7::text[], $8::integer, $9::double precision * interval '1 second')"), {NULL},
     {{"ref", read_ref, REQUIRED}, {"note", life_read_said, OPTIONAL}}},
    {"CLOSE", ROLE_NONE, TAIL_ACTION, ACTION_CLOSE, CHANGE("api_close(x.ref, $4, $5::text[], $6::text[], $7::integer)"), {NULL},
     {{"ref", read_ref, REQUIRED}}},
    {"MERGE", ROLE_NONE, TAIL_MERGE, ACTION_MERGE, CHANGE("api_merge(x.ref, $4, $5, $6::text[], $7::text[])"), {NULL},
     {{"ref", read_ref, REQUIRED}, {"into", read_ref, REQUIRED}}},
    {"SPLIT", ROLE_NONE, TAIL_SPLIT, ACTION_SPLIT,
     CHANGE("api_split(x.ref, $4::uuid, coalesce($5::boolean, false), $6, $7, $8, $9::text[], $10,"
            " $11::double precision * interval '1 second')"),
     {NULL},
     {{"ref", read_ref, REQUIRED}, {"message", read_message, REQUIRED}, {"later", read_bool, OPTIONAL},
      {"category", read_category, OPTIONAL}, {"team", read_team, OPTIONAL}}},
    {"ABSENT", ROLE_AGENT, TAIL_SELF, ACTION_COUNT,
     "select complaintd.api_absent($1, $2::timestamptz, $3::timestamptz, $4::boolean, $5, $6::boolean)", {NULL},
     {{"who", people_read_member, OPTIONAL}, {"from", people_read_time, OPTIONAL}, {"until", people_read_time, OPTIONAL},
      {"reassign", read_bool, OPTIONAL}}},
    {"PRESENT", ROLE_AGENT, TAIL_SELF, ACTION_COUNT, "select complaintd.api_present($1, $2, $3::boolean)", {NULL},
     {{"who", people_read_member, OPTIONAL}}},
    {"ABSENCES", ROLE_AGENT, TAIL_NONE, ACTION_COUNT, "select complaintd.api_absence_rows($1)", {NULL},
     {{"who", people_read_member, OPTIONAL}}},
    {"CUSTOMER", ROLE_AGENT, TAIL_SEES, ACTION_COUNT, "select complaintd.api_customer($1, $2, $3::integer, $4, $5::boolean)",
     {"ref", "handle"},
     {{"ref", read_ref, OPTIONAL}, {"handle", people_read_handle, OPTIONAL}, {"limit", read_limit, OPTIONAL}}},
    {"CUSTOMERS", ROLE_AGENT, TAIL_SEES, ACTION_COUNT,
     "select complaintd.api_customers($1, $2::boolean, $3::integer, $4::uuid, $5, $6::boolean)", {NULL},
     {{"flag", people_read_flag, OPTIONAL}, {"review_due", read_bool, OPTIONAL}, {"limit", read_limit, OPTIONAL}, {"after", read_cursor, OPTIONAL}}},
    {"FLAG", ROLE_AGENT, TAIL_SEES, ACTION_COUNT,
     "select complaintd.api_customer_flag($1, $2, $3, $4::boolean, $5, $6::date, $7, $8, $9::boolean)",
     {"ref", "handle"},
     {{"ref", read_ref, OPTIONAL}, {"handle", people_read_handle, OPTIONAL}, {"flag", people_read_flag, REQUIRED}, {"clear", read_bool, OPTIONAL},
      {"driver", people_read_driver, OPTIONAL}, {"review", people_read_date, OPTIONAL}, {"note", read_text, OPTIONAL}}},
    {"STATS", ROLE_AGENT, TAIL_NONE, ACTION_COUNT, "select s || complaintd.api_people_stats() from complaintd.api_stats() s", {NULL},
     {{NULL, NULL, OPTIONAL}}},
    {"QUEUE", ROLE_ADMIN, TAIL_ACTOR, ACTION_COUNT, "select complaintd.api_queue($1::uuid, $2::uuid, $3, $4, $5::integer, $6::uuid, $7)", {NULL},
     {{"retry", read_id, OPTIONAL}, {"drop", read_id, OPTIONAL}, {"reason", read_text, OPTIONAL}, {"state", read_queue_state, OPTIONAL},
      {"limit", read_limit, OPTIONAL}, {"after", read_cursor, OPTIONAL}}},
    {"PENDING", ROLE_ADMIN, TAIL_NONE, ACTION_COUNT, "select complaintd.api_pending($1::uuid, $2::boolean, $3::integer, $4::uuid)", {NULL},
     {{"retry", read_id, OPTIONAL}, {"all", read_bool, OPTIONAL}, {"limit", read_limit, OPTIONAL}, {"after", read_cursor, OPTIONAL}}},
};
/* clang-format on */

static const struct case_command *find_command(const char *verb)
{
    for (size_t i = 0; i < ARRAY_LEN(commands); i++)
        if (strcmp(commands[i].verb, verb) == 0)
            return &commands[i];
    return NULL;
}

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

static bool changes(const struct case_command *cmd)
{
    return cmd->tail >= TAIL_ACTION;
}

static int check_names(const struct case_command *cmd, json_t *args, struct reply *err)
{
    const char *name;
    json_t *value;
    json_object_foreach(args, name, value) {
        size_t i = 0;
        while (i < MAX_ARGS && cmd->args[i].name && strcmp(cmd->args[i].name, name) != 0)
            i++;
        if ((i == MAX_ARGS || !cmd->args[i].name) && !(changes(cmd) && strcmp(name, IF_SEQ) == 0)) {
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
    const char *wrong = seen ? read_n(c, seen, &q->params[q->nparams]) : NULL;
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
        bool unknown = wrong && a->read == read_ref && json_is_string(v);
        if (wrong)
            return refuse(err, CD_EINVAL, unknown ? "not-found" : "bad-argument", wrong, a->name);
        q->nparams++;
    }
    if (strcmp(cmd->verb, "QUEUE") == 0 && check_queue(args, err) < 0)
        return CD_EINVAL;
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

/* Parameters after the tail. */
static void (*const more[ACTION_COUNT])(const struct config *c, const struct request *rq, struct case_query *q) = {
    [ACTION_REPLY] = life_add_reply,
    [ACTION_RECLASSIFY] = life_add_reclassify,
    [ACTION_RESOLVE] = life_add_resolve,
    [ACTION_REOPEN] = life_add_reopen,
};

static void add_tail(const struct case_command *cmd, const struct config *c, const struct request *rq,
                     struct case_query *q)
{
    char from[LIFECYCLE_ARRAY_SIZE], to[LIFECYCLE_ARRAY_SIZE], ref[REF_TEXT_SIZE];
    if (cmd->tail == TAIL_NONE)
        return;
    if (cmd->tail == TAIL_FULL) {
        q->params[q->nparams++] = cd_strdup(rq->role >= ROLE_AGENT ? "true" : "false");
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
    if (more[cmd->action])
        more[cmd->action](c, rq, q);
}

int cases_prepare(const struct config *c, const struct request *rq, struct case_query *ret, struct reply *err)
{
    const struct case_command *cmd = find_command(rq->verb);
    struct case_query q = {.sql = cmd ? cmd->sql : NULL};

    *err = (struct reply){.ok = false};
    if (!cmd)
        return refuse(err, CD_ENOTFOUND, "unknown-verb", "no such verb", NULL);
    if (rq->role < (changes(cmd) ? (enum role)lifecycle_role(cmd->action) : cmd->role))
        return refuse(err, CD_EPERM, "forbidden", "this client's role may not use the verb", NULL);
    int r = check_names(cmd, rq->args, err);
    if (r == 0 && changes(cmd))
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

static void finish_error(const char *sqlstate, const char *message, struct reply *ret)
{
    if (!*sqlstate)
        sqlstate = "08006";
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
        finish_error(sqlstate, message, ret);
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
