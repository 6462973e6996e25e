/* The columns that a batch writes: one list a table gives the statement's text, the parameters' types and their binary encoding. Plain
 * inserts: a key that is there already fails the transaction (unique_violation), which is then decided anew (batch.c). Nothing here fails
 * otherwise; what is too large is seen by pg_step(). */
#include "daemon/store/tables.h"

#include <string.h>

#include "daemon/store/event_hash.h"

#define GETTER(name) static void get_##name(struct pg_params *p, const struct store_item *it, size_t k CD_UNUSED)
GETTER(ukey) { pg_el_bytes(p, it->ukey, sizeof it->ukey); }
GETTER(id) { pg_el_uuid(p, &it->env->id); }
GETTER(channel) { pg_el_text(p, channel_name(it->env->channel)); }
GETTER(key) { pg_el_text(p, it->env->key); }
GETTER(digest) { pg_el_bytes(p, it->env->digest, sizeof it->env->digest); }
GETTER(received_at) { pg_el_time(p, it->env->received_at_us); }
GETTER(outcome) { pg_el_text(p, outcome_name(it->outcome)); }
GETTER(complaint_id) { pg_el_uuid(p, &it->complaint_id); }
GETTER(first_desk) { pg_el_text(p, it->env->desks.v[0]); }
GETTER(frame)
{
    struct buf frame;
    buf_init(&frame, p->data.cap);
    envelope_write(it->env, &frame);
    p->data.failed |= frame.failed;
    pg_el_bytes(p, frame.data, frame.len);
    buf_free(&frame);
}
GETTER(pending_reason) { pg_el_text(p, it->pending_reason); }
GETTER(ref) { pg_el_text(p, it->ref); }
GETTER(desks) { pg_el_text(p, it->desks); }
GETTER(said_channel) { pg_el_text(p, it->channel); }
GETTER(category) { pg_el_text(p, it->category); }
GETTER(priority) { pg_el_text(p, it->priority); }
GETTER(language) { pg_el_text(p, it->language); }
GETTER(team) { pg_el_text(p, it->team); }
GETTER(tags) { pg_el_text(p, it->tags); }
GETTER(region) { pg_el_text(p, it->region); }
GETTER(skills) { pg_el_text(p, it->skills); }
GETTER(about) { pg_el_text(p, it->about); }
GETTER(policy) { pg_el_text(p, it->policy_version); }
GETTER(calendar) { pg_el_text(p, it->calendar); }
GETTER(degraded) { pg_el_bool(p, it->degraded); }
GETTER(decision) { pg_el_text(p, it->decision); }
GETTER(event) { pg_el_text(p, it->event); }
GETTER(event_hash)
{
    uint8_t hash[SHA256_SIZE];
    event_hash_first(&it->env->id, it->env->received_at_us, it->actor, "received", it->event, hash);
    pg_el_bytes(p, hash, sizeof hash);
}
GETTER(actor) { pg_el_text(p, it->actor); }
GETTER(handle) { pg_el_text(p, it->handle); }
GETTER(customer_id) { pg_el_uuid(p, &it->customer_id); }
GETTER(customer_name) { pg_el_text(p, it->rec->name); }
GETTER(customer_email) { pg_el_text(p, it->rec->email); }
GETTER(customer_phone) { pg_el_text(p, it->rec->phone); }
GETTER(remedy_sought) { pg_el_text(p, it->rec->remedy_sought); }
GETTER(representative) { pg_el_text(p, it->representative); }
GETTER(class) { pg_el_text(p, message_class_name(it->rec->cls)); }
GETTER(sender) { pg_el_text(p, it->rec->email ? it->rec->email : it->rec->phone ? it->rec->phone : it->env->sender); }
GETTER(recipients) { pg_el_text(p, it->recipients); }
GETTER(subject) { pg_el_text(p, it->rec->subject); }
GETTER(body) { pg_el_text(p, it->rec->text); }
GETTER(text_new) { pg_el_text(p, it->rec->text_new); } /* NULL where it is the body, as the view `messages` knows */
GETTER(text_quoted) { pg_el_text(p, it->rec->text_quoted); }
GETTER(message_id) { pg_el_text(p, it->rec->message_id); }
GETTER(in_reply_to) { pg_el_text(p, it->rec->in_reply_to); }
GETTER(sent_at) { pg_el_time(p, it->rec->sent_at_us); }
GETTER(charset_note) { pg_el_text(p, it->rec->charset_note); }
GETTER(security) { pg_el_text(p, it->rec->security); }
GETTER(raw) { pg_el_bytes(p, it->env->raw.data, it->env->raw.len); }
GETTER(scan) { pg_el_text(p, it->scan); }
GETTER(scan_detail) { pg_el_text(p, it->scan_detail); }
GETTER(rescan_ms)
{
    if (it->rescan_us)
        pg_el_int4(p, (int32_t)(it->rescan_us / CD_MSEC(1)));
    else
        pg_el_null(p);
}
GETTER(acknowledge_due) { pg_el_time(p, it->due_us[0]); }
GETTER(first_response_due) { pg_el_time(p, it->due_us[1]); }
GETTER(resolve_due) { pg_el_time(p, it->due_us[2]); }
GETTER(next_at) { pg_el_time(p, it->next_at_us); }
GETTER(steps) { pg_el_text(p, it->steps); }
GETTER(steps_fired) { pg_el_int4(p, it->steps_fired); }
GETTER(told_level) { pg_el_int4(p, it->told_level); }
GETTER(thread_key) { pg_el_bytes(p, it->keys[k], LEDGER_KEY_SIZE); }
GETTER(n_id) { pg_el_uuid(p, &it->notes.v[k].id); }
GETTER(n_purpose) { pg_el_text(p, it->notes.v[k].purpose); }
GETTER(n_class) { pg_el_text(p, it->notes.v[k].class); }
GETTER(n_level)
{
    if (it->notes.v[k].level)
        pg_el_int4(p, it->notes.v[k].level);
    else
        pg_el_null(p);
}
GETTER(n_transport) { pg_el_text(p, it->notes.v[k].transport); }
GETTER(n_recipient) { pg_el_text(p, it->notes.v[k].recipient); }
GETTER(n_language) { pg_el_text(p, it->notes.v[k].language); }
GETTER(n_payload) { pg_el_text(p, it->notes.v[k].payload); }
GETTER(n_state) { pg_el_text(p, it->notes.v[k].reason ? "suppressed" : "pending"); }
GETTER(n_reason) { pg_el_text(p, it->notes.v[k].reason); }
GETTER(n_not_after) { pg_el_time(p, it->env->received_at_us + it->notes.v[k].life_us); }
GETTER(n_key) { pg_el_text(p, it->notes.v[k].key); }

struct column {
    const char *name;
    const char *expr; /* over the inputs, which are named as the columns; NULL: the input as it is */
    enum pg_oid type; /* of the input */
    void (*get)(struct pg_params *p, const struct store_item *it, size_t k); /* NULL: `expr` needs no input of this name */
};
#define COL(name, type, getter) {#name, NULL, PG_##type, get_##getter}
#define EXPR(name, expr, type, getter) {#name, expr, PG_##type, get_##getter}
#define CONSTANT(name, expr) {#name, expr, PG_TEXT, NULL}

static const struct column receipts[] = {
    COL(ukey, BYTEA, ukey), COL(id, UUID, id), COL(channel, TEXT, channel), COL(key, TEXT, key), COL(digest, BYTEA, digest),
    COL(received_at, TIMESTAMPTZ, received_at), COL(outcome, TEXT, outcome), COL(desk, TEXT, first_desk), COL(complaint_id, UUID, complaint_id),
};
static const struct column pending[] = {
    COL(id, UUID, id), COL(envelope, BYTEA, frame), COL(received_at, TIMESTAMPTZ, received_at), COL(reason, TEXT, pending_reason),
    CONSTANT(next_attempt_at, "clock_timestamp() + interval '2 s'"),
};
static const struct column handles[] = {COL(handle, TEXT, handle), COL(customer_id, UUID, customer_id)};
static const struct column customers[] = {
    COL(id, UUID, customer_id), COL(name, TEXT, customer_name), EXPR(emails, "array_remove(array[emails], null)", TEXT, customer_email),
    EXPR(phones, "array_remove(array[phones], null)", TEXT, customer_phone), COL(language, TEXT, language),
};
static const struct column thread_keys[] = {COL(key, BYTEA, thread_key), COL(complaint_id, UUID, complaint_id)};
static const struct column complaint[] = {
    COL(id, UUID, id), COL(ref, TEXT, ref), COL(desk, TEXT, first_desk), EXPR(desks, "desks::text[]", TEXT, desks), COL(channel, TEXT, said_channel),
    COL(category, TEXT, category), COL(priority, TEXT, priority), COL(language, TEXT, language), COL(team, TEXT, team),
    COL(region, TEXT, region), EXPR(skills, "skills::text[]", TEXT, skills), EXPR(about, "about::text[]", TEXT, about),
    EXPR(tags, "tags::text[]", TEXT, tags), COL(policy, TEXT, policy), COL(customer_id, UUID, customer_id), COL(customer_name, TEXT, customer_name),
    COL(customer_email, TEXT, customer_email), COL(customer_phone, TEXT, customer_phone), COL(received_at, TIMESTAMPTZ, received_at),
    COL(escalation_level, INT4, told_level), COL(degraded, BOOL, degraded), COL(decision, TEXT, decision),
    COL(remedy_sought, TEXT, remedy_sought), COL(representative, TEXT, representative),
};
static const struct column message[] = {
    COL(id, UUID, id), COL(complaint_id, UUID, complaint_id), COL(channel, TEXT, channel), COL(desk, TEXT, first_desk), COL(class, TEXT, class),
    COL(sender, TEXT, sender), EXPR(recipients, "recipients::text[]", TEXT, recipients), COL(subject, TEXT, subject), COL(body, TEXT, body),
    COL(text_new, TEXT, text_new), COL(text_quoted, TEXT, text_quoted), COL(message_id, TEXT, message_id), COL(in_reply_to, TEXT, in_reply_to),
    COL(received_at, TIMESTAMPTZ, received_at), COL(sent_at, TIMESTAMPTZ, sent_at), COL(raw, BYTEA, raw), COL(digest, BYTEA, digest),
    COL(charset_note, TEXT, charset_note), COL(security, TEXT, security),
};
static const struct column scans[] = {
    COL(message_id, UUID, id), COL(verdict, TEXT, scan), COL(detail, TEXT, scan_detail), COL(scanned_at, TIMESTAMPTZ, received_at),
    EXPR(next_attempt_at, "clock_timestamp() + next_attempt_at * interval '1 millisecond'", INT4, rescan_ms),
};
static const struct column event[] = {
    COL(id, UUID, id), COL(complaint_id, UUID, id), CONSTANT(seq, "1"), COL(at, TIMESTAMPTZ, received_at), COL(actor, TEXT, actor),
    CONSTANT(kind, "'received'"), COL(data, TEXT, event), CONSTANT(prev_hash, "''::bytea"), COL(hash, BYTEA, event_hash),
};
static const struct column timers[] = {
    COL(complaint_id, UUID, id), COL(next_at, TIMESTAMPTZ, next_at), COL(policy, TEXT, policy), COL(calendar, TEXT, calendar),
    COL(anchor_at, TIMESTAMPTZ, received_at), COL(acknowledge_due, TIMESTAMPTZ, acknowledge_due),
    COL(first_response_due, TIMESTAMPTZ, first_response_due), COL(resolve_due, TIMESTAMPTZ, resolve_due), EXPR(steps, "steps::integer[]", TEXT, steps),
    EXPR(step_fired, "array_fill(anchor_at, array[step_fired])", INT4, steps_fired),
};
static const struct column notifications[] = {
    COL(id, UUID, n_id), COL(complaint_id, UUID, complaint_id), COL(purpose, TEXT, n_purpose), COL(class, TEXT, n_class), COL(level, INT4, n_level),
    COL(transport, TEXT, n_transport), COL(recipient, TEXT, n_recipient), COL(language, TEXT, n_language),
    EXPR(payload, "payload::jsonb", TEXT, n_payload), COL(state, TEXT, n_state), COL(created_at, TIMESTAMPTZ, received_at),
    COL(next_attempt_at, TIMESTAMPTZ, received_at), COL(not_after, TIMESTAMPTZ, n_not_after), COL(last_error, TEXT, n_reason),
    COL(idempotency_key, TEXT, n_key),
};

static const struct table_spec {
    const char *name, *one, *many; /* of the statements */
    const struct column *columns;
    size_t n;
} tables[] = {
#define TABLE(id, list, name) [id] = {"complaintd." name, name "1", name, list, ARRAY_LEN(list)}
    TABLE(TABLE_RECEIPTS, receipts, "receipts"),
    TABLE(TABLE_PENDING, pending, "pending"),
    TABLE(TABLE_HANDLES, handles, "customer_handles"),
    TABLE(TABLE_CUSTOMERS, customers, "customers"),
    TABLE(TABLE_KEYS, thread_keys, "thread_keys"),
    TABLE(TABLE_COMPLAINT, complaint, "complaint"),
    TABLE(TABLE_MESSAGE, message, "message"),
    TABLE(TABLE_SCANS, scans, "scans"),
    TABLE(TABLE_EVENT, event, "event"),
    TABLE(TABLE_TIMERS, timers, "timers"),
    TABLE(TABLE_NOTIFICATIONS, notifications, "notifications"),
#undef TABLE
};
_Static_assert(ARRAY_LEN(tables) == TABLE_COUNT, "a list for each table");

static const char *type_name(enum pg_oid type)
{
    switch (type) {
    case PG_BOOL:
        return "boolean";
    case PG_BYTEA:
        return "bytea";
    case PG_INT4:
        return "integer";
    case PG_TEXT:
        return "text";
    case PG_UUID:
        return "uuid";
    case PG_TIMESTAMPTZ:
        return "timestamptz";
    }
    return "text";
}

static void list_inputs(struct buf *b, const struct table_spec *t, bool parameters, bool many)
{
    unsigned n = 0;
    for (size_t i = 0; i < t->n; i++) {
        const struct column *c = &t->columns[i];
        if (!c->get)
            continue;
        buf_append_str(b, n++ ? ", " : "");
        if (parameters)
            buf_printf(b, "$%u::%s%s", n, type_name(c->type), many ? "[]" : "");
        else
            buf_append_str(b, c->name);
    }
}

static char *make_sql(const struct table_spec *t, bool many)
{
    struct buf b;
    buf_init(&b, CD_KIB(16));
    buf_printf(&b, "insert into %s (", t->name);
    for (size_t i = 0; i < t->n; i++)
        buf_printf(&b, "%s%s", i ? ", " : "", t->columns[i].name);
    buf_append_str(&b, ") select ");
    for (size_t i = 0; i < t->n; i++)
        buf_printf(&b, "%s%s", i ? ", " : "", t->columns[i].expr ? t->columns[i].expr : t->columns[i].name);
    buf_append_str(&b, many ? " from unnest(" : " from (values (");
    list_inputs(&b, t, true, many);
    buf_append_str(&b, many ? ") as i(" : ")) as i(");
    list_inputs(&b, t, false, many);
    buf_append_str(&b, ")");
    return buf_steal(&b); /* for the life of the process */
}

const struct pg_stmt *table_statement(size_t i)
{
    static struct pg_stmt statements[TABLE_STATEMENTS];
    const struct table_spec *t = &tables[i / 2];
    cd_assert(i < TABLE_STATEMENTS);
    if (!statements[i].sql)
        statements[i] = (struct pg_stmt){i % 2 ? t->many : t->one, make_sql(t, i % 2)};
    return &statements[i];
}

static void insert_some(struct pg *pg, enum table id, const struct table_row *rows, size_t n, bool many, struct pg_params *p)
{
    const struct table_spec *t = &tables[id];
    for (size_t c = 0; c < t->n; c++) {
        const struct column *col = &t->columns[c];
        if (!col->get)
            continue;
        if (many)
            pg_array_begin(p, col->type);
        else
            pg_value_begin(p);
        for (size_t i = 0; i < n; i++)
            col->get(p, rows[i].it, rows[i].k);
        if (many)
            pg_array_end_or_null(p); /* unnest fills up with NULLs what is shorter, and need not walk this one */
        else
            pg_value_end(p);
    }
    pg_step(pg, table_statement(2 * (size_t)id + many), p);
    pg_params_reset(p);
}

void table_insert(struct pg *pg, enum table id, const struct table_row *rows, size_t n, struct pg_params *p)
{
    if (n > TABLE_FEW)
        insert_some(pg, id, rows, n, true, p);
    else
        for (size_t i = 0; i < n; i++)
            insert_some(pg, id, &rows[i], 1, false, p);
}
