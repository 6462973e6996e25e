-- The life of a complaint: the functions behind the verbs that change it, but MERGE, SPLIT (0017) and REREAD (0018). Which states an action is
-- allowed in, and where it leads, is said by the life-cycle table in daemon/cases/lifecycle.c and arrives here as two arrays.
-- Locks are taken in the order timers, complaint, as the scheduler of escalations takes them.

-- ACK: a person takes it. Who was first stays; a second ACK only ends steps that run since.
create function complaintd.api_ack(p_ref text, p_actor text, p_from text[], p_to text[], p_stops integer)
returns setof jsonb language plpgsql
set search_path = pg_catalog, pg_temp set timezone = 'UTC' as $$
declare
    c complaintd.complaint := complaintd.api_take(p_ref, 'ACK', p_from);
    v_to text := p_to[array_position(p_from, c.status)];
    v_stopped integer := complaintd.stop_steps(c.id, p_stops, 'ack');
    v_changed boolean := c.acked_at is null or v_to <> c.status;
begin
    if v_changed then
        update complaintd.complaint x set status = v_to, acked_at = coalesce(x.acked_at, complaintd.now()),
            acked_by = coalesce(x.acked_by, p_actor) where x.id = c.id;
    end if;
    if v_changed or v_stopped > 0 then
        perform complaintd.add_event(c.id, p_actor, 'acked',
            jsonb_build_object('from', c.status, 'to', v_to, 'steps_stopped', v_stopped));
    end if;
    return query select jsonb_build_object('ref', x.ref, 'status', x.status, 'acked_at', x.acked_at, 'acked_by', x.acked_by,
                                           'changed', v_changed, 'steps_stopped', v_stopped)
        from complaintd.complaint x where x.id = c.id;
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

-- RESOLVE: with an outcome; cause, remedy and a note as far as they are given. Cause and remedy are codes where the configuration lists them
-- (p_cause_code, p_remedy_code), and stand in the event then; otherwise free text. p_close: how long until it is closed by itself, null for never.
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
