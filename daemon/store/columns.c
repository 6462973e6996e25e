/* The columns of the batch: one table gives the parameters' types, the text of the statement's unnest() and the binary encoding. */
#include "daemon/store/columns.h"

#include <string.h>

#include "daemon/store/event_hash.h"

typedef void (*encode)(struct pg_params *p, const struct store_item *it);

#define GETTER(name) static void get_##name(struct pg_params *p, const struct store_item *it)
GETTER(ukey) { pg_el_bytes(p, it->ukey, sizeof it->ukey); }
GETTER(id) { pg_el_uuid(p, &it->env->id); }
GETTER(channel) { pg_el_text(p, channel_name(it->env->channel)); }
GETTER(key) { pg_el_text(p, it->env->key); }
GETTER(digest) { pg_el_bytes(p, it->env->digest, sizeof it->env->digest); }
GETTER(received_at) { pg_el_time(p, it->env->received_at_us); }
GETTER(outcome) { pg_el_text(p, outcome_name(it->outcome)); }
GETTER(complaint_id) { pg_el_uuid(p, &it->complaint_id); }
GETTER(is_new) { pg_el_bool(p, it->is_new); }
GETTER(ref) { pg_el_text(p, it->is_new ? it->ref : NULL); }
GETTER(desk) { pg_el_text(p, it->desk); }
GETTER(desks) { pg_el_text(p, it->desks); }
GETTER(said_channel) { pg_el_text(p, it->channel); }
GETTER(category) { pg_el_text(p, it->category); }
GETTER(priority) { pg_el_text(p, it->priority); }
GETTER(language) { pg_el_text(p, it->language); }
GETTER(team) { pg_el_text(p, it->team); }
GETTER(tags) { pg_el_text(p, it->tags); }
GETTER(policy) { pg_el_text(p, it->policy_version); }
GETTER(calendar) { pg_el_text(p, it->calendar); }
GETTER(degraded) { pg_el_bool(p, it->degraded); }
GETTER(decision) { pg_el_text(p, it->is_new ? it->decision : NULL); }
GETTER(event) { pg_el_text(p, it->event); }
GETTER(event_hash)
{
    uint8_t hash[SHA256_SIZE];
    if (it->is_new)
        event_hash_first(&it->env->id, it->env->received_at_us, it->actor, "received", it->event, hash);
    if (it->is_new)
        pg_el_bytes(p, hash, sizeof hash);
    else
        pg_el_null(p);
}
GETTER(actor) { pg_el_text(p, it->actor); }
GETTER(handle) { pg_el_text(p, it->handle); }
GETTER(handle_is_new) { pg_el_bool(p, it->handle_is_new); }
GETTER(customer_id) { pg_el_uuid(p, &it->customer_id); }
GETTER(customer_name) { pg_el_text(p, it->rec->name); }
GETTER(customer_email) { pg_el_text(p, it->rec->email); }
GETTER(customer_phone) { pg_el_text(p, it->rec->phone); }
GETTER(class) { pg_el_text(p, message_class_name(it->rec->cls)); }
GETTER(sender) { pg_el_text(p, it->rec->email ? it->rec->email : it->rec->phone ? it->rec->phone : it->env->sender); }
GETTER(recipients) { pg_el_text(p, it->recipients); }
GETTER(subject) { pg_el_text(p, it->rec->subject); }
GETTER(body) { pg_el_text(p, it->rec->text); }
GETTER(message_id) { pg_el_text(p, it->rec->message_id); }
GETTER(in_reply_to) { pg_el_text(p, it->rec->in_reply_to); }
GETTER(sent_at) { pg_el_time(p, it->rec->sent_at_us); }
GETTER(raw) { pg_el_bytes(p, it->env->raw.data, it->env->raw.len); }
GETTER(acknowledge_due) { pg_el_time(p, it->due_us[0]); }
GETTER(first_response_due) { pg_el_time(p, it->due_us[1]); }
GETTER(resolve_due) { pg_el_time(p, it->due_us[2]); }
GETTER(next_at) { pg_el_time(p, it->next_at_us); }
GETTER(steps) { pg_el_text(p, it->steps); }
GETTER(steps_fired) { pg_el_int4(p, it->steps_fired); }
GETTER(told_level) { pg_el_int4(p, it->told_level); }
GETTER(n_id) { pg_el_uuid(p, &it->notification_id); }
GETTER(n_transport) { pg_el_text(p, it->notify_transport); }
GETTER(n_recipient) { pg_el_text(p, it->notify_recipient); }
GETTER(n_state) { pg_el_text(p, it->notify_state); }
GETTER(n_reason) { pg_el_text(p, it->notify_reason); }
GETTER(n_not_after) { pg_el_time(p, it->notify_not_after_us); }

static const struct column {
    const char *name;
    enum pg_oid type;
    encode get;
} columns[] = {
#define COLUMN(name, type) {#name, type, get_##name},
    COLUMN(ukey, PG_BYTEA) COLUMN(id, PG_UUID) COLUMN(channel, PG_TEXT) COLUMN(key, PG_TEXT) COLUMN(digest, PG_BYTEA)
    COLUMN(received_at, PG_TIMESTAMPTZ) COLUMN(outcome, PG_TEXT) COLUMN(complaint_id, PG_UUID) COLUMN(is_new, PG_BOOL)
    COLUMN(ref, PG_TEXT) COLUMN(desk, PG_TEXT) COLUMN(desks, PG_TEXT) COLUMN(said_channel, PG_TEXT) COLUMN(category, PG_TEXT)
    COLUMN(priority, PG_TEXT) COLUMN(language, PG_TEXT) COLUMN(team, PG_TEXT) COLUMN(tags, PG_TEXT) COLUMN(policy, PG_TEXT)
    COLUMN(calendar, PG_TEXT) COLUMN(degraded, PG_BOOL) COLUMN(decision, PG_TEXT) COLUMN(event, PG_TEXT) COLUMN(actor, PG_TEXT)
    COLUMN(handle, PG_TEXT) COLUMN(handle_is_new, PG_BOOL) COLUMN(customer_id, PG_UUID) COLUMN(customer_name, PG_TEXT)
    COLUMN(customer_email, PG_TEXT) COLUMN(customer_phone, PG_TEXT) COLUMN(class, PG_TEXT) COLUMN(sender, PG_TEXT)
    COLUMN(recipients, PG_TEXT) COLUMN(subject, PG_TEXT) COLUMN(body, PG_TEXT) COLUMN(message_id, PG_TEXT)
    COLUMN(in_reply_to, PG_TEXT) COLUMN(sent_at, PG_TIMESTAMPTZ) COLUMN(raw, PG_BYTEA) COLUMN(acknowledge_due, PG_TIMESTAMPTZ)
    COLUMN(first_response_due, PG_TIMESTAMPTZ) COLUMN(resolve_due, PG_TIMESTAMPTZ) COLUMN(next_at, PG_TIMESTAMPTZ)
    COLUMN(steps, PG_TEXT) COLUMN(steps_fired, PG_INT4) COLUMN(told_level, PG_INT4) COLUMN(event_hash, PG_BYTEA)
    COLUMN(n_id, PG_UUID) COLUMN(n_transport, PG_TEXT) COLUMN(n_recipient, PG_TEXT) COLUMN(n_state, PG_TEXT)
    COLUMN(n_reason, PG_TEXT) COLUMN(n_not_after, PG_TIMESTAMPTZ)
#undef COLUMN
};

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

void columns_unnest(struct buf *out)
{
    buf_append_str(out, "unnest(");
    for (size_t i = 0; i < ARRAY_LEN(columns); i++)
        buf_printf(out, "%s$%zu::%s[]", i ? ", " : "", i + 1, type_name(columns[i].type));
    buf_append_str(out, ") as i(");
    for (size_t i = 0; i < ARRAY_LEN(columns); i++)
        buf_printf(out, "%s%s", i ? ", " : "", columns[i].name);
    buf_append_str(out, ")");
}

size_t columns_count(void)
{
    return ARRAY_LEN(columns);
}

void columns_encode(struct pg_params *p, const struct store_item *const *items, size_t n)
{
    for (size_t c = 0; c < ARRAY_LEN(columns); c++) {
        pg_array_begin(p, columns[c].type);
        for (size_t i = 0; i < n; i++)
            columns[c].get(p, items[i]);
        pg_array_end(p);
    }
}
