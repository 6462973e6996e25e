-- The life of a complaint: what people do to it beyond ACK, ASSIGN, RESOLVE, MERGE and SPLIT. The table of daemon/cases/lifecycle.c says in
-- which states each action is allowed and where it leads; it arrives here as two arrays.

-- state_until: while waiting, when the wait ends by itself; while resolved, when it is closed by itself. Null: never. In other states what
-- is left of it means nothing, and the one who finds it (case_over) clears it.
-- remedy_sought: what the complainant wants, in their words. representative: who complains for them, JSON, as SUBMIT took it.
alter table complaintd.complaint
    add column state_until timestamptz,
    add column remedy_sought text compression lz4,
    add column representative text compression lz4;
create index complaint_until on complaintd.complaint (state_until) where state_until is not null;

create or replace view complaintd.complaints as
    select c.id, c.ref, c.desk, c.channel, c.status, c.outcome, c.category, c.priority, c.language, c.region, c.team, c.assignee,
           c.tags, c.policy, c.customer_id, c.customer_name, c.customer_email, c.customer_phone, m.subject, m.body,
           c.received_at, c.recorded_at, c.acknowledged_at, c.responded_at, c.resolved_at, c.closed_at, c.acked_at, c.acked_by,
           c.escalation_level, c.degraded, c.duplicate_of, c.merged_into, c.cause, c.remedy, c.satisfaction, c.decision::jsonb as decision, c.desks,
           complaintd.scan_of(c) as scan, case when c.status = 'waiting' then c.state_until end as waiting_until,
           c.remedy_sought, c.representative::jsonb as representative
    from complaintd.complaint c left join complaintd.messages m on m.id = c.id;

-- ---- who asks, and what they have seen ----

-- Around every changing verb: by which channel the request came, and the last event of the complaint that its client knows. Both hold for
-- this transaction; returns the reference, so that what is called with it runs after this.
create function complaintd.api_context(p_via text, p_seen integer, p_ref text) returns text language plpgsql
set search_path = pg_catalog, pg_temp as $$
begin
    perform set_config('complaintd.via', coalesce(p_via, ''), true);
    perform set_config('complaintd.seen', case when p_seen is null then '' else complaintd.api_find(p_ref) || ' ' || p_seen end, true);
    return p_ref;
end $$;

-- Refuses when something happened to the complaint since its client looked. The caller holds its lock; asked once a transaction.
create function complaintd.check_seen(p_complaint uuid, p_last integer) returns void language plpgsql
set search_path = pg_catalog, pg_temp as $$
declare
    v_seen text := nullif(current_setting('complaintd.seen', true), '');
begin
    if v_seen is null or split_part(v_seen, ' ', 1)::uuid <> p_complaint then
        return;
    end if;
    perform set_config('complaintd.seen', '', true);
    if split_part(v_seen, ' ', 2)::integer <> p_last then
        raise exception 'something happened meanwhile: the last event is %, not %; look again', p_last, split_part(v_seen, ' ', 2)
            using errcode = 'CD409';
    end if;
end $$;

create function complaintd.last_event(p_complaint uuid) returns integer language plpgsql
set search_path = pg_catalog, pg_temp as $$
begin
    return (select e.seq from complaintd.event e where e.complaint_id = p_complaint order by e.seq desc limit 1);
end $$;

-- What a changing verb answers: what its function returned, and the last event of the complaint by now.
create function complaintd.api_done(p_answer jsonb) returns jsonb language plpgsql
set search_path = pg_catalog, pg_temp as $$
begin
    return p_answer || jsonb_build_object('seq', complaintd.last_event((select c.id from complaintd.complaint c where c.ref = p_answer ->> 'ref')));
end $$;

-- As before; with the channel of a request in the event, and the check of what its client has seen.
create or replace function complaintd.add_event(p_complaint uuid, p_actor text, p_kind text, p_data jsonb,
                                                p_id uuid default gen_random_uuid(), p_at timestamptz default null)
returns boolean language plpgsql as $$
declare
    last_seq integer;
    last_hash bytea;
    at timestamptz := coalesce(p_at, complaintd.now());
    v_via text := nullif(current_setting('complaintd.via', true), '');
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
    if v_via is not null then
        p_data := p_data || jsonb_build_object('via', v_via);
        perform complaintd.check_seen(p_complaint, last_seq);
    end if;
    last_seq := coalesce(last_seq, 0) + 1;
    last_hash := coalesce(last_hash, '\x'::bytea);
    insert into complaintd.event values (p_id, p_complaint, last_seq, at, p_actor, p_kind, p_data::text, last_hash,
        complaintd.event_hash(last_hash, p_id, last_seq, at, p_actor, p_kind, p_data::text));
    return true;
end $$;

create or replace function complaintd.api_take(p_ref text, p_verb text, p_from text[]) returns complaintd.complaint language plpgsql
set search_path = pg_catalog, pg_temp as $$
declare
    v_id uuid := complaintd.api_find(p_ref);
    c complaintd.complaint;
begin
    perform 1 from complaintd.timers t where t.complaint_id = v_id for update;
    select * into c from complaintd.complaint x where x.id = v_id for no key update;
    if c.merged_into is not null then
        raise exception 'merged or split meanwhile' using errcode = '40001';
    end if;
    perform complaintd.check_seen(c.id, complaintd.last_event(c.id));
    if c.status <> all (p_from) then
        raise exception '% is not possible: % is %', p_verb, c.ref, c.status using errcode = 'CD409';
    end if;
    return c;
end $$;

-- ---- the verbs ----

create function complaintd.add_note(p_complaint uuid, p_actor text, p_text text) returns uuid language plpgsql
set search_path = pg_catalog, pg_temp as $$
declare
    v_note uuid;
begin
    if p_text is not null then
        insert into complaintd.notes (complaint_id, at, actor, body) values (p_complaint, complaintd.now(), p_actor, p_text)
            returning id into v_note;
    end if;
    return v_note;
end $$;

create function complaintd.api_note(p_ref text, p_text text, p_actor text, p_from text[], p_to text[], p_stops integer)
returns setof jsonb language plpgsql
set search_path = pg_catalog, pg_temp set timezone = 'UTC' as $$
declare
    c complaintd.complaint := complaintd.api_take(p_ref, 'NOTE', p_from);
    v_note uuid := complaintd.add_note(c.id, p_actor, p_text);
begin
    perform complaintd.add_event(c.id, p_actor, 'noted', jsonb_build_object('note', v_note, 'note_sha256', complaintd.api_digest(p_text)));
    return next jsonb_build_object('ref', c.ref, 'status', c.status, 'note', v_note);
end $$;

-- REPLY: a message of ours to the customer, by the channel they came by or the other one that there is an address for; their
-- representative's where there is none of theirs. It hangs on the last mail of theirs. p_message_id is the name that the mail goes out with.
create function complaintd.api_reply(p_ref text, p_text text, p_actor text, p_from text[], p_to text[], p_stops integer, p_message uuid,
                                     p_message_id text, p_life interval) returns setof jsonb language plpgsql
set search_path = pg_catalog, pg_temp set timezone = 'UTC' as $$
declare
    c complaintd.complaint := complaintd.api_take(p_ref, 'REPLY', p_from);
    v_to text := p_to[array_position(p_from, c.status)];
    v_email text := coalesce(c.customer_email, case when c.customer_phone is null then c.representative::jsonb ->> 'email' end);
    v_phone text := coalesce(c.customer_phone, case when c.customer_email is null then c.representative::jsonb ->> 'phone' end);
    v_mail boolean := v_email is not null and (c.channel <> 'sms' or v_phone is null);
    v_now timestamptz := complaintd.now();
    v_notification uuid := gen_random_uuid();
    v_stopped integer;
    v_last record;
begin
    if v_email is null and v_phone is null then
        raise exception 'REPLY is not possible: no address and no number of the customer is known' using errcode = 'CD409';
    end if;
    if not v_mail and length(p_text) > 1000 then
        raise exception 'too long for an SMS: at most 1000 characters' using errcode = 'CD400';
    end if;
    v_stopped := complaintd.stop_steps(c.id, p_stops, 'reply');
    select m.message_id, m.in_reply_to into v_last from complaintd.message m where m.complaint_id = c.id
        and m.id >= coalesce(c.first_id, c.id) and m.direction = 'in' and m.class = 'person' and m.channel = 'mail'
        and lower(m.sender) = lower(v_email) order by m.received_at desc, m.id desc limit 1;
    insert into complaintd.message (id, complaint_id, direction, channel, desk, sender, recipients, subject, body, message_id, in_reply_to,
                                    received_at)
        values (p_message, c.id, 'out', case when v_mail then 'mail' else 'sms' end, c.desk, p_actor,
                array[case when v_mail then v_email else v_phone end], null, p_text,
                case when v_mail then p_message_id end, case when v_mail then v_last.message_id end, v_now);
    insert into complaintd.notifications (id, complaint_id, purpose, class, transport, recipient, language, payload, created_at,
                                          next_attempt_at, not_after, idempotency_key)
        values (v_notification, c.id, 'reply', 'statutory', case when v_mail then 'mail' else 'sms' end,
                case when v_mail then v_email else v_phone end, c.language,
                jsonb_strip_nulls(jsonb_build_object('text', p_text, 'message', p_message, 'message_id', p_message_id,
                    'in_reply_to', v_last.message_id, 'before', v_last.in_reply_to)),
                v_now, v_now, v_now + p_life, 'reply.' || p_message);
    update complaintd.complaint x set status = v_to, responded_at = coalesce(x.responded_at, v_now) where x.id = c.id;
    perform complaintd.add_event(c.id, p_actor, 'replied', jsonb_build_object('from', c.status, 'to', v_to, 'message', p_message,
        'text_sha256', complaintd.api_digest(p_text), 'notification', v_notification, 'transport', case when v_mail then 'mail' else 'sms' end,
        'steps_stopped', v_stopped));
    return query select jsonb_build_object('ref', x.ref, 'status', x.status, 'message', p_message, 'transport', case when v_mail then 'mail' else 'sms' end,
                                           'responded_at', x.responded_at, 'steps_stopped', v_stopped)
        from complaintd.complaint x where x.id = c.id;
end $$;

-- RECLASSIFY: p_category_team is the team of the new category, null where it has none. p_targets: of every policy, for the new priority,
-- the seconds to acknowledgement, first response and resolution; the due times move along, the steps of the ladder stay.
create function complaintd.api_reclassify(p_ref text, p_category text, p_priority text, p_team text, p_actor text, p_from text[], p_to text[],
                                          p_stops integer, p_category_team text, p_targets jsonb) returns setof jsonb language plpgsql
set search_path = pg_catalog, pg_temp set timezone = 'UTC' as $$
declare
    c complaintd.complaint := complaintd.api_take(p_ref, 'RECLASSIFY', p_from);
    n complaintd.complaint := c;
    v_targets jsonb := p_targets -> split_part(c.policy, '@', 1);
begin
    n.category := coalesce(p_category, c.category);
    n.priority := coalesce(p_priority, c.priority);
    n.team := coalesce(p_team, case when n.category <> c.category then p_category_team end, c.team);
    if n.team <> c.team then
        n.assignee := null;
    end if;
    if (n.category, n.priority, n.team) is distinct from (c.category, c.priority, c.team) then
        update complaintd.complaint x set category = n.category, priority = n.priority, team = n.team, assignee = n.assignee where x.id = c.id;
        if n.priority <> c.priority and v_targets is not null then
            update complaintd.timers t set
                acknowledge_due = case when t.acknowledge_due is not null then t.anchor_at + (v_targets ->> 0)::double precision * interval '1 second' end,
                first_response_due = t.anchor_at + (v_targets ->> 1)::double precision * interval '1 second',
                resolve_due = t.anchor_at + (v_targets ->> 2)::double precision * interval '1 second' where t.complaint_id = c.id;
        end if;
        perform complaintd.add_event(c.id, p_actor, 'reclassified', jsonb_build_object(
            'from', jsonb_build_object('category', c.category, 'priority', c.priority, 'team', c.team),
            'to', jsonb_build_object('category', n.category, 'priority', n.priority, 'team', n.team)));
    end if;
    return query select jsonb_build_object('ref', c.ref, 'status', c.status, 'category', n.category, 'priority', n.priority, 'team', n.team,
        'assignee', n.assignee, 'changed', (n.category, n.priority, n.team) is distinct from (c.category, c.priority, c.team),
        'due', complaintd.api_next_due(n, t)) from complaintd.timers t where t.complaint_id = c.id;
end $$;

-- WAIT: for the customer or somebody else, until a time.
create function complaintd.api_wait(p_ref text, p_for interval, p_until timestamptz, p_note text, p_actor text, p_from text[], p_to text[],
                                    p_stops integer) returns setof jsonb language plpgsql
set search_path = pg_catalog, pg_temp set timezone = 'UTC' as $$
declare
    c complaintd.complaint := complaintd.api_take(p_ref, 'WAIT', p_from);
    v_to text := p_to[array_position(p_from, c.status)];
    v_now timestamptz := complaintd.now();
    v_until timestamptz := coalesce(p_until, v_now + p_for);
    v_note uuid;
begin
    if v_until <= v_now or v_until > v_now + interval '366 days' then
        raise exception 'a wait ends in the future, within a year at the latest' using errcode = 'CD400';
    end if;
    v_note := complaintd.add_note(c.id, p_actor, p_note);
    update complaintd.complaint x set status = v_to, state_until = v_until where x.id = c.id;
    perform complaintd.add_event(c.id, p_actor, 'waiting', jsonb_strip_nulls(jsonb_build_object('from', c.status, 'to', v_to, 'until', v_until,
        'note', v_note, 'note_sha256', complaintd.api_digest(p_note))));
    return next jsonb_build_object('ref', c.ref, 'status', v_to, 'waiting_until', v_until);
end $$;

-- RESOLVE: cause and remedy are codes where the configuration lists them (p_cause_code, p_remedy_code), and stand in the event then; otherwise free text.
-- p_close: how long until it is closed by itself, null for never.
drop function complaintd.api_resolve(text, text, text, text, text, text, text[], text[], integer);
create function complaintd.api_resolve(p_ref text, p_outcome text, p_cause text, p_remedy text, p_note text, p_actor text, p_from text[],
                                       p_to text[], p_stops integer, p_cause_code boolean, p_remedy_code boolean, p_close interval) returns setof jsonb language plpgsql
set search_path = pg_catalog, pg_temp set timezone = 'UTC' as $$
declare
    c complaintd.complaint := complaintd.api_take(p_ref, 'RESOLVE', p_from);
    v_to text := p_to[array_position(p_from, c.status)];
    v_stopped integer := complaintd.stop_steps(c.id, p_stops, 'resolve');
    v_note uuid := complaintd.add_note(c.id, p_actor, p_note);
    v_now timestamptz := complaintd.now();
begin
    update complaintd.complaint x set status = v_to, outcome = p_outcome, cause = coalesce(p_cause, x.cause),
        remedy = coalesce(p_remedy, x.remedy), resolved_at = v_now, state_until = v_now + p_close where x.id = c.id;
    perform complaintd.add_event(c.id, p_actor, 'resolved', jsonb_strip_nulls(jsonb_build_object('from', c.status, 'to', v_to,
        'outcome', p_outcome, 'cause', case when p_cause_code then p_cause end, 'remedy', case when p_remedy_code then p_remedy end,
        'cause_sha256', case when not p_cause_code then complaintd.api_digest(p_cause) end,
        'remedy_sha256', case when not p_remedy_code then complaintd.api_digest(p_remedy) end,
        'note', v_note, 'note_sha256', complaintd.api_digest(p_note), 'steps_stopped', v_stopped)));
    return query select jsonb_build_object('ref', x.ref, 'status', x.status, 'outcome', x.outcome, 'cause', x.cause, 'remedy', x.remedy,
                                           'resolved_at', x.resolved_at, 'steps_stopped', v_stopped)
        from complaintd.complaint x where x.id = c.id;
end $$;

-- REOPEN: what was resolved or closed within the window is owed an answer anew; what waits waits no longer.
create function complaintd.api_reopen(p_ref text, p_note text, p_actor text, p_from text[], p_to text[], p_stops integer, p_window interval)
returns setof jsonb language plpgsql
set search_path = pg_catalog, pg_temp set timezone = 'UTC' as $$
declare
    c complaintd.complaint := complaintd.api_take(p_ref, 'REOPEN', p_from);
    v_to text := p_to[array_position(p_from, c.status)];
    v_done timestamptz := coalesce(c.closed_at, c.resolved_at);
    v_note uuid;
begin
    if c.status <> 'waiting' and complaintd.now() > v_done + p_window then
        raise exception 'REOPEN is not possible: % was % on %, which is too long ago; SUBMIT a new one that names it, the two will be linked',
            c.ref, c.status, to_char(v_done, 'YYYY-MM-DD') using errcode = 'CD409';
    end if;
    v_note := complaintd.add_note(c.id, p_actor, p_note);
    update complaintd.complaint x set status = v_to, state_until = null where x.id = c.id;
    if c.status <> 'waiting' then
        update complaintd.complaint x set outcome = null, cause = null, remedy = null, resolved_at = null, closed_at = null,
            acked_at = null, acked_by = null where x.id = c.id;
    end if;
    perform complaintd.add_event(c.id, p_actor, 'reopened', jsonb_strip_nulls(jsonb_build_object('from', c.status, 'to', v_to, 'note', v_note,
        'note_sha256', complaintd.api_digest(p_note))));
    if c.status <> 'waiting' then
        perform complaintd.restart_timers(c.id);
    end if;
    return query select jsonb_build_object('ref', x.ref, 'status', x.status, 'due', complaintd.api_next_due(x, t))
        from complaintd.complaint x join complaintd.timers t on t.complaint_id = x.id where x.id = c.id;
end $$;

create function complaintd.case_close(c complaintd.complaint, p_actor text, p_to text) returns timestamptz language plpgsql
set search_path = pg_catalog, pg_temp as $$
declare
    v_now timestamptz := complaintd.now();
    v_stopped integer := complaintd.stop_all_steps(c.id, 'close');
begin
    update complaintd.complaint x set status = p_to, closed_at = v_now, state_until = null where x.id = c.id;
    perform complaintd.add_event(c.id, p_actor, 'closed', jsonb_build_object('from', c.status, 'to', p_to, 'steps_stopped', v_stopped));
    return v_now;
end $$;

create function complaintd.api_close(p_ref text, p_actor text, p_from text[], p_to text[], p_stops integer) returns setof jsonb language plpgsql
set search_path = pg_catalog, pg_temp set timezone = 'UTC' as $$
declare
    c complaintd.complaint := complaintd.api_take(p_ref, 'CLOSE', p_from);
    v_to text := p_to[array_position(p_from, c.status)];
begin
    return next jsonb_build_object('ref', c.ref, 'status', v_to, 'closed_at', complaintd.case_close(c, p_actor, v_to));
end $$;

-- A state whose time is over (daemon/escalation/waiting.c), if it still is: a wait ends and the team is told, what was resolved is closed.
-- p_from, p_to: the life-cycle table's rows of both, which have no state in common. p_tell: notifications for the end of a wait.
create function complaintd.case_over(p_complaint uuid, p_from text[], p_to text[], p_tell jsonb) returns text language plpgsql
set search_path = pg_catalog, pg_temp set timezone = 'UTC' as $$
declare
    c complaintd.complaint;
    v_to text;
    v_now timestamptz := complaintd.now();
begin
    perform 1 from complaintd.timers t where t.complaint_id = p_complaint for update;
    select * into c from complaintd.complaint x where x.id = p_complaint for no key update;
    if c.state_until is null or c.state_until > v_now then
        return null; -- another instance was here, or somebody acted
    end if;
    v_to := p_to[array_position(p_from, c.status)];
    if v_to is null then
        update complaintd.complaint x set state_until = null where x.id = c.id;
        return null;
    end if;
    if c.status = 'resolved' then
        perform complaintd.case_close(c, 'clock', v_to);
        return v_to;
    end if;
    update complaintd.complaint x set status = v_to, state_until = null where x.id = c.id;
    perform complaintd.add_event(c.id, 'clock', 'wait-ended', jsonb_build_object('from', c.status, 'to', v_to, 'until', c.state_until));
    insert into complaintd.notifications (id, complaint_id, purpose, class, transport, recipient, language, payload, created_at, next_attempt_at,
                                          not_after, idempotency_key)
        select gen_random_uuid(), c.id, 'waiting', 'operational', n.transport, n.recipient, n.language, '{}', v_now, v_now,
               v_now + n.life * interval '1 second',
               concat_ws('.', 'waiting', c.id, extract(epoch from c.state_until)::bigint, n.transport, n.recipient)
        from jsonb_to_recordset(p_tell) as n(transport text, recipient text, language text, life bigint) on conflict do nothing;
    return v_to;
end $$;

-- As before; and a reply of ours that came back was not received either: if it was the first, nothing has answered the customer yet.
create or replace function complaintd.bounce_received(p_notification uuid, p_complaint uuid, p_message uuid, p_at timestamptz, p_actor text, p_kind text,
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

-- ---- VERIFY ----

-- Walks the chains of one complaint, or of the next p_limit complaints after p_after, by id: each event must follow the one before it and
-- have the hash of what it says. `broken` names the first link that does not, by complaint and seq; `next` where to go on.
create function complaintd.api_verify(p_ref text, p_after uuid, p_limit integer) returns setof jsonb language plpgsql stable
set search_path = pg_catalog, pg_temp set timezone = 'UTC' as $$
declare
    v_scope text[] := complaintd.api_scope();
    v_ids uuid[];
    v_events bigint;
    v_broken jsonb;
begin
    if p_ref is not null then
        v_ids := complaintd.api_family(complaintd.api_find(p_ref));
    else
        v_ids := array(select c.id from complaintd.complaint c where (p_after is null or c.id > p_after) and (v_scope is null or c.desks && v_scope)
                       order by c.id limit p_limit);
    end if;
    select count(e.seq) into v_events from complaintd.event e where e.complaint_id = any (v_ids);
    select jsonb_build_object('ref', c.ref, 'seq', coalesce(x.seq, 1), 'fault', x.fault) into v_broken from (
        select e.complaint_id, e.seq, case when e.seq <> e.seq_before + 1 then 'an event before it is missing'
                                           when e.prev_hash <> e.hash_before then 'it does not follow the event before it'
                                           else 'it was changed: its hash is another' end as fault
        from (select y.*, lag(y.hash, 1, '\x'::bytea) over w as hash_before, lag(y.seq, 1, 0) over w as seq_before
              from complaintd.event y where y.complaint_id = any (v_ids) window w as (partition by y.complaint_id order by y.seq)) e
        where e.seq <> e.seq_before + 1 or e.prev_hash <> e.hash_before
           or e.hash <> complaintd.event_hash(e.prev_hash, e.id, e.seq, e.at, e.actor, e.kind, e.data)
        union all
        select i, null, 'it has no events' from unnest(v_ids) as i
        where not exists (select from complaintd.event y where y.complaint_id = i)) x
        join complaintd.complaint c on c.id = x.complaint_id order by c.id, x.seq nulls first limit 1;
    return next jsonb_strip_nulls(jsonb_build_object('ok', v_broken is null, 'complaints', coalesce(cardinality(v_ids), 0), 'events', v_events,
        'broken', v_broken, 'next', case when p_ref is null and cardinality(v_ids) = p_limit then v_ids[p_limit] end));
end $$;
