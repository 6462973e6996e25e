-- The base: what a complaint is made of. Runs inside one transaction, after the schema "complaintd" and its table of
-- migrations exist. No foreign keys on purpose: they cost a quarter of the intake rate; schema/invariants.sql checks instead.

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
);
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
    status text not null default 'new' check (status in ('new', 'open', 'waiting', 'resolved', 'closed')),
    outcome text check (outcome in ('upheld', 'partly-upheld', 'rejected', 'withdrawn', 'not-a-complaint', 'duplicate')),
    category text not null,
    priority text not null check (priority in ('critical', 'high', 'normal', 'low')),
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
    cause text,
    remedy text,
    satisfaction integer,
    decision text not null -- JSON; read by people, so it is parsed when it is read (view complaints)
) with (fillfactor = 85);
alter table complaintd.complaint alter column decision set compression lz4;
create index complaint_customer on complaintd.complaint (customer_id);
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

create table complaintd.messages (
    id uuid primary key,
    complaint_id uuid,
    direction text not null default 'in' check (direction in ('in', 'out')),
    channel text not null,
    desk text,
    class text not null default 'person',
    sender text,
    recipients text[] not null default '{}',
    subject text,
    body text,
    text_new text,
    text_quoted text,
    message_id text,
    in_reply_to text,
    received_at timestamptz not null,
    sent_at timestamptz,
    raw bytea,
    digest bytea
);
alter table complaintd.messages alter column raw set storage external;
alter table complaintd.messages alter column body set compression lz4;
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
    data text not null,
    prev_hash bytea not null,
    hash bytea not null,
    primary key (complaint_id, seq)
);

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
    class text not null check (class in ('statutory', 'operational', 'courtesy')),
    level integer,
    transport text not null,
    recipient text not null,
    language text,
    payload jsonb,
    state text not null default 'pending' check (state in ('pending', 'sending', 'sent', 'delivered', 'failed', 'unknown',
                                                           'suppressed', 'expired', 'dead')),
    attempts integer not null default 0,
    created_at timestamptz not null,
    next_attempt_at timestamptz,
    lease_until timestamptz,
    leased_by text,
    sent_at timestamptz,
    delivered_at timestamptz,
    not_after timestamptz,
    last_error text,
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
    update complaintd.notifications set state = p_state, last_error = p_error, lease_until = null, leased_by = null,
        next_attempt_at = case when p_again is null then next_attempt_at else complaintd.now() + p_again end,
        sent_at = case when p_state = 'sent' then complaintd.now() else sent_at end
        where id = p_id and state = 'sending' and leased_by = p_by and attempts = p_attempt returning * into n;
    if not found then
        return;
    end if;
    if p_state = 'sent' and n.purpose = 'acknowledgement' then
        update complaintd.complaint set acknowledged_at = n.sent_at where id = n.complaint_id and acknowledged_at is null;
    end if;
    if p_state in ('sent', 'failed', 'dead', 'expired') then
        perform complaintd.add_event(n.complaint_id, 'notify', 'notification-' || p_state,
            jsonb_strip_nulls(jsonb_build_object('notification', n.id, 'purpose', n.purpose, 'transport', n.transport,
                                                 'level', n.level, 'attempts', n.attempts)));
    end if;
end $$;

-- What everybody reads.
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
