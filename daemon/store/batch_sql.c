/* Statements that only some batches have. Each stands in the transaction behind the plain inserts of tables.c; what it finds changed
 * since the look-up raises, so that the whole transaction is given up and decided anew. */
#include "daemon/store/batch_sql.h"

#include "daemon/store/tables.h"

/* Only the one whose receipt still is pending under this id may settle it: two instances may both have claimed the envelope. */
const struct pg_stmt batch_sql_settle = {
    "settle",
    "with i as (select * from unnest($1::bytea[], $2::uuid[], $3::text[], $4::uuid[]) as i(ukey, id, outcome, complaint)),"
    " d as (delete from complaintd.pending where id = any($2)),"
    " u as (update complaintd.receipts r set outcome = i.outcome, complaint_id = i.complaint from i"
    "   where r.ukey = i.ukey and r.id = i.id and r.outcome = 'pending' returning 1)"
    " select complaintd.lost_race(1) where (select count(*) from u) <> cardinality($2)"};

const struct pg_stmt batch_sql_attach = {
    "attach",
    "select complaintd.attach_message(u.complaint, u.message, u.at, u.actor, u.kind, u.data::jsonb)"
    " from unnest($1::uuid[], $2::uuid[], $3::timestamptz[], $4::text[], $5::text[], $6::text[])"
    "   as u(complaint, message, at, actor, kind, data) order by u.complaint, u.message"};

/* In the order of the notifications, as their senders record outcomes (outbox.c). */
const struct pg_stmt batch_sql_bounces = {
    "bounces",
    "select complaintd.bounce_received(u.notification, u.complaint, u.message, u.at, u.actor, u.kind, u.data::jsonb, u.report::jsonb,"
    "   u.tasks::jsonb, make_interval(secs => u.delay / 1000.0))"
    " from unnest($1::uuid[], $2::uuid[], $3::uuid[], $4::timestamptz[], $5::text[], $6::text[], $7::text[], $8::text[], $9::text[], $10::integer[])"
    "   as u(notification, complaint, message, at, actor, kind, data, report, tasks, delay) order by u.notification, u.message"};

const struct pg_stmt batch_sql_automatic = {
    "automatic", "select complaintd.automatic_seen($1::integer, $2::integer, make_interval(secs => $3::double precision))"};

/* A bucket that a day empties; the first answer of a customer is not in it (they are unknown then). */
const struct pg_stmt batch_sql_answered = {
    "answered",
    "insert into complaintd.addresses as a (address, answers, answered_at)"
    " select u.address, u.n, (select complaintd.now()) from unnest($1::text[], $2::integer[]) as u(address, n)"
    " on conflict (address) do update set answers = greatest(0, a.answers - $3::integer * extract(epoch from excluded.answered_at"
    "   - greatest(a.answered_at, excluded.answered_at - interval '1 day')) / 86400.0) + excluded.answers, answered_at = excluded.answered_at"};

const struct pg_stmt batch_sql_reached = {
    "reached", "update complaintd.addresses set state = null where address = any($1::text[]) and state is not null"};

const struct pg_stmt batch_sql_attachments = {
    "attachments",
    "insert into complaintd.attachments (message_id, n, filename, content_type, encoding, raw_offset, raw_length, size_bytes, sha256, is_inline,"
    "   kind, magic_type, content_id, member)"
    " select a.message, a.n, a.filename, a.type, a.encoding, a.at, a.length, a.size, decode(a.sha256, 'hex'), a.inline,"
    "   a.kind, a.magic, a.cid, a.member"
    " from unnest($1::text[]) as u(list) cross join lateral jsonb_to_recordset(u.list::jsonb) as a(message uuid, n integer, filename text,"
    "   type text, encoding text, at bigint, length bigint, size bigint, sha256 text, inline boolean,"
    "   kind text, magic text, cid text, member text)"};

/* The other complaint may have been on its way in a transaction that failed meanwhile. */
const struct pg_stmt batch_sql_links = {
    "links",
    "with i as materialized (select * from unnest($1::uuid[], $2::uuid[], $3::text[]) as u(complaint, other, kind)),"
    " n as (insert into complaintd.links (complaint_id, other_id, kind) select i.complaint, i.other, i.kind from i order by 1, 2, 3"
    "   on conflict do nothing)"
    " select complaintd.lost_race(count(*)) from i where not exists (select from complaintd.complaint c where c.id = i.other)"};

/* A copy for another desk adds that desk to the complaint, or to what that was merged into (design 5.5). */
const struct pg_stmt batch_sql_known = {
    "known",
    "with a as (update complaintd.complaint c set desks = c.desks || u.desks from"
    "  (select k.id, array_agg(distinct d.desk) as desks from unnest($1::bytea[], $2::text[]) as d(ukey, desk)"
    "   join complaintd.receipts r on r.ukey = d.ukey join complaintd.complaint g on g.id = r.complaint_id"
    "   join complaintd.complaint k on k.id = coalesce(g.merged_into, g.id)"
    "   where not d.desk = any(k.desks) group by k.id) as u where c.id = u.id)"
    " select encode(r.ukey, 'hex'), r.id, r.outcome, encode(r.digest, 'hex'), c.ref, c.category, c.priority, c.team,"
    "  (extract(epoch from t.first_response_due) * 1000000)::bigint, r.desk"
    " from complaintd.receipts r left join complaintd.complaint c on c.id = r.complaint_id"
    " left join complaintd.timers t on t.complaint_id = c.id where r.ukey = any($1::bytea[]) for key share of r"};

const struct pg_stmt batch_sql_time = {
    "time", "select (extract(epoch from clock_timestamp() + (select clock_offset from complaintd.clock)) * 1000000)::bigint"};

const struct pg_stmt *const *batch_sql_all(void)
{
    static const struct pg_stmt *const others[] = {&batch_sql_settle, &batch_sql_attach, &batch_sql_attachments,
                                                   &batch_sql_links,  &batch_sql_known,  &batch_sql_time,
                                                   &batch_sql_bounces, &batch_sql_automatic, &batch_sql_answered, &batch_sql_reached};
    static const struct pg_stmt *all[TABLE_STATEMENTS + ARRAY_LEN(others) + 1];
    for (size_t i = 0; i < TABLE_STATEMENTS; i++)
        all[i] = table_statement(i);
    for (size_t i = 0; i < ARRAY_LEN(others); i++)
        all[TABLE_STATEMENTS + i] = others[i];
    return all;
}
