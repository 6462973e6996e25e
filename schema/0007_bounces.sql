-- What comes back: addresses that cannot be reached, budgets of automatic mail, and the breaker of storms.

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

-- A report about a notification of ours, in the transaction that stores it. p_report: final (no further attempt is made), hard, status,
-- reason, error. p_tasks: what is to be told to people, once for each complaint and address. Locks in the order notification, timers,
-- complaint, as who records the outcome of a sending does.
-- An acknowledgement that came back was not received: the complaint is unacknowledged again, and its clock shows it.
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

select complaintd.spare_autovacuum('addresses');
