-- The base: what a complaint is made of. Runs inside one transaction, after the schema "complaintd" and its table of
-- migrations exist. No foreign keys on purpose: they cost a quarter of the intake rate; schema/invariants.sql checks instead. Nor are words
-- checked by constraints: those are parsed anew by every statement that writes, a tenth of a small batch.

-- Service time: the database's clock, plus an offset that only a sandbox may have.
create table complaintd.clock (
    one boolean primary key default true check (one),
    sandbox boolean not null default false,
    clock_offset interval not null default '0',
    check (sandbox or clock_offset = '0')
);
insert into complaintd.clock default values;

create function complaintd.now() returns timestamptz language sql stable as
$$ select clock_timestamp() + clock_offset from complaintd.clock $$;

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

-- Accepted, but not yet triaged: the envelope as the front had it.
create table complaintd.pending (
    id uuid primary key,
    envelope bytea not null,
    received_at timestamptz not null,
    recorded_at timestamptz not null default clock_timestamp(),
    attempts integer not null default 0,
    next_attempt_at timestamptz not null,
    reason text not null
) with (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 1000, toast.autovacuum_vacuum_scale_factor = 0,
        toast.autovacuum_vacuum_threshold = 1000);
alter table complaintd.pending alter column envelope set compression lz4;
create index pending_next on complaintd.pending (next_attempt_at);

create table complaintd.customers (
    id uuid primary key,
    name text,
    emails text[] not null default '{}',
    phones text[] not null default '{}',
    language text,
    flags text[] not null default '{}',
    created_at timestamptz not null default clock_timestamp()
);

-- "mail:…", "tel:…" or "ext:client:…": each belongs to one customer.
create table complaintd.customer_handles (
    handle text primary key,
    customer_id uuid not null
);

-- Message-IDs seen in or mentioned by the mails of a complaint (digests, daemon/intake/keys.c).
create table complaintd.thread_keys (
    key bytea primary key,
    complaint_id uuid not null
);

-- The complaint itself. Its id is the id of the envelope and of the message that opened it; subject and body stand there.
create table complaintd.complaint (
    id uuid primary key,
    ref text not null unique,
    desk text not null,
    desks text[] not null,
    channel text not null,
    status text not null default 'new', -- new open waiting resolved closed
    outcome text, -- upheld partly-upheld rejected withdrawn not-a-complaint duplicate
    category text not null,
    priority text not null, -- critical high normal low
    language text,
    region text,
    team text not null,
    assignee text,
    tags text[] not null default '{}',
    policy text,
    customer_id uuid,
    customer_name text,
    customer_email text,
    customer_phone text,
    received_at timestamptz not null,
    recorded_at timestamptz not null default clock_timestamp(),
    acknowledged_at timestamptz,
    responded_at timestamptz,
    resolved_at timestamptz,
    closed_at timestamptz,
    acked_at timestamptz,
    acked_by text,
    escalation_level integer not null default 0,
    degraded boolean not null default false,
    duplicate_of uuid,
    merged_into uuid,
    first_id uuid, -- of its messages, when it is older than the complaint; kept by attach_message
    cause text compression lz4,
    remedy text compression lz4,
    satisfaction integer,
    decision text not null -- JSON; read by people, so it is parsed when it is read (view complaints)
) with (fillfactor = 85);
alter table complaintd.complaint alter column decision set compression lz4;
create index complaint_open on complaintd.complaint (received_at) where status <> 'closed';

-- References that were given and now lead elsewhere (merge, split). They resolve for ever.
create table complaintd.ref_aliases (
    ref text primary key,
    complaint_id uuid not null
);

create table complaintd.links (
    complaint_id uuid not null,
    other_id uuid not null,
    kind text not null,
    evidence jsonb not null default '{}',
    at timestamptz not null default clock_timestamp(),
    primary key (complaint_id, other_id, kind)
);

-- A month of ids a partition (see make_partitions). A message's id is made when it arrives, its complaint's id is that of the message that
-- opened it; so the messages of a complaint are usually not older than it, and complaint.first_id says where that is not so. Who looks
-- for the messages of a complaint says `m.id >= coalesce(c.first_id, c.id)` as well, or every partition is searched.
create table complaintd.messages (
    id uuid primary key,
    complaint_id uuid,
    direction text not null default 'in', -- in out
    channel text not null,
    desk text,
    class text not null default 'person',
    sender text,
    recipients text[] not null default '{}',
    subject text compression lz4,
    body text compression lz4,
    text_new text compression lz4,
    text_quoted text compression lz4,
    message_id text,
    in_reply_to text,
    received_at timestamptz not null,
    sent_at timestamptz,
    raw bytea,
    digest bytea
) partition by range (id);
alter table complaintd.messages alter column raw set storage external;
create index messages_complaint on complaintd.messages (complaint_id);

-- Places in messages.raw, not copies.
create table complaintd.attachments (
    id uuid not null default gen_random_uuid(),
    message_id uuid not null,
    n integer not null,
    filename text not null,
    content_type text not null,
    encoding text not null,
    raw_offset bigint not null,
    raw_length bigint not null,
    size_bytes bigint not null,
    sha256 bytea not null,
    is_inline boolean not null default false,
    primary key (message_id, n)
);

-- Append-only; see complaintd.add_event. No personal data in it, only ids, codes and digests. `data` is kept as the very text that was
-- hashed (view events shows it as jsonb).
create table complaintd.event (
    id uuid not null,
    complaint_id uuid not null,
    seq integer not null,
    at timestamptz not null,
    actor text not null,
    kind text not null,
    data text compression lz4 not null,
    prev_hash bytea not null,
    hash bytea not null,
    primary key (complaint_id, seq)
) partition by range (complaint_id);

-- ---- partitions ----

-- The smallest UUIDv7 of a moment.
create function complaintd.uuid_at(at timestamptz) returns uuid language sql immutable as
$$ select (lpad(to_hex((extract(epoch from at) * 1000)::bigint), 12, '0') || repeat('0', 20))::uuid $$;

-- The moment in a UUIDv7, in milliseconds.
create function complaintd.uuid_time(id uuid) returns timestamptz language sql immutable as
$$ select to_timestamp(('x' || translate(left(id::text, 13), '-', ''))::bit(48)::bigint / 1000.0) $$;

-- Texts, arrays and digests that no plan depends on are left out of statistics: to sample and sort them cost autovacuum's ANALYZE half a
-- second of CPU a minute under load, which the slowest hundredth of the mails waited for.
-- Likewise a table that only grows is vacuumed for its visibility map alone, which can wait until there is a million more.
create function complaintd.spare_autovacuum(p_table text) returns void language plpgsql set search_path = pg_catalog, pg_temp as $$
declare
    v_column text;
begin
    execute format('alter table complaintd.%I set (autovacuum_vacuum_insert_threshold = 1000000, autovacuum_analyze_threshold = 200000)', p_table);
    for v_column in select attname from pg_attribute where attrelid = to_regclass(format('complaintd.%I', p_table)) and attname in
        ('raw', 'digest', 'body', 'text_new', 'text_quoted', 'subject', 'message_id', 'in_reply_to', 'recipients', 'data', 'hash', 'prev_hash',
         'decision', 'desks', 'tags', 'steps', 'step_fired', 'step_stopped', 'step_reason', 'payload', 'idempotency_key', 'last_error',
         'recipient', 'envelope', 'key') and not attisdropped loop
        execute format('alter table complaintd.%I alter column %I set statistics 0', p_table, v_column);
    end loop;
end $$;

-- The partition of a table for a month (UTC), made beside the table and attached, so that writers are not held up. What the default
-- partition has of that month moves along, up to p_most rows; false: it has more, and nothing was done.
create function complaintd.make_partition(p_table text, p_key text, p_month timestamp, p_most integer) returns boolean language plpgsql
set search_path = pg_catalog, pg_temp as $$
declare
    v_name text := p_table || to_char(p_month, '"_"YYYY"_"MM');
    v_low uuid := complaintd.uuid_at(p_month at time zone 'UTC');
    v_high uuid := complaintd.uuid_at((p_month + interval '1 month') at time zone 'UTC');
    v_stray integer;
begin
    execute format('select count(*) from (select from complaintd.%I where %I >= %L and %I < %L limit %s) x', p_table || '_default',
                   p_key, v_low, p_key, v_high, p_most::bigint + 1) into v_stray;
    if v_stray > p_most then
        return false;
    end if;
    execute format('create table complaintd.%I (like complaintd.%I including defaults including storage including compression '
                   'including constraints) %s', v_name, p_table,
                   case p_table when 'messages' then 'with (toast_tuple_target = 4080)' end); -- a mail of usual size stays in its row
    perform complaintd.spare_autovacuum(v_name);
    if v_stray > 0 then
        execute format('lock table complaintd.%I in access exclusive mode', p_table || '_default');
        execute format('with x as (delete from complaintd.%I where %I >= %L and %I < %L returning *)'
                       ' insert into complaintd.%I select * from x', p_table || '_default', p_key, v_low, p_key, v_high, v_name);
    end if;
    execute format('alter table complaintd.%I attach partition complaintd.%I for values from (%L) to (%L)', p_table, v_name, v_low, v_high);
    return true;
end $$;

-- Makes what is missing: the months from the one before this (instances' clocks differ) to `ahead` months after it, and those in
-- which the default partitions have rows (their ids were made by a clock that was wrong, or nobody made partitions for long), unless
-- these are in the future. Never waits long for a lock: what it cannot have is left to the next call. made: partitions made; left_over:
-- rows in the default partitions, counted up to 10000 each; missing: months that could not be made.
create function complaintd.make_partitions(ahead integer, most integer default 10000, out made integer, out left_over bigint,
                                           out missing integer)
language plpgsql set search_path = pg_catalog, pg_temp as $$
declare
    v_this timestamp := date_trunc('month', clock_timestamp() at time zone 'UTC');
    v_month timestamp;
    v_table text;
    v_key text;
begin
    made := 0;
    missing := 0;
    perform pg_advisory_xact_lock(78, 1); -- instances, one after the other
    perform set_config('lock_timeout', '200ms', true);
    for v_table, v_key in values ('messages', 'id'), ('event', 'complaint_id') loop
        for v_month in execute format(
            'select m from generate_series($1 - interval ''1 month'', $1 + $2 * interval ''1 month'', interval ''1 month'') m
             union select m from (select distinct date_trunc(''month'', complaintd.uuid_time(%I) at time zone ''UTC'') as m
                                  from (select %I from complaintd.%I limit 10000) d) x
             where m >= ''2020-01-01'' and m <= $1 order by 1', v_key, v_key, v_table || '_default') using v_this, ahead loop
            continue when to_regclass(format('complaintd.%I', v_table || to_char(v_month, '"_"YYYY"_"MM'))) is not null;
            begin
                if complaintd.make_partition(v_table, v_key, v_month, most) then
                    made := made + 1;
                else
                    missing := missing + 1;
                end if;
            exception when lock_not_available or check_violation then -- or a row came into the default partition meanwhile
                missing := missing + 1;
            end;
        end loop;
    end loop;
    select (select count(*) from (select from complaintd.messages_default limit 10000) m)
         + (select count(*) from (select from complaintd.event_default limit 10000) e) into left_over;
end $$;

create table complaintd.messages_default partition of complaintd.messages default with (toast_tuple_target = 4080);
create table complaintd.event_default partition of complaintd.event default;
select complaintd.make_partitions(2);

create view complaintd.events as
    select id, complaint_id, seq, at, actor, kind, data::jsonb as data, prev_hash, hash from complaintd.event;

-- The chain: SHA-256 over previous hash, id, seq (4 bytes), time in microseconds since 1970 (8 bytes), actor, a zero byte, kind, a zero
-- byte, SHA-256 of data's text. The front computes the same for first events (daemon/store/event_hash.c).
create function complaintd.event_hash(prev bytea, event_id uuid, event_seq integer, event_at timestamptz, event_actor text,
                                      event_kind text, event_data text) returns bytea language sql immutable as
$$ select sha256(prev || uuid_send(event_id) || int4send(event_seq)
                 || int8send((extract(epoch from event_at) * 1000000)::bigint)
                 || convert_to(event_actor, 'UTF8') || '\x00'::bytea || convert_to(event_kind, 'UTF8') || '\x00'::bytea
                 || sha256(convert_to(event_data, 'UTF8'))) $$;

-- The one way to write an event on a complaint that exists: locks it and continues its chain. An event id that the chain
-- already holds is not written again (a replayed commit); returns whether it was written.
create function complaintd.add_event(p_complaint uuid, p_actor text, p_kind text, p_data jsonb,
                                     p_id uuid default gen_random_uuid(), p_at timestamptz default null)
returns boolean language plpgsql as $$
declare
    last_seq integer;
    last_hash bytea;
    at timestamptz := coalesce(p_at, complaintd.now());
begin
    perform 1 from complaintd.complaint where id = p_complaint for no key update;
    if not found then
        raise exception 'no such complaint' using errcode = 'CD404';
    end if;
    if exists (select 1 from complaintd.event where complaint_id = p_complaint and id = p_id) then
        return false;
    end if;
    select e.seq, e.hash into last_seq, last_hash from complaintd.event e
        where e.complaint_id = p_complaint order by e.seq desc limit 1;
    last_seq := coalesce(last_seq, 0) + 1;
    last_hash := coalesce(last_hash, '\x'::bytea);
    insert into complaintd.event values (p_id, p_complaint, last_seq, at, p_actor, p_kind, p_data::text, last_hash,
        complaintd.event_hash(last_hash, p_id, last_seq, at, p_actor, p_kind, p_data::text));
    return true;
end $$;

-- One row a complaint with all its due times: service targets and the steps of its ladder, expanded with their repeats and sorted by
-- time. steps: one row of four a step: seconds after anchor_at, level, repeat, and bits of what ends it (1 ack, 2 assignment, 4 reply,
-- 8 resolution). next_at: the next step not yet fired or stopped.
create table complaintd.timers (
    complaint_id uuid primary key,
    next_at timestamptz,
    policy text not null,
    calendar text not null,
    anchor_at timestamptz not null,
    acknowledge_due timestamptz,
    first_response_due timestamptz,
    resolve_due timestamptz,
    cycle integer not null default 0, -- how often the ladder began anew
    steps integer[] not null default '{}',
    step_fired timestamptz[] not null default '{}',
    step_stopped timestamptz[] not null default '{}',
    step_reason text[] not null default '{}'
) with (fillfactor = 80, autovacuum_vacuum_scale_factor = 0.02);
create index timers_next on complaintd.timers (next_at) where next_at is not null;

create function complaintd.timer_steps(t complaintd.timers)
returns table (n integer, due_at timestamptz, level integer, repeat integer, stops integer, fired_at timestamptz, stopped_at timestamptz,
               reason text) language sql immutable as
$$ select i, t.anchor_at + t.steps[i][1] * interval '1 second', t.steps[i][2], t.steps[i][3], t.steps[i][4], t.step_fired[i], t.step_stopped[i],
          t.step_reason[i] from generate_subscripts(t.steps, 1) as i $$;

create function complaintd.timer_next(t complaintd.timers) returns timestamptz language sql immutable as
$$ select min(s.due_at) from complaintd.timer_steps(t) as s where s.fired_at is null and s.stopped_at is null $$;

-- An array with a place for every step; the row is written with fewer, and a first assignment in the middle of an empty array would
-- shift it.
create function complaintd.places(given anyarray, n integer) returns anyarray language sql immutable as
$$ select case when coalesce(cardinality(given), 0) = n then given else array_cat(given, array_fill(given[0], array[n - cardinality(given)])) end $$;

-- Ends the steps that p_what ends; returns how many.
create function complaintd.stop_steps(p_complaint uuid, p_what integer, p_reason text) returns integer language plpgsql as $$
declare
    t complaintd.timers;
    stopped integer := 0;
begin
    select * into t from complaintd.timers where complaint_id = p_complaint for update;
    if not found then
        return 0;
    end if;
    t.step_stopped := complaintd.places(t.step_stopped, coalesce(array_length(t.steps, 1), 0));
    t.step_reason := complaintd.places(t.step_reason, coalesce(array_length(t.steps, 1), 0));
    for i in 1 .. coalesce(array_length(t.steps, 1), 0) loop
        if t.step_fired[i] is null and t.step_stopped[i] is null and t.steps[i][4] & p_what <> 0 then
            t.step_stopped[i] := complaintd.now();
            t.step_reason[i] := p_reason;
            stopped := stopped + 1;
        end if;
    end loop;
    if stopped > 0 then
        update complaintd.timers set step_stopped = t.step_stopped, step_reason = t.step_reason,
            next_at = complaintd.timer_next(t) where complaint_id = p_complaint;
    end if;
    return stopped;
end $$;

-- The outbox. Claimed with FOR UPDATE SKIP LOCKED; lease_until is real time, next_attempt_at and not_after service time.
create table complaintd.notifications (
    id uuid primary key,
    complaint_id uuid not null,
    purpose text not null,
    class text not null, -- statutory operational courtesy
    level integer,
    transport text not null,
    recipient text not null,
    language text,
    payload jsonb compression lz4,
    state text not null default 'pending', -- pending sending sent delivered failed unknown suppressed expired dead
    attempts integer not null default 0,
    created_at timestamptz not null,
    next_attempt_at timestamptz,
    lease_until timestamptz,
    leased_by text,
    sent_at timestamptz,
    delivered_at timestamptz,
    not_after timestamptz,
    last_error text compression lz4,
    idempotency_key text not null
) with (fillfactor = 70, autovacuum_vacuum_scale_factor = 0.02);
create index notifications_due on complaintd.notifications (next_attempt_at) where state in ('pending', 'unknown');
create index notifications_leased on complaintd.notifications (lease_until) where state = 'sending';
create index notifications_complaint on complaintd.notifications (complaint_id);

-- A complaint that is taken up again is owed an answer anew: its targets and its ladder count from now, with the lengths they had.
create function complaintd.restart_timers(p_complaint uuid) returns void language sql as
$$ update complaintd.timers t set cycle = t.cycle + 1, anchor_at = n.at, acknowledge_due = null,
       first_response_due = t.first_response_due + (n.at - t.anchor_at), resolve_due = t.resolve_due + (n.at - t.anchor_at),
       step_fired = '{}', step_stopped = '{}', step_reason = '{}',
       next_at = n.at + (select min(t.steps[i][1]) from generate_subscripts(t.steps, 1) as i) * interval '1 second'
   from (select complaintd.now() as at) as n where t.complaint_id = p_complaint $$;

-- A further message of a complaint (or an automatic one that belongs to it): event, and what a customer's message changes.
create function complaintd.attach_message(p_complaint uuid, p_message uuid, p_at timestamptz, p_actor text, p_kind text,
                                          p_data jsonb) returns void language plpgsql as $$
begin
    perform 1 from complaintd.timers where complaint_id = p_complaint for update; -- before the complaint, as everywhere
    if not complaintd.add_event(p_complaint, p_actor, p_kind, p_data, p_message, p_at) then
        return;
    end if;
    if p_message < p_complaint then -- it waited in pending, or in another instance, while a later one was stored
        update complaintd.complaint set first_id = p_message where id = p_complaint and p_message < coalesce(first_id, id);
    end if;
    if p_kind = 'message-received' then
        update complaintd.complaint set status = 'open' where id = p_complaint and status = 'waiting';
        update complaintd.complaint set status = 'open', outcome = null, cause = null, remedy = null, resolved_at = null, closed_at = null,
            acked_at = null, acked_by = null
            where id = p_complaint and status in ('resolved', 'closed');
        if found then
            perform complaintd.add_event(p_complaint, p_actor, 'reopened', jsonb_build_object('message', p_message));
            perform complaintd.restart_timers(p_complaint);
        end if;
    end if;
end $$;

-- A batch may find that another instance claimed a thread key since the look-up: the whole batch is given up and decided anew.
create function complaintd.lost_race(p_count bigint) returns void language plpgsql as $$
begin
    if p_count > 0 then
        raise exception 'thread key claimed meanwhile' using errcode = 'CD001';
    end if;
end $$;

-- Due steps of a ladder: marks them, writes what they tell, all or nothing. p_positions: places in steps. The caller holds the row
-- (scheduler.c), so the steps are still as it read them; one that is not is a fault of ours and raises.
create function complaintd.fire_steps(p_complaint uuid, p_positions integer[], p_level integer, p_data jsonb, p_notifications jsonb)
returns void language plpgsql as $$
declare
    t complaintd.timers;
    p integer;
    now_at timestamptz := complaintd.now();
begin
    select * into t from complaintd.timers where complaint_id = p_complaint for update;
    t.step_fired := complaintd.places(t.step_fired, coalesce(array_length(t.steps, 1), 0));
    foreach p in array p_positions loop
        if t.step_fired[p] is not null or t.step_stopped[p] is not null then
            raise exception 'step % fired or stopped before', p using errcode = 'CD409';
        end if;
        t.step_fired[p] := now_at;
    end loop;
    update complaintd.timers set step_fired = t.step_fired,
        next_at = complaintd.timer_next(t) where complaint_id = p_complaint;
    perform complaintd.add_event(p_complaint, 'escalation', 'escalated', p_data);
    update complaintd.complaint set escalation_level = greatest(escalation_level, p_level) where id = p_complaint;
    insert into complaintd.notifications (id, complaint_id, purpose, class, level, transport, recipient, language, payload,
                                          created_at, next_attempt_at, not_after, idempotency_key)
        select n.id, p_complaint, n.purpose, n.class, n.level, n.transport, n.recipient, n.language, n.payload, now_at, now_at,
               now_at + n.life, n.idempotency_key
        from jsonb_to_recordset(p_notifications) as n(id uuid, purpose text, class text, level integer, transport text,
             recipient text, language text, payload jsonb, life interval, idempotency_key text);
end $$;

-- The outcome of one attempt to send, of the sender that holds the row. p_again: when to try again, null for never.
create function complaintd.notification_outcome(p_id uuid, p_by text, p_attempt integer, p_state text, p_error text, p_again interval)
returns void language plpgsql as $$
declare
    n complaintd.notifications;
begin
    select * into n from complaintd.notifications where id = p_id for update; -- by id alone: the planner would walk all that are 'sending'
    if not found or n.state <> 'sending' or n.leased_by is distinct from p_by or n.attempts <> p_attempt then
        return;
    end if;
    n.sent_at := case when p_state = 'sent' then complaintd.now() else n.sent_at end;
    update complaintd.notifications set state = p_state, last_error = p_error, lease_until = null, leased_by = null,
        next_attempt_at = case when p_again is null then next_attempt_at else complaintd.now() + p_again end,
        sent_at = n.sent_at where id = p_id;
    if p_state = 'sent' and n.purpose = 'acknowledgement' then
        update complaintd.complaint set acknowledged_at = n.sent_at where id = n.complaint_id and acknowledged_at is null;
    end if;
    if p_state in ('sent', 'failed', 'dead', 'expired') then
        perform complaintd.add_event(n.complaint_id, 'notify', 'notification-' || p_state,
            jsonb_strip_nulls(jsonb_build_object('notification', n.id, 'purpose', n.purpose, 'transport', n.transport,
                                                 'level', n.level, 'attempts', n.attempts)));
    end if;
end $$;

-- Who has a say in a complaint, as a JSON array: the addresses and numbers of its customer and the senders of its messages. A function of
-- its own, so that a look-up that finds no complaint does not open the partitions of messages for nothing.
create function complaintd.participants(c complaintd.complaint) returns json language plpgsql stable as $$
begin
    return (select json_agg(distinct p.who) from (
        select c.customer_email as who union all select c.customer_phone
        union all select m.sender from complaintd.messages m where m.complaint_id = c.id and m.id >= coalesce(c.first_id, c.id)
            and m.direction = 'in' and m.class = 'person'
        union all select unnest(u.emails || u.phones) from complaintd.customers u where u.id = c.customer_id) p where p.who is not null);
end $$;

-- What everybody reads.
select complaintd.spare_autovacuum(t) from (values ('receipts'), ('pending'), ('thread_keys'), ('complaint'), ('messages_default'), ('event_default'),
    ('timers'), ('notifications')) as x(t);

create view complaintd.complaints as
    select c.id, c.ref, c.desk, c.channel, c.status, c.outcome, c.category, c.priority, c.language, c.region, c.team, c.assignee,
           c.tags, c.policy, c.customer_id, c.customer_name, c.customer_email, c.customer_phone, m.subject, m.body,
           c.received_at, c.recorded_at, c.acknowledged_at, c.responded_at, c.resolved_at, c.closed_at, c.acked_at, c.acked_by,
           c.escalation_level, c.degraded, c.duplicate_of, c.merged_into, c.cause, c.remedy, c.satisfaction, c.decision::jsonb as decision, c.desks
    from complaintd.complaint c left join complaintd.messages m on m.id = c.id;

create view complaintd.deadlines as
    select t.complaint_id, d.kind, 1 as n, 'service'::text as family, d.due_at, null::timestamptz as warned_at, d.met_at,
           case when coalesce(d.met_at, complaintd.now()) > d.due_at then d.due_at end as breached_at,
           null::timestamptz as cancelled_at, t.policy, t.calendar,
           jsonb_build_object('anchor', 'receipt', 'anchor_at', t.anchor_at, 'target', (d.due_at - t.anchor_at)::text,
                              'calendar', t.calendar, 'counted', jsonb_build_array(jsonb_build_array(t.anchor_at, d.due_at)))
               as explanation
    from complaintd.timers t
    join complaintd.complaint c on c.id = t.complaint_id
    cross join lateral (values ('acknowledge', t.acknowledge_due, c.acknowledged_at),
                               ('first-response', t.first_response_due, coalesce(c.responded_at, c.resolved_at)),
                               ('resolve', t.resolve_due, c.resolved_at)) as d(kind, due_at, met_at)
    where d.due_at is not null;

create view complaintd.steps as
    select t.complaint_id, t.policy, s.level, s.due_at, s.fired_at, s.stopped_at, s.reason as stop_reason, s.repeat
    from complaintd.timers t cross join lateral complaintd.timer_steps(t) as s;

do $$ begin
    create role complaintd_reader nologin;
exception when duplicate_object or insufficient_privilege then null;
end $$;
do $$ begin
    grant usage on schema complaintd to complaintd_reader;
    grant select on complaintd.complaints, complaintd.messages, complaintd.attachments, complaintd.customers, complaintd.events,
        complaintd.deadlines, complaintd.steps, complaintd.notifications, complaintd.receipts to complaintd_reader;
exception when undefined_object then
    raise warning 'the role complaintd_reader is missing: create it as a superuser, then grant it select on the relations of docs';
end $$;
