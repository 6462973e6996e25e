-- What goes out, and what comes back of it: the outbox, addresses that cannot be reached, budgets of automatic mail, the breaker of storms.

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
    idempotency_key text not null,
    signed_with text -- the id of the key that signed what stands in it (daemon/intake/token.h), null: nothing is signed. Set when it is first
                     -- claimed, so that it goes out with the same Message-ID and reply address again, whatever key is the current one by then
) with (fillfactor = 70, autovacuum_vacuum_scale_factor = 0.02);
create index notifications_due on complaintd.notifications (next_attempt_at) where state in ('pending', 'unknown');
create index notifications_leased on complaintd.notifications (lease_until) where state = 'sending';
create index notifications_failed on complaintd.notifications (id) where state in ('failed', 'dead', 'expired'); -- for who looks what could not be sent
create index notifications_complaint on complaintd.notifications (complaint_id);
select complaintd.spare_autovacuum('notifications');

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

-- ---- QUEUE ----

create function complaintd.api_queue_list(p_state text, p_limit integer, p_after uuid) returns setof jsonb language sql stable
set search_path = pg_catalog, pg_temp set timezone = 'UTC' as $$
    select jsonb_strip_nulls(jsonb_build_object('id', n.id, 'ref', c.ref, 'purpose', n.purpose, 'class', n.class, 'level', n.level,
        'transport', n.transport, 'recipient', n.recipient, 'state', n.state, 'attempts', n.attempts, 'created_at', n.created_at,
        'next_attempt_at', case when n.state in ('pending', 'unknown') then n.next_attempt_at end, 'not_after', n.not_after,
        'leased_by', n.leased_by, 'last_error', n.last_error))
    from (select * from complaintd.notifications x where x.state in ('pending', 'unknown')
          union all select * from complaintd.notifications x where x.state = 'sending'
          union all select * from complaintd.notifications x where x.state in ('failed', 'dead', 'expired')) n
    left join complaintd.complaint c on c.id = n.complaint_id
    where (p_state is null or n.state = p_state) and (p_after is null or n.id < p_after)
    order by n.id desc limit coalesce(p_limit, 50) $$;

create function complaintd.api_queue_take(p_id uuid, p_verb text) returns complaintd.notifications language plpgsql
set search_path = pg_catalog, pg_temp as $$
declare
    n complaintd.notifications;
begin
    select * into n from complaintd.notifications x where x.id = p_id for update;
    if not found then
        raise exception 'no notification has the id %', p_id using errcode = 'CD404';
    end if;
    if n.state not in ('pending', 'unknown', 'failed', 'dead', 'expired') then
        raise exception '% is not possible: the notification is %', p_verb, n.state using errcode = 'CD409';
    end if;
    return n;
end $$;

-- QUEUE: what is to go out and has not. p_retry: once more, now; it gets its whole life again where that was over. p_drop: never.
create function complaintd.api_queue(p_retry uuid, p_drop uuid, p_reason text, p_state text, p_limit integer, p_after uuid, p_actor text)
returns setof jsonb language plpgsql set search_path = pg_catalog, pg_temp set timezone = 'UTC' as $$
declare
    n complaintd.notifications;
    v_now timestamptz := complaintd.now();
    v_state text := case when p_retry is null then 'suppressed' else 'pending' end;
begin
    if p_retry is null and p_drop is null then
        return query select complaintd.api_queue_list(p_state, p_limit, p_after);
        return;
    end if;
    n := complaintd.api_queue_take(coalesce(p_retry, p_drop), case when p_retry is null then 'drop' else 'retry' end);
    if p_retry is not null then
        update complaintd.notifications x set state = v_state, next_attempt_at = v_now,
            not_after = case when x.not_after <= v_now then v_now + (x.not_after - x.created_at) else x.not_after end where x.id = n.id;
    else
        update complaintd.notifications x set state = v_state, last_error = 'dropped by ' || p_actor || ': ' || p_reason where x.id = n.id;
    end if;
    perform complaintd.add_event(n.complaint_id, p_actor, case when p_retry is null then 'notification-dropped' else 'notification-retried' end,
        jsonb_strip_nulls(jsonb_build_object('notification', n.id, 'purpose', n.purpose, 'transport', n.transport, 'level', n.level,
                                             'from', n.state, 'reason_sha256', complaintd.api_digest(p_reason))));
    return query select jsonb_build_object('id', n.id, 'ref', (select c.ref from complaintd.complaint c where c.id = n.complaint_id),
                                           'purpose', n.purpose, 'from', n.state, 'state', v_state);
end $$;

-- ---- what comes back ----

-- What is known of an address beside the handles of customers ("mail:…"); a row only where something happened. state: 'hard' (nobody is
-- there: 5.1.1 and the like), 'soft' (something else, such as a full mailbox), null again when mail came in from it. answers: a bucket of
-- the automatic answers it got since it was a customer's, emptied by the daily budget (daemon/decide.c).
create table complaintd.addresses (
    address text primary key,
    state text,
    status text,
    reason text,
    at timestamptz,
    bounces integer not null default 0,
    notification_id uuid,
    answers real not null default 0,
    answered_at timestamptz
) with (fillfactor = 80);
select complaintd.spare_autovacuum('addresses');

-- A report about a notification of ours, in the transaction that stores it. p_report: final (no further attempt is made), hard, status,
-- reason, error. p_tasks: what is to be told to people, once for each complaint and address. Locks in the order notification, timers,
-- complaint, as who records the outcome of a sending does.
-- An acknowledgement that came back was not received: the complaint is unacknowledged again, and its clock shows it. Nor was a reply of ours: if
-- it was the first, nothing has answered the customer yet.
create function complaintd.bounce_received(p_notification uuid, p_complaint uuid, p_message uuid, p_at timestamptz, p_actor text, p_kind text,
                                           p_data jsonb, p_report jsonb, p_tasks jsonb, p_delay interval)
returns void language plpgsql as $$
declare
    n complaintd.notifications;
    v_final boolean := (p_report ->> 'final')::boolean;
    v_now timestamptz := complaintd.now();
begin
    select * into n from complaintd.notifications where id = p_notification for update;
    if exists (select 1 from complaintd.event e where e.complaint_id = p_complaint and e.id = p_message) then
        return; -- a replay of our own commit
    end if;
    perform complaintd.attach_message(p_complaint, p_message, p_at, p_actor, p_kind, p_data);
    if n.id is null then
        return;
    end if;
    perform complaintd.add_event(p_complaint, 'intake', case when v_final then 'notification-bounced' else 'notification-delayed' end,
        jsonb_strip_nulls(jsonb_build_object('notification', n.id, 'message', p_message, 'purpose', n.purpose, 'transport', n.transport,
                                             'status', p_report ->> 'status', 'reason', p_report ->> 'reason')));
    if not v_final then
        update complaintd.notifications set last_error = p_report ->> 'error' where id = n.id and state in ('sent', 'sending', 'unknown');
        return;
    end if;
    if n.state not in ('sent', 'delivered', 'sending', 'unknown') then
        return; -- it had failed before
    end if;
    update complaintd.notifications set state = 'failed', last_error = p_report ->> 'error', lease_until = null, leased_by = null where id = n.id;
    if n.purpose = 'acknowledgement' then
        update complaintd.complaint set acknowledged_at = null where id = n.complaint_id and acknowledged_at = n.sent_at;
    end if;
    if n.purpose = 'reply' then
        update complaintd.complaint set responded_at = null where id = n.complaint_id and responded_at = n.created_at;
    end if;
    if n.transport = 'mail' then
        insert into complaintd.addresses (address, state, status, reason, at, bounces, notification_id)
            values ('mail:' || lower(n.recipient), case when (p_report ->> 'hard')::boolean then 'hard' else 'soft' end, p_report ->> 'status',
                    p_report ->> 'reason', v_now, 1, n.id)
            on conflict (address) do update set state = excluded.state, status = excluded.status, reason = excluded.reason, at = excluded.at,
                bounces = complaintd.addresses.bounces + 1, notification_id = excluded.notification_id;
    end if;
    if not exists (select 1 from complaintd.notifications o where o.complaint_id = p_complaint and o.purpose = 'undeliverable'
                   and o.payload ->> 'address' = n.recipient) then
        insert into complaintd.notifications (id, complaint_id, purpose, class, transport, recipient, language, payload, created_at,
                                              next_attempt_at, not_after, idempotency_key)
            select t.id, p_complaint, t.purpose, t.class, t.transport, t.recipient, t.language, t.payload, v_now, v_now + p_delay,
                   v_now + p_delay + t.life * interval '1 second', t.key
            from jsonb_to_recordset(p_tasks) as t(id uuid, purpose text, class text, transport text, recipient text, language text,
                 payload jsonb, life bigint, key text);
    end if;
end $$;

-- ---- storms ----

-- Automatic mail of all instances, as a bucket that empties within the window of the configuration. Open since: more came in than it holds.
-- told_at: one instance has raised the alarm.
create table complaintd.breakers (
    name text primary key,
    level real not null default 0,
    at timestamptz not null,
    open_since timestamptz,
    told_at timestamptz,
    opened integer not null default 0
) with (fillfactor = 50);
insert into complaintd.breakers (name, at) values ('automatic', complaintd.now());

create function complaintd.breaker_level(b complaintd.breakers, p_now timestamptz, p_limit integer, p_window interval) returns real
language sql immutable as
$$ select greatest(0, b.level - p_limit * extract(epoch from greatest(p_now - b.at, '0')) / extract(epoch from p_window))::real $$;

-- p_count more automatic mails were stored. The level stops at twice the limit, so that a storm is over one and a half windows after
-- its last mail, however long it was.
create function complaintd.automatic_seen(p_count integer, p_limit integer, p_window interval) returns void language plpgsql as $$
declare
    b complaintd.breakers;
    v_now timestamptz := complaintd.now();
begin
    select * into b from complaintd.breakers where name = 'automatic' for update;
    b.level := least(complaintd.breaker_level(b, v_now, p_limit, p_window) + p_count, 2 * p_limit);
    if b.open_since is null and b.level > p_limit then
        b.open_since := v_now;
        b.told_at := null;
        b.opened := b.opened + 1;
    end if;
    update complaintd.breakers set level = b.level, at = greatest(b.at, v_now), open_since = b.open_since, told_at = b.told_at, opened = b.opened
        where name = 'automatic';
end $$;

-- Asked every few seconds by every instance. news: 'opened' for the one that is to raise the alarm, 'closed' for the one that saw the
-- end. While it is open no task of a bounce goes out: held is how many were kept back by this call.
create function complaintd.breaker_poll(p_limit integer, p_window interval, out is_open boolean, out news text, out held bigint, out since timestamptz)
language plpgsql as $$
declare
    b complaintd.breakers;
    v_now timestamptz := complaintd.now();
begin
    held := 0;
    select * into b from complaintd.breakers where name = 'automatic';
    if b.open_since is null then
        is_open := false;
        return;
    end if;
    select * into b from complaintd.breakers where name = 'automatic' for update;
    is_open := b.open_since is not null;
    since := b.open_since;
    if is_open and b.told_at is null then
        news := 'opened';
        update complaintd.breakers set told_at = v_now where name = 'automatic';
    elsif is_open and complaintd.breaker_level(b, v_now, p_limit, p_window) <= p_limit / 2.0 then
        news := 'closed';
        is_open := false;
        update complaintd.breakers set open_since = null, told_at = null where name = 'automatic';
    end if;
    if is_open then
        with h as (update complaintd.notifications set state = 'suppressed', last_error = 'kept back: too much automatic mail came in'
                   where state = 'pending' and purpose = 'undeliverable' returning 1)
            select count(*) into held from h;
    end if;
end $$;
