-- What came in: the ledger, what waits to be read, whose it is, and the names by which mails find each other.

-- The ledger: one row for everything that was answered with "accepted". ukey is a digest over channel and key (for mail over
-- the content as well), made by daemon/intake/keys.c.
create table complaintd.receipts (
    ukey bytea primary key,
    id uuid not null,
    channel text not null,
    key text not null,
    digest bytea not null,
    received_at timestamptz not null,
    recorded_at timestamptz not null default clock_timestamp(),
    outcome text not null,
    desk text not null,
    complaint_id uuid
);
-- For SPLIT, which moves the receipt of a message: nothing else asks by time, and this costs intake next to nothing.
create index receipts_received on complaintd.receipts using brin (received_at);
select complaintd.spare_autovacuum('receipts');

-- ---- what waits ----

-- Accepted, but not yet triaged: the envelope as the front had it.
create table complaintd.pending (
    id uuid primary key,
    envelope bytea compression lz4 not null,
    received_at timestamptz not null,
    recorded_at timestamptz not null default clock_timestamp(),
    attempts integer not null default 0,
    next_attempt_at timestamptz not null,
    reason text not null
) with (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 1000, toast.autovacuum_vacuum_scale_factor = 0,
        toast.autovacuum_vacuum_threshold = 1000);
create index pending_next on complaintd.pending (next_attempt_at);
select complaintd.spare_autovacuum('pending');

-- PENDING: accepted, and not looked at yet. p_retry, p_all: now instead of when its turn comes.
create function complaintd.api_pending(p_retry uuid, p_all boolean, p_limit integer, p_after uuid) returns setof jsonb language plpgsql
set search_path = pg_catalog, pg_temp set timezone = 'UTC' as $$
declare
    v_rows bigint;
begin
    if p_retry is null and p_all is not true then
        return query select jsonb_build_object('id', p.id, 'received_at', p.received_at, 'bytes', octet_length(p.envelope), 'attempts', p.attempts,
                                               'next_attempt_at', p.next_attempt_at, 'reason', p.reason)
            from complaintd.pending p where p_after is null or p.id < p_after order by p.id desc limit coalesce(p_limit, 50);
        return;
    end if;
    update complaintd.pending p set next_attempt_at = clock_timestamp()
        where (p_retry is null or p.id = p_retry) and p.next_attempt_at > clock_timestamp();
    get diagnostics v_rows = row_count;
    if p_retry is not null and v_rows = 0 and not exists (select from complaintd.pending p where p.id = p_retry) then
        raise exception 'nothing that waits has the id %', p_retry using errcode = 'CD404';
    end if;
    return next jsonb_build_object('hastened', v_rows);
end $$;

-- ---- customers ----

create table complaintd.customers (
    id uuid primary key,
    name text,
    emails text[] not null default '{}',
    phones text[] not null default '{}',
    language text,
    flags text[] not null default '{}',
    created_at timestamptz not null default clock_timestamp()
);
create index customers_flagged on complaintd.customers (id) where flags <> '{}'; -- nobody has one when intake writes them

-- "mail:…", "tel:…" or "ext:client:…": each belongs to one customer.
create table complaintd.customer_handles (
    handle text primary key,
    customer_id uuid not null
);
-- For api_handles: the other handles are among what is known of the customer, and need no index that intake would have to write.
create index customer_handles_external on complaintd.customer_handles (customer_id) where handle like 'ext:%';

-- The customer of a handle; a new one with p_id where nobody has it.
create function complaintd.customer_of(p_handle text, p_id uuid, p_name text, p_email text, p_phone text, p_language text) returns uuid language plpgsql
set search_path = pg_catalog, pg_temp as $$
declare
    v_id uuid;
begin
    insert into complaintd.customer_handles values (p_handle, p_id) on conflict do nothing;
    select h.customer_id into v_id from complaintd.customer_handles h where h.handle = p_handle;
    if v_id = p_id then
        insert into complaintd.customers (id, name, emails, phones, language)
            values (p_id, p_name, array_remove(array[p_email], null), array_remove(array[p_phone], null), p_language);
    end if;
    return v_id;
end $$;

-- ---- thread keys ----

-- Message-IDs seen in or mentioned by the mails of a complaint (digests, daemon/intake/keys.c).
create table complaintd.thread_keys (
    key bytea primary key,
    complaint_id uuid not null
);
select complaintd.spare_autovacuum('thread_keys');

-- A batch may find that another instance claimed a thread key since the look-up: the whole batch is given up and decided anew.
create function complaintd.lost_race(p_count bigint) returns void language plpgsql as $$
begin
    if p_count > 0 then
        raise exception 'thread key claimed meanwhile' using errcode = 'CD001';
    end if;
end $$;
