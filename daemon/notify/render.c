/* Rendering. Times for customers are written in UTC and say so; calendars with zones come with the desks' own. */
#include "daemon/notify/render.h"

#include <stdio.h>
#include <string.h>

#include "daemon/core/clock.h"
#include "daemon/core/err.h"
#include "daemon/intake/token.h"
#include "daemon/notify/template.h"
#include "daemon/store/pg.h"

#define TEXT_CAP CD_KIB(256)

/* "2026-11-23 02:00 UTC" */
static void human_time(int64_t us, char out[CLOCK_TEXT_SIZE])
{
    out[0] = '\0';
    if (!us)
        return;
    clock_format_s(us, out);
    out[10] = ' ';
    snprintf(out + 16, CLOCK_TEXT_SIZE - 16, " UTC");
}

/* The deadline that a step belongs to; steps counted from receipt point at the first response. */
static const struct deadline {
    const char *step, *text;
    enum claim_column due;
} deadlines[] = {{"acknowledge", "acknowledgement", CC_ACKNOWLEDGE_DUE},
                 {"first-response", "first response", CC_DUE},
                 {"resolve", "resolution", CC_RESOLVE_DUE},
                 {"receipt", "first response", CC_DUE}};

static const struct deadline *deadline_of(const char *step)
{
    for (size_t i = 0; step && i < ARRAY_LEN(deadlines); i++)
        if (strcmp(deadlines[i].step, step) == 0)
            return &deadlines[i];
    return NULL;
}

/* "first response by 2026-11-22 18:32 UTC" */
static void deadline_text(const PGresult *r, int row, const char *step, char *out, size_t size)
{
    const struct deadline *d = deadline_of(step);
    char when[CLOCK_TEXT_SIZE];
    out[0] = '\0';
    if (!d)
        return;
    human_time(pg_i64(r, row, d->due, 0), when);
    snprintf(out, size, "%s by %s", d->text, when);
}

static const char *or_empty(const char *s)
{
    return s ? s : "";
}

static void webhook_json(const struct config *c, bool sandbox, const PGresult *r, int row, const json_t *payload, struct rendered *x)
{
    char received[CLOCK_TEXT_SIZE], due[CLOCK_TEXT_SIZE] = "", step_due[CLOCK_TEXT_SIZE] = "";
    const char *step = json_string_value(json_object_get(payload, "step"));
    const struct deadline *d = deadline_of(step);
    const json_t *due_us = json_object_get(payload, "due_us");
    clock_format_s(pg_i64(r, row, CC_RECEIVED, 0), received);
    if (d && pg_i64(r, row, d->due, 0))
        clock_format_s(pg_i64(r, row, d->due, 0), due);
    if (json_is_integer(due_us))
        clock_format_s(json_integer_value(due_us), step_due);
    json_t *o = json_pack("{s:s, s:s, s:s, s:i, s:s?, s:s, s:s, s:s, s:s, s:s, s:s, s:s, s:s, s:s, s:b}", "event", pg_text(r, row, CC_PURPOSE), "id",
                          pg_text(r, row, CC_ID), "ref", pg_text(r, row, CC_REF), "level", (int)pg_i64(r, row, CC_LEVEL, 0), "step", step,
                          "step_due", step_due, "due", due, "category", pg_text(r, row, CC_CATEGORY), "priority",
                          pg_text(r, row, CC_PRIORITY), "team", pg_text(r, row, CC_TEAM), "desk", pg_text(r, row, CC_DESK), "status",
                          pg_text(r, row, CC_STATUS), "received_at", received, "instance", c->instance, "sandbox", (int)sandbox);
    char *text = o ? json_dumps(o, JSON_COMPACT) : NULL;
    buf_append_str(&x->json, text ? text : "{}");
    free(text);
    json_decref(o);
    x->out.json = buf_str(&x->json);
}

/* The desk's address with the token as its tag, where the mail that comes to it is still the desk's; otherwise the address as it is. */
static void reply_address(const struct config *c, const struct cfg_desk *desk, const char *token, struct buf *out)
{
    const char *address = config_desk_address(desk), *at = address ? strrchr(address, '@') : NULL;
    if (!at)
        return;
    size_t local = (size_t)(at - address);
    if (token[0] && c->mail_tag_separator && *c->mail_tag_separator && local + 1 + strlen(token) <= MAIL_LOCAL_MAX) {
        buf_printf(out, "%.*s%c%s%s", (int)local, address, *c->mail_tag_separator, token, at);
        if (config_desk_by_address(c, buf_str(out)) == desk)
            return;
        buf_reset(out);
    }
    buf_append_str(out, address);
}

/* What makes the mails of a complaint one thread in every reader, and brings the answers back to it: for the customer it hangs on the
 * customer's own mail; for our people on a name of the complaint that no mail has, but all of theirs refer to. The token stands in the
 * reply address and in the Message-ID; both stay the same when the mail is sent again (CC_SIGNED_WITH). */
static void name_mail(const struct config *c, const struct cfg_desk *desk, const PGresult *r, int row, const json_t *payload, struct rendered *x)
{
    const char *key = pg_text(r, row, CC_SIGNED_WITH), *ref = pg_text(r, row, CC_REF), *answered = pg_text(r, row, CC_MESSAGE_ID);
    char token[TOKEN_TEXT_SIZE] = "";
    if (key && ref)
        token_complaint(ref, key[0], token);
    if (desk)
        reply_address(c, desk, token, &x->reply_to);
    x->out.reply_to = x->reply_to.len ? buf_str(&x->reply_to) : NULL;
    if (token[0]) { /* without one the key alone makes the Message-ID */
        buf_printf(&x->message_id, "%.150s.%s", or_empty(x->out.idempotency_key), token);
        x->out.message_id = buf_str(&x->message_id);
    }
    const char *name = json_string_value(json_object_get(payload, "message_id"));
    if (name) { /* a reply: it was named when it was written, and hangs on the last mail of the customer */
        buf_reset(&x->message_id);
        buf_append_str(&x->message_id, name);
        x->out.message_id = buf_str(&x->message_id);
        const char *before = json_string_value(json_object_get(payload, "before"));
        answered = json_string_value(json_object_get(payload, "in_reply_to"));
        if (answered) {
            if (before)
                strlist_add(&x->references, before);
            strlist_add(&x->references, answered);
        }
        x->out.in_reply_to = x->references.n ? x->references.v[x->references.n - 1] : NULL;
        x->out.references = &x->references;
        return;
    }
    if (!x->out.automatic) {
        buf_printf(&x->root, "case.%s@%s", or_empty(pg_text(r, row, CC_COMPLAINT)), c->hostname);
        answered = buf_str(&x->root);
    } else if (answered && pg_text(r, row, CC_IN_REPLY_TO)) {
        strlist_add(&x->references, pg_text(r, row, CC_IN_REPLY_TO));
    }
    x->out.in_reply_to = answered;
    if (answered)
        strlist_add(&x->references, answered);
    x->out.references = &x->references;
}

static int text_message(const struct config *c, bool sandbox, const PGresult *r, int row, const json_t *payload, struct rendered *x,
                        const char **why)
{
    const char *purpose = pg_text(r, row, CC_PURPOSE), *transport = pg_text(r, row, CC_TRANSPORT);
    const struct cfg_template *t = config_template(c, pg_text(r, row, CC_DESK), purpose, transport, pg_text(r, row, CC_LANGUAGE));
    const struct cfg_desk *desk = config_desk(c, pg_text(r, row, CC_DESK));
    char due[CLOCK_TEXT_SIZE], received[CLOCK_TEXT_SIZE];
    if (!t) {
        *why = "no template for this purpose and transport";
        return CD_ENOTFOUND;
    }
    human_time(pg_i64(r, row, CC_DUE, 0), due);
    human_time(pg_i64(r, row, CC_RECEIVED, 0), received);
    char deadline[128];
    deadline_text(r, row, json_string_value(json_object_get(payload, "step")), deadline, sizeof deadline);
    const struct template_var vars[] = {
        {"ref", pg_text(r, row, CC_REF)},           {"name", pg_text(r, row, CC_CUSTOMER)},    {"customer", pg_text(r, row, CC_CUSTOMER)},
        {"brand", desk ? desk->brand : ""},         {"subject", pg_text(r, row, CC_SUBJECT)},  {"due_date", due},
        {"category", pg_text(r, row, CC_CATEGORY)}, {"priority", pg_text(r, row, CC_PRIORITY)}, {"team", pg_text(r, row, CC_TEAM)},
        {"level", pg_text(r, row, CC_LEVEL)},       {"desk", pg_text(r, row, CC_DESK)},        {"received", received},
        {"excerpt", pg_text(r, row, CC_EXCERPT)},   {"status", pg_text(r, row, CC_STATUS)},    {"deadline", deadline},
        {"hostname", c->hostname},                  {"address", json_string_value(json_object_get(payload, "address"))},
        {"error", json_string_value(json_object_get(payload, "error"))},
        {"text", json_string_value(json_object_get(payload, "text"))},
    };
    bool mail = strcmp(transport, "mail") == 0;
    if (sandbox && mail) /* the SMS channel marks its texts itself */
        buf_append_str(&x->subject, "[sandbox] ");
    if (mail)
        template_render(t->subject, true, vars, ARRAY_LEN(vars), &x->subject);
    template_render(t->text, false, vars, ARRAY_LEN(vars), &x->text);
    x->out.subject = buf_str(&x->subject);
    x->out.text = buf_str(&x->text);
    x->out.language = t->language;
    if (desk && desk->from[0])
        x->out.from = desk->from;
    if (mail)
        name_mail(c, desk, r, row, payload, x);
    return 0;
}

/* "care+TOKEN@example.com": what comes back to it names this notification. NULL where that cannot be: no address of the desk's own, no tags,
 * no keys, too long a name; or no mail is taken in, so that nobody would read it. */
static const char *signed_path(const struct config *c, const PGresult *r, int row, struct rendered *x)
{
    const struct cfg_desk *desk = config_desk(c, pg_text(r, row, CC_DESK));
    const char *address = desk ? config_desk_address(desk) : NULL, *at = address ? strrchr(address, '@') : NULL;
    const char *key = pg_text(r, row, CC_SIGNED_WITH);
    char token[TOKEN_TEXT_SIZE];
    token_notification(&x->out.id, key ? key[0] : '\0', token);
    if (!at || !token[0] || !c->mail_tag_separator[0] || !config_takes_mail(c))
        return NULL;
    size_t local = (size_t)(at - address) + 1 + strlen(token);
    if (local > MAIL_LOCAL_MAX || local + strlen(at) >= sizeof x->path)
        return NULL;
    snprintf(x->path, sizeof x->path, "%.*s%c%s%s", (int)(at - address), address, c->mail_tag_separator[0], token, at);
    return x->path;
}

int render_row(const struct config *c, bool sandbox, const PGresult *r, int row, struct rendered *ret, const char **why)
{
    int transport = transport_from_name(or_empty(pg_text(r, row, CC_TRANSPORT)));
    json_t *payload = json_loads(pg_text(r, row, CC_PAYLOAD) ? pg_text(r, row, CC_PAYLOAD) : "{}", 0, NULL);
    int result = 0;
    memset(ret, 0, sizeof *ret);
    buf_init(&ret->subject, CD_KIB(4));
    buf_init(&ret->text, TEXT_CAP);
    buf_init(&ret->json, TEXT_CAP);
    buf_init(&ret->message_id, CD_KIB(1));
    buf_init(&ret->reply_to, CD_KIB(1));
    buf_init(&ret->root, CD_KIB(1));
    *why = NULL;
    ret->out.recipient = pg_text(r, row, CC_RECIPIENT);
    ret->out.idempotency_key = pg_text(r, row, CC_KEY);
    ret->out.desk = pg_text(r, row, CC_DESK);
    ret->out.sandbox = sandbox;
    ret->out.personal = str_eq(pg_text(r, row, CC_PURPOSE), "reply");
    ret->out.automatic = str_eq(pg_text(r, row, CC_PURPOSE), "acknowledgement");
    if (transport < 0 || pg_uuid(r, row, CC_ID, &ret->out.id) < 0) {
        *why = "unknown transport";
        result = CD_EINVAL;
    } else {
        ret->out.transport = (enum transport)transport;
        if (transport == TR_MAIL) {
            ret->out.envelope_from = signed_path(c, r, row, ret);
            ret->out.hops = (unsigned)json_integer_value(json_object_get(payload, "hops")) + 1;
        }
        if (transport == TR_WEBHOOK)
            webhook_json(c, sandbox, r, row, payload, ret);
        else
            result = text_message(c, sandbox, r, row, payload, ret, why);
    }
    json_decref(payload);
    return result;
}

void rendered_free(struct rendered *r)
{
    buf_free(&r->subject);
    buf_free(&r->text);
    buf_free(&r->json);
    buf_free(&r->message_id);
    buf_free(&r->reply_to);
    buf_free(&r->root);
    strlist_free(&r->references);
}
