/* The table of verbs, and the readers of arguments that belong to no subject of their own. A reader fills *ret (owned by the caller) or
 * says what is wrong with the value, in words for whoever sent it. */
#include "daemon/cases/verbs.h"

#include <string.h>

#include "daemon/cases/life.h"
#include "daemon/cases/people.h"
#include "daemon/core/ref.h"

#define MAX_WORD 200 /* characters of a name */
#define LIST_MAX_ROWS 500
#define MAX_PIECE CD_KIB(128) /* bytes of an attachment in one answer */
#define MAX_PIECE_TEXT "131072"

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

const char *case_read_ref(const struct config *c CD_UNUSED, const json_t *v, char **ret)
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

/* A state, or "active" for those in which something is still to be done. */
static const char *read_status(const struct config *c, const json_t *v, char **ret)
{
    const char *s = json_string_value(v);
    if (!s || (strcmp(s, "active") != 0 && case_status_from_name(s) < 0))
        return "not a status: new, open, waiting, resolved, closed, or active for the first three";
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

/* The names of things that begin with theirs. */
static const char *names_fault(const char *says, const void *things, size_t n, size_t size)
{
    struct strlist names = {0};
    for (size_t i = 0; i < n; i++)
        strlist_add(&names, *(char *const *)((const char *)things + i * size));
    const char *text = life_names_fault(says, &names);
    strlist_free(&names);
    return text;
}

static const char *read_team(const struct config *c, const json_t *v, char **ret)
{
    const char *s = json_string_value(v);
    if (!s || !config_team(c, s))
        return names_fault("no such team in the configuration; there are", c->teams, c->nteams, sizeof *c->teams);
    return read_word(c, v, ret);
}

static bool is_person(const struct config *c, const char *name)
{
    for (size_t i = 0; i < c->nclients; i++)
        if (strcmp(c->clients[i].name, name) == 0)
            return true;
    return config_member(c, name) || config_contact(c, name);
}

/* Any name will do where the configuration names no members. A slip would leave the complaint with somebody who does not exist. */
static const char *read_assignee(const struct config *c, const json_t *v, char **ret)
{
    const char *s = json_string_value(v);
    if (s && config_team(c, s) && !config_member(c, s))
        return "a team has this name: say it as the team, or name a person";
    if (s && people_any(c) && !is_person(c, s))
        return people_fault(c);
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

const char *case_read_n(const struct config *c CD_UNUSED, const json_t *v, char **ret)
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
        return names_fault("no such category in the configuration; there are", c->categories, c->ncategories, sizeof *c->categories);
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
     {{"ref", case_read_ref, REQUIRED}}},
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
     {{"ref", case_read_ref, REQUIRED}, {"n", read_offset, OPTIONAL}, {"message", read_message, OPTIONAL}, {"offset", read_offset, OPTIONAL}, {"length", read_piece, OPTIONAL}}},
    {"EXPLAIN", ROLE_AGENT, TAIL_NONE, ACTION_COUNT, "select complaintd.api_explain($1)", {NULL},
     {{"ref", case_read_ref, REQUIRED}}},
    {"VERIFY", ROLE_AGENT, TAIL_NONE, ACTION_COUNT, "select complaintd.api_verify($1, $2::uuid, coalesce($3::integer, 100))", {NULL},
     {{"ref", case_read_ref, OPTIONAL}, {"after", read_cursor, OPTIONAL}, {"limit", read_limit, OPTIONAL}}},
    {"ACK", ROLE_NONE, TAIL_ACTION, ACTION_ACK, CHANGE("api_ack(x.ref, $4, $5::text[], $6::text[], $7::integer)"), {NULL},
     {{"ref", case_read_ref, REQUIRED}}},
    {"ASSIGN", ROLE_NONE, TAIL_ASSIGN, ACTION_ASSIGN, CHANGE("api_assign(x.ref, $4, $5, $6, $7::text[], $8::text[], $9::integer, $10::jsonb)"),
     {"assignee", "team"},
     {{"ref", case_read_ref, REQUIRED}, {"assignee", read_assignee, OPTIONAL}, {"team", read_team, OPTIONAL}}},
    {"NOTE", ROLE_NONE, TAIL_ACTION, ACTION_NOTE, CHANGE("api_note(x.ref, $4, $5, $6::text[], $7::text[], $8::integer)"), {NULL},
     {{"ref", case_read_ref, REQUIRED}, {"text", life_read_said, REQUIRED}}},
    {"REPLY", ROLE_NONE, TAIL_ACTION, ACTION_REPLY,
     CHANGE("api_reply(x.ref, $4, $5, $6::text[], $7::text[], $8::integer, $9::uuid, $10, $11::double precision * interval '1 second')"),
     {NULL},
     {{"ref", case_read_ref, REQUIRED}, {"text", life_read_said, REQUIRED}}},
    {"RECLASSIFY", ROLE_NONE, TAIL_ACTION, ACTION_RECLASSIFY,
     CHANGE("api_reclassify(x.ref, $4, $5, $6, $7, $8::text[], $9::text[], $10::integer, $11, $12::jsonb)"),
     {"category", "priority", "team"},
     {{"ref", case_read_ref, REQUIRED}, {"category", read_category, OPTIONAL}, {"priority", read_priority, OPTIONAL}, {"team", read_team, OPTIONAL}}},
    {"WAIT", ROLE_NONE, TAIL_ACTION, ACTION_WAIT,
     CHANGE("api_wait(x.ref, $4::double precision * interval '1 second', $5::timestamptz, $6, $7, $8::text[], $9::text[], $10::integer)"),
     {"for", "until"},
     {{"ref", case_read_ref, REQUIRED}, {"for", life_read_for, OPTIONAL}, {"until", life_read_until, OPTIONAL}, {"note", life_read_said, OPTIONAL}}},
    {"RESOLVE", ROLE_NONE, TAIL_ACTION, ACTION_RESOLVE,
     CHANGE("api_resolve(x.ref, $4, $5, $6, $7, $8, $9::text[], $10::text[], $11::integer, $12::boolean, $13::boolean,"
            " $14::double precision * interval '1 second')"),
     {NULL},
     {{"ref", case_read_ref, REQUIRED}, {"outcome", read_outcome, REQUIRED}, {"cause", life_read_cause, REQUIRED_IF_LISTED},
      {"remedy", life_read_remedy, REQUIRED_IF_LISTED}, {"note", read_text, OPTIONAL}}},
    {"REOPEN", ROLE_NONE, TAIL_ACTION, ACTION_REOPEN,
     CHANGE("api_reopen(x.ref, $4, $5, $6::text[], $7::text[], $8::integer, $9::double precision * interval '1 second')"), {NULL},
     {{"ref", case_read_ref, REQUIRED}, {"note", life_read_said, OPTIONAL}}},
    {"CLOSE", ROLE_NONE, TAIL_ACTION, ACTION_CLOSE, CHANGE("api_close(x.ref, $4, $5::text[], $6::text[], $7::integer)"), {NULL},
     {{"ref", case_read_ref, REQUIRED}}},
    {"MERGE", ROLE_NONE, TAIL_MERGE, ACTION_MERGE, CHANGE("api_merge(x.ref, $4, $5, $6::text[], $7::text[], $8::jsonb)"), {NULL},
     {{"ref", case_read_ref, REQUIRED}, {"into", case_read_ref, REQUIRED}}},
    {"SPLIT", ROLE_NONE, TAIL_SPLIT, ACTION_SPLIT,
     CHANGE("api_split(x.ref, $4::uuid, coalesce($5::boolean, false), $6, $7, $8, $9::text[], $10,"
            " $11::double precision * interval '1 second')"),
     {NULL},
     {{"ref", case_read_ref, REQUIRED}, {"message", read_message, REQUIRED}, {"later", read_bool, OPTIONAL},
      {"category", read_category, OPTIONAL}, {"team", read_team, OPTIONAL}}},
    {"REREAD", ROLE_NONE, TAIL_REREAD, ACTION_REREAD,
     CHANGE("api_reread(x.ref, $4::uuid, $5, $6::text[], $7::text[], $8::jsonb, $9::jsonb)"), {NULL},
     {{"ref", case_read_ref, REQUIRED}, {"message", read_message, OPTIONAL}}},
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
     {{"ref", case_read_ref, OPTIONAL}, {"handle", people_read_handle, OPTIONAL}, {"limit", read_limit, OPTIONAL}}},
    {"CUSTOMERS", ROLE_AGENT, TAIL_SEES, ACTION_COUNT,
     "select complaintd.api_customers($1, $2::boolean, $3::integer, $4::uuid, $5, $6::boolean)", {NULL},
     {{"flag", people_read_flag, OPTIONAL}, {"review_due", read_bool, OPTIONAL}, {"limit", read_limit, OPTIONAL}, {"after", read_cursor, OPTIONAL}}},
    {"FLAG", ROLE_AGENT, TAIL_SEES, ACTION_COUNT,
     "select complaintd.api_customer_flag($1, $2, $3, $4::boolean, $5, $6::date, $7, $8, $9::boolean)",
     {"ref", "handle"},
     {{"ref", case_read_ref, OPTIONAL}, {"handle", people_read_handle, OPTIONAL}, {"flag", people_read_flag, REQUIRED}, {"clear", read_bool, OPTIONAL},
      {"driver", people_read_driver, OPTIONAL}, {"review", people_read_date, OPTIONAL}, {"note", read_text, OPTIONAL}}},
    {"STATS", ROLE_AGENT, TAIL_MAY, ACTION_COUNT, "select s || complaintd.api_people_stats($1::boolean) from complaintd.api_stats() s", {NULL},
     {{NULL, NULL, OPTIONAL}}},
    {"QUEUE", ROLE_ADMIN, TAIL_ACTOR, ACTION_COUNT, "select complaintd.api_queue($1::uuid, $2::uuid, $3, $4, $5::integer, $6::uuid, $7)", {NULL},
     {{"retry", read_id, OPTIONAL}, {"drop", read_id, OPTIONAL}, {"reason", read_text, OPTIONAL}, {"state", read_queue_state, OPTIONAL},
      {"limit", read_limit, OPTIONAL}, {"after", read_cursor, OPTIONAL}}},
    /* Nobody is to be kicked after a retry: who reads what is pending looks once a second, and moves no due times before. */
    {"PENDING", ROLE_ADMIN, TAIL_NONE, ACTION_COUNT, "select complaintd.api_pending($1::uuid, $2::boolean, $3::integer, $4::uuid)", {NULL},
     {{"retry", read_id, OPTIONAL}, {"all", read_bool, OPTIONAL}, {"limit", read_limit, OPTIONAL}, {"after", read_cursor, OPTIONAL}}},
};
/* clang-format on */

const struct case_command *case_command_find(const char *verb)
{
    for (size_t i = 0; i < ARRAY_LEN(commands); i++)
        if (strcmp(commands[i].verb, verb) == 0)
            return &commands[i];
    return NULL;
}

bool case_command_changes(const struct case_command *cmd)
{
    return cmd->tail >= TAIL_ACTION;
}

/* Every other verb changes something, or leaves a record of what was seen. */
enum case_lane case_command_lane(const struct case_command *cmd)
{
    static const char *const one[] = {"SHOW", "ATTACHMENT", "EXPLAIN"};
    static const char *const many[] = {"LIST", "VERIFY", "ABSENCES", "STATS", "QUEUE", "PENDING"};
    for (size_t i = 0; i < ARRAY_LEN(one); i++)
        if (strcmp(cmd->verb, one[i]) == 0)
            return CASE_READS_ONE;
    for (size_t i = 0; i < ARRAY_LEN(many); i++)
        if (strcmp(cmd->verb, many[i]) == 0)
            return CASE_READS_MANY;
    return CASE_CHANGES;
}
