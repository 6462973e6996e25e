/* One statement of data-modifying CTEs for everything a batch writes (figures: docs/adr/0002). Classes of rows are written in
 * the order receipts, handles, thread keys, the rest, each class sorted by its key: two instances that write the same keys wait for
 * each other instead of deadlocking. `do update` instead of `do nothing` on handles and thread keys returns rows that another
 * transaction committed meanwhile. Functions of ours are called only where something is wrong: each costs an executor of its own,
 * which is much for a batch of one (service time stands here as its expression). */
#include "daemon/store/batch_sql.h"

#include "daemon/store/columns.h"

static const char store_tail[] =
    "), r as (insert into complaintd.receipts as t (ukey, id, channel, key, digest, received_at, outcome, desk, complaint_id)"
    "  select ukey, id, channel, key, digest, received_at, outcome, desk, complaint_id from i order by ukey"
    "  on conflict (ukey) do update set outcome = excluded.outcome, complaint_id = excluded.complaint_id"
    "    where t.outcome = 'pending' and t.id = excluded.id"
    "  returning id),"
    " n as materialized (select i.* from i join r using (id)),"
    " h as (insert into complaintd.customer_handles as t (handle, customer_id)"
    "  select distinct on (handle) handle, customer_id from n where handle_is_new order by handle"
    "  on conflict (handle) do update set handle = excluded.handle returning t.handle, t.customer_id),"
    " cu as (insert into complaintd.customers (id, name, emails, phones, language)"
    "  select distinct on (n.customer_id) n.customer_id, n.customer_name, array_remove(array[n.customer_email], null),"
    "         array_remove(array[n.customer_phone], null), n.language"
    "  from n join h on h.handle = n.handle and h.customer_id = n.customer_id where n.handle_is_new"
    "  on conflict (id) do nothing),"
    " tk as materialized (select u.key, u.complaint_id from unnest($K::bytea[], $C::uuid[], $M::uuid[]) as u(key, complaint_id, message)"
    "  join r on r.id = u.message where (select count(*) from h) >= 0),"
    " k as (insert into complaintd.thread_keys as t (key, complaint_id) select key, complaint_id from tk order by key"
    "  on conflict (key) do update set key = excluded.key returning t.key, t.complaint_id),"
    " c as (insert into complaintd.complaint (id, ref, desk, desks, channel, category, priority, language, team, tags, policy, customer_id,"
    "       customer_name, customer_email, customer_phone, received_at, escalation_level, degraded, decision)"
    "  select n.id, n.ref, n.desk, n.desks::text[], n.said_channel, n.category, n.priority, n.language, n.team, n.tags::text[], n.policy,"
    "         coalesce(h.customer_id, n.customer_id), n.customer_name, n.customer_email, n.customer_phone, n.received_at, n.told_level, n.degraded,"
    "         n.decision"
    "  from n left join h on h.handle = n.handle where n.is_new and (select count(*) from k) >= 0),"
    " m as (insert into complaintd.messages (id, complaint_id, channel, desk, class, sender, recipients, subject, body, message_id,"
    "       in_reply_to, received_at, sent_at, raw, digest)"
    "  select id, complaint_id, channel, desk, class, sender, recipients::text[], subject, body, message_id, in_reply_to, received_at,"
    "         sent_at, raw, digest from n),"
    " e as (insert into complaintd.event (id, complaint_id, seq, at, actor, kind, data, prev_hash, hash)"
    "  select id, id, 1, received_at, actor, 'received', event, '', event_hash from n where is_new),"
    " t as (insert into complaintd.timers (complaint_id, next_at, policy, calendar, anchor_at, acknowledge_due, first_response_due,"
    "       resolve_due, steps, step_fired)"
    "  select n.id, n.next_at, n.policy, n.calendar, n.received_at, n.acknowledge_due, n.first_response_due, n.resolve_due, s.steps,"
    "         case when n.steps_fired > 0 then array_fill(n.received_at, array[n.steps_fired])"
    "           || array_fill(null::timestamptz, array[array_length(s.steps, 1) - n.steps_fired]) else '{}' end"
    "  from n cross join lateral (select n.steps::integer[] as steps) as s where n.is_new),"
    " o as (insert into complaintd.notifications (id, complaint_id, purpose, class, transport, recipient, language, state, created_at,"
    "       next_attempt_at, not_after, last_error, idempotency_key)"
    "  select n_id, id, 'acknowledgement', 'statutory', n_transport, n_recipient, language, n_state, received_at, received_at, n_not_after,"
    "         n_reason, 'ack.' || id from n where n_id is not null)"
    " select (select string_agg(id::text, ',') from r),"
    "  (extract(epoch from clock_timestamp() + (select clock_offset from complaintd.clock)) * 1000000)::bigint,"
    "  case when exists (select 1 from k join tk using (key) where k.complaint_id <> tk.complaint_id)"
    "    then complaintd.lost_race(1) end";

const struct pg_stmt *batch_sql_store(void)
{
    static struct pg_stmt stmt;
    if (stmt.sql)
        return &stmt;
    struct buf b;
    buf_init(&b, CD_KIB(64));
    buf_append_str(&b, "with i as materialized (select * from ");
    columns_unnest(&b);
    size_t next = columns_count() + 1;
    for (const char *p = store_tail; *p; p++) {
        if (p[0] == '$' && (p[1] == 'K' || p[1] == 'C' || p[1] == 'M')) {
            buf_printf(&b, "$%zu", next + (p[1] == 'C') + 2 * (p[1] == 'M'));
            p++;
        } else {
            buf_append_char(&b, *p);
        }
    }
    stmt.name = "store";
    stmt.sql = buf_steal(&b); /* for the life of the process */
    return &stmt;
}

/* Only for messages whose receipt is theirs: a duplicate that came meanwhile attaches nothing. */
const struct pg_stmt batch_sql_attach = {
    "attach",
    "select complaintd.attach_message(u.complaint, u.message, u.at, u.actor, u.kind, u.data::jsonb)"
    " from unnest($1::uuid[], $2::uuid[], $3::timestamptz[], $4::text[], $5::text[], $6::text[])"
    "   as u(complaint, message, at, actor, kind, data)"
    " join complaintd.messages m on m.id = u.message and m.complaint_id = u.complaint order by u.complaint, u.message"};

const struct pg_stmt batch_sql_attachments = {
    "attachments",
    "insert into complaintd.attachments (message_id, n, filename, content_type, encoding, raw_offset, raw_length, size_bytes, sha256, is_inline)"
    " select a.message, a.n, a.filename, a.type, a.encoding, a.at, a.length, a.size, decode(a.sha256, 'hex'), a.inline"
    " from unnest($1::text[]) as u(list) cross join lateral jsonb_to_recordset(u.list::jsonb) as a(message uuid, n integer, filename text,"
    "   type text, encoding text, at bigint, length bigint, size bigint, sha256 text, inline boolean)"
    " join complaintd.messages m on m.id = a.message on conflict do nothing"};

const struct pg_stmt batch_sql_told = {
    "told",
    "insert into complaintd.notifications (id, complaint_id, purpose, class, level, transport, recipient, language, payload, created_at,"
    "   next_attempt_at, not_after, idempotency_key)"
    " select t.id, c.id, t.purpose, t.class, t.level, t.transport, t.recipient, t.language, t.payload, c.received_at, c.received_at,"
    "   c.received_at + t.life, t.idempotency_key"
    " from unnest($1::uuid[], $2::text[]) as u(complaint, list) join complaintd.complaint c on c.id = u.complaint"
    " cross join lateral jsonb_to_recordset(u.list::jsonb) as t(id uuid, purpose text, class text, level integer, transport text,"
    "   recipient text, language text, payload jsonb, life interval, idempotency_key text) on conflict (id) do nothing"};

const struct pg_stmt batch_sql_links = {
    "links",
    "insert into complaintd.links (complaint_id, other_id, kind) select u.complaint, u.other, u.kind"
    " from unnest($1::uuid[], $2::uuid[], $3::text[]) as u(complaint, other, kind)"
    " join complaintd.complaint c on c.id = u.complaint on conflict do nothing"};

const struct pg_stmt batch_sql_unpend = {"unpend", "delete from complaintd.pending where id = any($1::uuid[])"};

const struct pg_stmt batch_sql_pending = {
    "pending",
    "with i as materialized (select * from unnest($1::bytea[], $2::uuid[], $3::text[], $4::text[], $5::bytea[], $6::timestamptz[], $7::text[],"
    "   $8::bytea[], $9::text[]) as i(ukey, id, channel, key, digest, received_at, desk, envelope, reason)),"
    " r as (insert into complaintd.receipts (ukey, id, channel, key, digest, received_at, outcome, desk)"
    "  select ukey, id, channel, key, digest, received_at, 'pending', desk from i order by ukey on conflict (ukey) do nothing returning id),"
    " p as (insert into complaintd.pending (id, envelope, received_at, next_attempt_at, reason)"
    "  select i.id, i.envelope, i.received_at, clock_timestamp() + interval '2 s', i.reason from i join r using (id))"
    " select (select string_agg(id::text, ',') from r), (extract(epoch from complaintd.now()) * 1000000)::bigint"};

/* A copy for another desk adds that desk to the complaint (design 5.5). */
const struct pg_stmt batch_sql_duplicates = {
    "duplicates",
    "with a as (update complaintd.complaint c set desks = c.desks || u.desks from"
    "  (select r.complaint_id, array_agg(distinct d.desk) as desks from unnest($1::bytea[], $2::text[]) as d(ukey, desk)"
    "   join complaintd.receipts r on r.ukey = d.ukey join complaintd.complaint k on k.id = r.complaint_id"
    "   where not d.desk = any(k.desks) group by r.complaint_id) as u where c.id = u.complaint_id)"
    " select encode(r.ukey, 'hex'), r.id, r.outcome, encode(r.digest, 'hex'), c.ref, c.category, c.priority, c.team,"
    "  (extract(epoch from t.first_response_due) * 1000000)::bigint"
    " from complaintd.receipts r left join complaintd.complaint c on c.id = r.complaint_id"
    " left join complaintd.timers t on t.complaint_id = c.id where r.ukey = any($1::bytea[])"};
