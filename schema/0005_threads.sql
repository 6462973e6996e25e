-- Threads: names that stay the same when a mail is sent again, reasons that are kept, and complaints that people split and merge.

-- The key that signed what stands in a notification (daemon/intake/token.h), by its id: set when it is first claimed, so that it goes out
-- with the same Message-ID and the same reply address again, whatever key is the current one by then. Null: nothing in it is signed.
alter table complaintd.notifications add column signed_with text;

-- What was merged into another complaint: merged_into always leads to one that is not merged itself.
create index complaint_merged on complaintd.complaint (merged_into) where merged_into is not null;
create index ref_aliases_complaint on complaintd.ref_aliases (complaint_id);
-- For SPLIT, which moves the receipt of a message: nothing else asks by time, and this costs intake next to nothing.
create index receipts_received on complaintd.receipts using brin (received_at);

-- ---- threads (daemon/store/lookup.c) ----

-- What the decision on a thread needs to know of a complaint: who has a say in it (the addresses and numbers of its customer and the senders
-- of its messages), when something was last said or done in it, in microseconds, and the subjects of its first and its last message. A
-- function of its own, so that a look-up that finds no complaint does not open the partitions of messages for nothing.
create function complaintd.thread_state(c complaintd.complaint) returns json language plpgsql stable as $$
begin
    return (select json_build_object(
        'who', array_remove(array_agg(distinct m.sender) || c.customer_email || c.customer_phone
                            || (select u.emails || u.phones from complaintd.customers u where u.id = c.customer_id), null),
        'last', (extract(epoch from greatest(max(m.received_at), c.received_at, c.acknowledged_at, c.responded_at, c.resolved_at,
                                             c.closed_at, c.acked_at)) * 1000000)::bigint,
        'subjects', array[max(m.subject) filter (where m.id = c.id), (array_agg(m.subject order by m.received_at desc, m.id desc))[1]])
        from complaintd.message m where m.complaint_id = c.id and m.id >= coalesce(c.first_id, c.id) and m.direction = 'in'
            and m.class = 'person');
end $$;
drop function complaintd.participants(complaintd.complaint);

-- As before, but by one reading of the clock: the sub-select was evaluated for each place that used it, and next_at came some microseconds
-- after the step that it stands for.
create or replace function complaintd.restart_timers(p_complaint uuid) returns void language plpgsql as $$
declare
    v_at timestamptz := complaintd.now();
begin
    update complaintd.timers t set cycle = t.cycle + 1, anchor_at = v_at, acknowledge_due = null,
        first_response_due = t.first_response_due + (v_at - t.anchor_at), resolve_due = t.resolve_due + (v_at - t.anchor_at),
        step_fired = '{}', step_stopped = '{}', step_reason = '{}',
        next_at = v_at + (select min(t.steps[i][1]) from generate_subscripts(t.steps, 1) as i) * interval '1 second'
        where t.complaint_id = p_complaint;
end $$;

-- As before; what was merged into another complaint since the look-up is decided anew.
create or replace function complaintd.attach_message(p_complaint uuid, p_message uuid, p_at timestamptz, p_actor text, p_kind text,
                                                     p_data jsonb) returns void language plpgsql as $$
declare
    v_merged uuid;
begin
    perform 1 from complaintd.timers where complaint_id = p_complaint for update; -- before the complaint, as everywhere
    if not complaintd.add_event(p_complaint, p_actor, p_kind, p_data, p_message, p_at) then
        return;
    end if;
    select merged_into into v_merged from complaintd.complaint where id = p_complaint; -- which add_event has locked
    if v_merged is not null then
        raise exception 'complaint merged meanwhile' using errcode = 'CD001';
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

-- ---- references of what was merged ----

create or replace function complaintd.api_find(p_ref text) returns uuid language plpgsql stable
set search_path = pg_catalog, pg_temp as $$
declare
    v_id uuid;
begin
    select coalesce(c.merged_into, c.id) into v_id from complaintd.complaint c where c.ref = p_ref;
    if v_id is null then
        select a.complaint_id into v_id from complaintd.ref_aliases a where a.ref = p_ref;
    end if;
    if v_id is null then
        raise exception 'no complaint has the reference %', p_ref using errcode = 'CD404';
    end if;
    return v_id;
end $$;

-- A complaint and those that were merged into it.
create function complaintd.api_family(p_id uuid) returns uuid[] language plpgsql stable
set search_path = pg_catalog, pg_temp as $$
begin
    return array(select p_id union all select c.id from complaintd.complaint c where c.merged_into = p_id);
end $$;

create or replace function complaintd.api_notifications(p_id uuid, p_purpose text) returns jsonb language plpgsql stable
set search_path = pg_catalog, pg_temp set timezone = 'UTC' as $$
declare
    v_ids uuid[] := complaintd.api_family(p_id);
begin
    return (select coalesce(jsonb_agg(x.one order by x.created_at, x.id), '[]') from (
        select n.id, n.created_at, jsonb_strip_nulls(jsonb_build_object('id', n.id, 'purpose', n.purpose, 'class', n.class,
            'level', n.level, 'transport', n.transport, 'recipient', n.recipient, 'state', n.state, 'attempts', n.attempts,
            'created_at', n.created_at, 'next_attempt_at', case when n.state in ('pending', 'unknown') then n.next_attempt_at end,
            'sent_at', n.sent_at, 'delivered_at', n.delivered_at, 'not_after', n.not_after, 'last_error', n.last_error)) as one
        from complaintd.notifications n
        where n.complaint_id = any (v_ids) and (p_purpose is null or n.purpose = p_purpose)
        order by n.created_at desc, n.id desc limit 100) x);
end $$;

create function complaintd.api_notes(p_id uuid) returns jsonb language plpgsql stable
set search_path = pg_catalog, pg_temp set timezone = 'UTC' as $$
declare
    v_ids uuid[] := complaintd.api_family(p_id);
begin
    return (select coalesce(jsonb_agg(to_jsonb(n) - 'complaint_id' order by n.at, n.id), '[]')
            from complaintd.notes n where n.complaint_id = any (v_ids));
end $$;

-- Of a link that intake made both sides hear; MERGE and SPLIT write one for each.
create index links_other on complaintd.links (other_id);
create function complaintd.api_links(p_id uuid) returns jsonb language plpgsql stable
set search_path = pg_catalog, pg_temp set timezone = 'UTC' as $$
begin
    return (select coalesce(jsonb_agg(jsonb_build_object('ref', o.ref, 'kind', x.kind) order by x.at, o.ref, x.kind), '[]')
            from (select l.other_id as id, l.kind, l.at from complaintd.links l where l.complaint_id = p_id
                  union all
                  select l.complaint_id, l.kind, l.at from complaintd.links l where l.other_id = p_id
                      and l.kind in ('possibly-related', 'same-message-id', 'same-thread', 'new-matter')
                      and not exists (select from complaintd.links y where y.complaint_id = p_id and y.other_id = l.complaint_id
                                      and y.kind = l.kind)) x
            join complaintd.complaint o on o.id = x.id);
end $$;

create or replace function complaintd.api_show(p_ref text, p_full boolean) returns setof jsonb language plpgsql stable
set search_path = pg_catalog, pg_temp set timezone = 'UTC' as $$
declare
    v_id uuid := complaintd.api_find(p_ref);
begin
    if not p_full then
        return query select jsonb_build_object('ref', c.ref, 'status', c.status, 'outcome', c.outcome,
                                               'received_at', c.received_at) from complaintd.complaint c where c.id = v_id;
        return;
    end if;
    return query select (to_jsonb(v) - 'decision' - 'subject' - 'body') || jsonb_build_object('subject', v.subject,
            'due', (select complaintd.api_next_due(c, t) from complaintd.complaint c
                    left join complaintd.timers t on t.complaint_id = c.id where c.id = v_id),
            'messages', complaintd.api_messages(v_id), 'deadlines', complaintd.api_deadlines(v_id),
            'steps', complaintd.api_steps(v_id), 'notifications', complaintd.api_notifications(v_id, null),
            'notes', complaintd.api_notes(v_id), 'links', complaintd.api_links(v_id),
            'events', (select coalesce(jsonb_agg(e.one order by e.seq), '[]') from (
                           select ev.seq, jsonb_build_object('seq', ev.seq, 'at', ev.at, 'actor', ev.actor, 'kind', ev.kind,
                                                             'data', ev.data) as one
                           from complaintd.events ev where ev.complaint_id = v_id order by ev.seq desc limit 50) e))
        from complaintd.complaints v where v.id = v_id;
end $$;

-- Why each further message is where it is: the last 50 of them.
create function complaintd.api_followups(p_id uuid) returns jsonb language plpgsql stable
set search_path = pg_catalog, pg_temp set timezone = 'UTC' as $$
declare
    v_ids uuid[] := complaintd.api_family(p_id);
begin
    return (select coalesce(jsonb_agg(x.one order by x.at, x.id), '[]') from (
        select e.at, e.id, jsonb_strip_nulls(jsonb_build_object('message', e.id, 'at', e.at, 'actor', e.actor, 'class', e.data::jsonb -> 'class',
                                                               'thread', e.data::jsonb -> 'thread')) as one
        from complaintd.event e where e.complaint_id = any (v_ids) and e.kind in ('message-received', 'message-attached')
        order by e.at desc limit 50) x);
end $$;

create or replace function complaintd.api_explain(p_ref text) returns setof jsonb language plpgsql stable
set search_path = pg_catalog, pg_temp set timezone = 'UTC' as $$
declare
    v_id uuid := complaintd.api_find(p_ref);
begin
    return query select jsonb_build_object('ref', c.ref, 'received_at', c.received_at, 'channel', c.channel, 'desks', c.desks,
            'category', c.category, 'priority', c.priority, 'team', c.team, 'tags', c.tags, 'policy', c.policy,
            'degraded', c.degraded, 'decision', c.decision::jsonb, 'messages', complaintd.api_followups(v_id),
            'deadlines', complaintd.api_deadlines(v_id),
            'steps', complaintd.api_steps(v_id), 'acknowledged_at', c.acknowledged_at,
            'acknowledgement', complaintd.api_notifications(v_id, 'acknowledgement') -> 0,
            'links', complaintd.api_links(v_id))
        from complaintd.complaint c where c.id = v_id;
end $$;

-- ---- MERGE and SPLIT ----

-- Both by reference, locked in the order of their ids, as batches lock (attach_message). What they led to may have changed while this waited.
create function complaintd.api_lock_two(p_one uuid, p_two uuid) returns void language plpgsql
set search_path = pg_catalog, pg_temp as $$
begin
    perform 1 from (select t.complaint_id from complaintd.timers t where t.complaint_id in (p_one, p_two) order by t.complaint_id for update) x;
    perform 1 from (select c.id from complaintd.complaint c where c.id in (p_one, p_two) order by c.id for no key update) x;
end $$;

-- Ends all steps that are left, also those that nothing else ends; returns how many.
create function complaintd.stop_all_steps(p_complaint uuid, p_reason text) returns integer language plpgsql
set search_path = pg_catalog, pg_temp as $$
declare
    t complaintd.timers;
    v_n integer;
    v_stopped integer := 0;
begin
    select * into t from complaintd.timers x where x.complaint_id = p_complaint for update;
    v_n := coalesce(array_length(t.steps, 1), 0);
    t.step_stopped := complaintd.places(t.step_stopped, v_n);
    t.step_reason := complaintd.places(t.step_reason, v_n);
    for i in 1 .. v_n loop
        if t.step_fired[i] is null and t.step_stopped[i] is null then
            t.step_stopped[i] := complaintd.now();
            t.step_reason[i] := p_reason;
            v_stopped := v_stopped + 1;
        end if;
    end loop;
    update complaintd.timers x set step_stopped = t.step_stopped, step_reason = t.step_reason, next_at = null
        where x.complaint_id = p_complaint and v_stopped > 0;
    return v_stopped;
end $$;

-- MERGE: the complaint becomes part of the other, which answers to its reference, has its messages and gets what is written to it. Its own
-- row stays, closed as a duplicate, with its events, its receipts and what it told people. SPLIT of the message that opened it undoes this.
create function complaintd.api_merge(p_ref text, p_into text, p_actor text, p_from text[], p_to text[])
returns setof jsonb language plpgsql
set search_path = pg_catalog, pg_temp set timezone = 'UTC' as $$
declare
    v_a uuid := complaintd.api_find(p_ref);
    v_b uuid := complaintd.api_find(p_into);
    a complaintd.complaint;
    b complaintd.complaint;
    v_moved integer;
    v_stopped integer;
begin
    perform complaintd.api_lock_two(v_a, v_b);
    if complaintd.api_find(p_ref) <> v_a or complaintd.api_find(p_into) <> v_b then
        raise exception 'merged or split meanwhile' using errcode = '40001';
    end if;
    select * into a from complaintd.complaint c where c.id = v_a;
    select * into b from complaintd.complaint c where c.id = v_b;
    if v_a = v_b then
        raise exception 'MERGE is not possible: % and % are the same complaint', p_ref, p_into using errcode = 'CD409';
    end if;
    if a.status <> all (p_from) then
        raise exception 'MERGE is not possible: % is %', a.ref, a.status using errcode = 'CD409';
    end if;
    v_stopped := complaintd.stop_all_steps(v_a, 'merged');
    update complaintd.message m set complaint_id = v_b where m.complaint_id = v_a and m.id >= coalesce(a.first_id, a.id);
    get diagnostics v_moved = row_count;
    update complaintd.complaint c set status = p_to[array_position(p_from, a.status)], outcome = 'duplicate', merged_into = v_b,
        duplicate_of = v_b, resolved_at = coalesce(c.resolved_at, complaintd.now()), closed_at = coalesce(c.closed_at, complaintd.now())
        where c.id = v_a;
    update complaintd.complaint c set merged_into = v_b, duplicate_of = v_b where c.merged_into = v_a;
    update complaintd.complaint c set first_id = least(coalesce(c.first_id, c.id), coalesce(a.first_id, a.id)),
        desks = c.desks || array(select d from unnest(a.desks) as d where d <> all (c.desks)) where c.id = v_b;
    update complaintd.ref_aliases r set complaint_id = v_b where r.complaint_id = v_a;
    insert into complaintd.ref_aliases values (a.ref, v_b) on conflict (ref) do update set complaint_id = v_b;
    -- what the customer is owed still goes out; the reference in it leads to the other complaint
    update complaintd.notifications n set state = 'suppressed', last_error = 'merged into ' || b.ref
        where n.complaint_id = v_a and n.state in ('pending', 'unknown') and n.class <> 'statutory';
    insert into complaintd.links (complaint_id, other_id, kind) values (v_a, v_b, 'merged-into'), (v_b, v_a, 'merged') on conflict do nothing;
    perform complaintd.add_event(v_a, p_actor, 'merged-into', jsonb_build_object('into', b.ref, 'from', a.status, 'messages', v_moved,
                                                                               'steps_stopped', v_stopped));
    perform complaintd.add_event(v_b, p_actor, 'merged', jsonb_build_object('ref', a.ref, 'messages', v_moved));
    return query select jsonb_build_object('ref', a.ref, 'into', b.ref, 'status', c.status, 'outcome', c.outcome, 'messages', v_moved,
                                           'steps_stopped', v_stopped) from complaintd.complaint c where c.id = v_a;
end $$;

-- The new complaint of a message that was a further one: owned, timed and answered as the one it came from, its clocks from the time of
-- the message. p_why: why it is not acknowledged, null where it is.
create function complaintd.api_split_new(c complaintd.complaint, m complaintd.messages, p_ref text, p_actor text, p_why text, p_life interval)
returns void language plpgsql
set search_path = pg_catalog, pg_temp set timezone = 'UTC' as $$
declare
    v_mail text := case when strpos(m.sender, '@') > 0 then m.sender end;
    v_phone text := case when m.sender like '+%' and strpos(m.sender, '@') = 0 then m.sender end;
    v_customer complaintd.customers;
    v_desk text := coalesce(m.desk, c.desk);
    v_now timestamptz := complaintd.now();
begin
    select u.* into v_customer from complaintd.customer_handles h join complaintd.customers u on u.id = h.customer_id
        where h.handle = coalesce('mail:' || v_mail, 'tel:' || v_phone);
    insert into complaintd.complaint (id, ref, desk, desks, channel, category, priority, language, region, team, policy, customer_id,
                                      customer_name, customer_email, customer_phone, received_at, decision)
        values (m.id, p_ref, v_desk, array[v_desk], m.channel, c.category, c.priority, coalesce(v_customer.language, c.language), c.region,
                c.team, c.policy, v_customer.id, v_customer.name, v_mail, v_phone, m.received_at,
                jsonb_build_object('split', jsonb_build_object('from', c.ref, 'by', p_actor), 'thread', '[]'::jsonb,
                                   'acknowledgement', coalesce(p_why, 'pending'))::text);
    insert into complaintd.timers (complaint_id, policy, calendar, anchor_at, acknowledge_due, first_response_due, resolve_due, steps)
        select m.id, t.policy, t.calendar, m.received_at,
               case when p_why is null then m.received_at + (t.acknowledge_due - t.anchor_at) end,
               m.received_at + (t.first_response_due - t.anchor_at), m.received_at + (t.resolve_due - t.anchor_at), t.steps
        from complaintd.timers t where t.complaint_id = c.id;
    update complaintd.timers t set next_at = complaintd.timer_next(t) where t.complaint_id = m.id;
    perform complaintd.add_event(m.id, p_actor, 'received', jsonb_build_object('channel', m.channel, 'class', m.class, 'digest',
        encode(m.digest, 'hex'), 'desk', v_desk, 'category', c.category, 'priority', c.priority, 'team', c.team, 'policy', c.policy,
        'level', 0), m.id, m.received_at);
    if v_mail is null and v_phone is null then
        return;
    end if;
    insert into complaintd.notifications (id, complaint_id, purpose, class, transport, recipient, language, state, created_at, next_attempt_at,
                                          not_after, last_error, idempotency_key)
        values (gen_random_uuid(), m.id, 'acknowledgement', 'statutory', case when v_mail is null then 'sms' else 'mail' end, m.sender,
                coalesce(v_customer.language, c.language), case when p_why is null then 'pending' else 'suppressed' end, v_now, v_now,
                v_now + p_life, p_why, 'ack.' || m.id);
end $$;

-- A merged complaint comes back: open, and its clocks count anew, as for any that is taken up again.
create function complaintd.api_split_back(x complaintd.complaint) returns void language plpgsql
set search_path = pg_catalog, pg_temp as $$
begin
    delete from complaintd.ref_aliases r where r.ref = x.ref;
    delete from complaintd.links l where l.complaint_id = x.id and l.other_id = x.merged_into and l.kind = 'merged-into';
    delete from complaintd.links l where l.complaint_id = x.merged_into and l.other_id = x.id and l.kind = 'merged';
    update complaintd.complaint c set status = 'open', outcome = null, cause = null, remedy = null, merged_into = null, duplicate_of = null,
        resolved_at = null, closed_at = null, acked_at = null, acked_by = null where c.id = x.id;
    perform complaintd.restart_timers(x.id);
end $$;

-- SPLIT: a message becomes a complaint of its own, with those that followed it when p_later. The message that opened a merged complaint
-- brings that one back, with what had come to it. Ancestors that it only mentions stay where they are.
create function complaintd.api_split(p_ref text, p_message uuid, p_later boolean, p_category text, p_team text, p_actor text, p_from text[],
                                     p_new_ref text, p_life interval) returns setof jsonb language plpgsql
set search_path = pg_catalog, pg_temp set timezone = 'UTC' as $$
declare
    v_c uuid := complaintd.api_find(p_ref);
    c complaintd.complaint;
    x complaintd.complaint; -- what was merged into it, null for a new one
    m complaintd.messages;
    v_why text;
    v_moved uuid[];
begin
    perform complaintd.api_lock_two(v_c, p_message);
    if complaintd.api_find(p_ref) <> v_c then
        raise exception 'merged or split meanwhile' using errcode = '40001';
    end if;
    select * into c from complaintd.complaint y where y.id = v_c;
    select * into x from complaintd.complaint y where y.id = p_message and y.id <> v_c;
    select * into m from complaintd.messages y where y.id = p_message;
    if m.id is null or m.complaint_id is distinct from c.id then
        raise exception '% has no such message', c.ref using errcode = 'CD404';
    end if;
    if c.status <> all (p_from) then
        raise exception 'SPLIT is not possible: % is %', c.ref, c.status using errcode = 'CD409';
    end if;
    if m.id = c.id then
        raise exception 'SPLIT is not possible: the message opened %', c.ref using errcode = 'CD409';
    end if;
    if m.direction <> 'in' or m.class <> 'person' then
        raise exception 'SPLIT is not possible: nobody wrote this message' using errcode = 'CD409';
    end if;
    select e.data::jsonb ->> 'no_answer' into v_why from complaintd.event e
        where e.complaint_id = any (complaintd.api_family(c.id)) and e.id = m.id and e.kind in ('message-received', 'message-attached');
    v_moved := array(select y.id from complaintd.messages y where y.complaint_id = c.id and y.id >= coalesce(c.first_id, c.id)
        and (y.id = m.id
             or (p_later and (y.received_at, y.id) > (m.received_at, m.id)
                 and not exists (select from complaintd.complaint o where o.id = y.id)) -- what opened a complaint stays with it
             or (x.id is not null and y.id in (select e.id from complaintd.event e where e.complaint_id = x.id
                                               and e.kind in ('message-received', 'message-attached'))))
        order by y.id);
    if x.id is null then
        perform complaintd.api_split_new(c, m, p_new_ref, p_actor, v_why, p_life);
    else
        perform complaintd.api_split_back(x);
    end if;
    update complaintd.message y set complaint_id = m.id where y.id = any (v_moved);
    update complaintd.thread_keys k set complaint_id = m.id from complaintd.messages y
        where y.id = any (v_moved) and k.key = substr(sha256(convert_to(y.message_id, 'UTF8')), 1, 16) and k.complaint_id = c.id;
    update complaintd.receipts r set complaint_id = m.id from complaintd.messages y
        where y.id = any (v_moved) and r.received_at = y.received_at and r.id = y.id;
    update complaintd.complaint y set category = coalesce(p_category, y.category), team = coalesce(p_team, y.team),
        first_id = case when v_moved[1] < y.id then least(v_moved[1], y.first_id) else y.first_id end where y.id = m.id;
    insert into complaintd.links (complaint_id, other_id, kind) values (m.id, c.id, 'split-from'), (c.id, m.id, 'split-off')
        on conflict do nothing;
    select * into x from complaintd.complaint y where y.id = m.id;
    perform complaintd.add_event(m.id, p_actor, 'split-from', jsonb_build_object('ref', c.ref, 'messages', to_jsonb(v_moved)));
    perform complaintd.add_event(c.id, p_actor, 'split', jsonb_build_object('to', x.ref, 'messages', to_jsonb(v_moved)));
    return query select jsonb_build_object('ref', x.ref, 'from', c.ref, 'id', x.id, 'status', x.status, 'category', x.category, 'team', x.team,
        'messages', cardinality(v_moved), 'due', complaintd.api_next_due(x, t)) from complaintd.timers t where t.complaint_id = x.id;
end $$;
