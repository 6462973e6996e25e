-- MERGE and SPLIT; docs/adr/0005-threads.md.

-- Both by reference, locked in the order of their ids, as batches lock (attach_message). What they led to may have changed while this waited.
create function complaintd.api_lock_two(p_one uuid, p_two uuid) returns void language plpgsql
set search_path = pg_catalog, pg_temp as $$
begin
    perform 1 from (select t.complaint_id from complaintd.timers t where t.complaint_id in (p_one, p_two) order by t.complaint_id for update) x;
    perform 1 from (select c.id from complaintd.complaint c where c.id in (p_one, p_two) order by c.id for no key update) x;
end $$;

-- MERGE: the complaint becomes part of the other, which answers to its reference, has its messages and gets what is written to it. Its own
-- row stays, closed as a duplicate, with its events, its receipts and what it told people. SPLIT of the message that opened it undoes this. The event
-- tells which desks came along. Refused where the other complaint has somebody of a team that the first is about (complaint_conflict sees to
-- the team and the person themselves); p_teams: of each member of a team all their teams, as the configuration has them.
create function complaintd.api_merge(p_ref text, p_into text, p_actor text, p_from text[], p_to text[], p_teams jsonb)
returns setof jsonb language plpgsql
set search_path = pg_catalog, pg_temp set timezone = 'UTC' as $$
declare
    v_a uuid := complaintd.api_find(p_ref);
    v_b uuid := complaintd.api_find(p_into);
    a complaintd.complaint;
    b complaintd.complaint;
    v_desks text[];
    v_moved integer;
    v_stopped integer;
begin
    perform complaintd.check_same(v_a);
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
    if complaintd.words(p_teams -> b.assignee) && a.about then
        raise exception '% is about a team of %, who has %: give that one to somebody else first', a.ref, b.assignee, b.ref using errcode = 'CD409';
    end if;
    v_desks := array(select d from unnest(a.desks) as d where d <> all (b.desks));
    v_stopped := complaintd.stop_all_steps(v_a, 'merged');
    update complaintd.message m set complaint_id = v_b where m.complaint_id = v_a and m.id >= coalesce(a.first_id, a.id);
    get diagnostics v_moved = row_count;
    update complaintd.complaint c set status = p_to[array_position(p_from, a.status)], outcome = 'duplicate', merged_into = v_b,
        duplicate_of = v_b, resolved_at = coalesce(c.resolved_at, complaintd.now()), closed_at = coalesce(c.closed_at, complaintd.now()),
        degraded = false where c.id = v_a;
    update complaintd.complaint c set merged_into = v_b, duplicate_of = v_b where c.merged_into = v_a;
    update complaintd.complaint c set first_id = least(coalesce(c.first_id, c.id), coalesce(a.first_id, a.id)),
        desks = c.desks || v_desks, degraded = c.degraded or a.degraded where c.id = v_b;
    update complaintd.ref_aliases r set complaint_id = v_b where r.complaint_id = v_a;
    insert into complaintd.ref_aliases values (a.ref, v_b) on conflict (ref) do update set complaint_id = v_b;
    -- what the customer is owed still goes out; the reference in it leads to the other complaint
    update complaintd.notifications n set state = 'suppressed', last_error = 'merged into ' || b.ref
        where n.complaint_id = v_a and n.state in ('pending', 'unknown') and n.class <> 'statutory';
    insert into complaintd.links (complaint_id, other_id, kind) values (v_a, v_b, 'merged-into'), (v_b, v_a, 'merged') on conflict do nothing;
    perform complaintd.add_event(v_a, p_actor, 'merged-into', jsonb_build_object('into', b.ref, 'from', a.status, 'messages', v_moved,
                                                                               'steps_stopped', v_stopped));
    perform complaintd.add_event(v_b, p_actor, 'merged', jsonb_build_object('ref', a.ref, 'messages', v_moved, 'desks', to_jsonb(v_desks)));
    return query select jsonb_build_object('ref', a.ref, 'into', b.ref, 'status', c.status, 'outcome', c.outcome, 'messages', v_moved,
                                           'steps_stopped', v_stopped) from complaintd.complaint c where c.id = v_a;
end $$;

-- The desks of a complaint that something was taken out of: those it had before anything was merged into it, and those of what still is.
-- p_in: what all that is merged is merged into now.
create function complaintd.desks_left(o complaintd.complaint, p_in uuid) returns text[] language sql stable as $$
    with merged as materialized (select e.data::jsonb as data from complaintd.event e where e.complaint_id = o.id and e.kind = 'merged')
    select coalesce(array_agg(d.desk order by d.place), '{}') from unnest(o.desks) with ordinality as d(desk, place)
        where not exists (select from merged m where m.data -> 'desks' ? d.desk)
            or exists (select from merged m join complaintd.complaint y on y.ref = m.data ->> 'ref' where y.merged_into = p_in and d.desk = any (y.desks)) $$;

-- The new complaint of a message that was a further one: owned, timed and answered as the one it came from, and about the same people, its
-- clocks from the time of the message. p_why: why it is not acknowledged, null where it is.
create function complaintd.api_split_new(c complaintd.complaint, m complaintd.messages, p_ref text, p_actor text, p_why text,
                                         p_life interval) returns void language plpgsql
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
    insert into complaintd.complaint (id, ref, desk, desks, channel, category, priority, language, region, skills, about, team, policy,
                                      customer_id, customer_name, customer_email, customer_phone, received_at, decision)
        values (m.id, p_ref, v_desk, array[v_desk], m.channel, c.category, c.priority, coalesce(v_customer.language, c.language), c.region,
                c.skills, c.about, c.team, c.policy, v_customer.id, v_customer.name, v_mail, v_phone, m.received_at,
                jsonb_build_object('split', jsonb_build_object('from', c.ref, 'by', p_actor), 'thread', '[]'::jsonb,
                                   'team_from', c.decision::jsonb -> 'team_from', 'acknowledgement', coalesce(p_why, 'pending'))::text);
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
-- brings that one back, with what had come to it. Ancestors that it only mentions stay where they are. A desk that came with
-- what is brought back goes with it, wherever that was merged on the way; and another team takes the complaint that is brought back from the
-- person who had it. A client with desks may make one of a desk that is not its own: that is where the message came to.
create function complaintd.api_split(p_ref text, p_message uuid, p_later boolean, p_category text, p_team text, p_actor text, p_from text[],
                                     p_new_ref text, p_life interval) returns setof jsonb language plpgsql
set search_path = pg_catalog, pg_temp set timezone = 'UTC' as $$
declare
    v_c uuid := complaintd.api_find(p_ref);
    c complaintd.complaint;
    x complaintd.complaint; -- what was merged into it, null for a new one
    o complaintd.complaint;
    m complaintd.messages;
    v_why text;
    v_moved uuid[];
begin
    perform complaintd.check_same(v_c);
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
                 and not exists (select from complaintd.complaint n where n.id = y.id)) -- what opened a complaint stays with it
             or (x.id is not null and y.id in (select e.id from complaintd.event e where e.complaint_id = x.id
                                               and e.kind in ('message-received', 'message-attached'))))
        order by y.id);
    if x.id is null then
        perform complaintd.api_split_new(c, m, p_new_ref, p_actor, v_why, p_life);
    else
        perform complaintd.api_split_back(x);
        for o in select * from complaintd.complaint y where y.merged_into = c.id or y.id = c.id order by y.id = c.id, y.closed_at, y.id loop
            update complaintd.complaint y set desks = complaintd.desks_left(o, c.id) where y.id = o.id and y.desks <> complaintd.desks_left(o, c.id);
        end loop;
    end if;
    update complaintd.message y set complaint_id = m.id where y.id = any (v_moved);
    update complaintd.thread_keys k set complaint_id = m.id from complaintd.messages y
        where y.id = any (v_moved) and k.key = substr(sha256(convert_to(y.message_id, 'UTF8')), 1, 16) and k.complaint_id = c.id;
    update complaintd.receipts r set complaint_id = m.id from complaintd.messages y
        where y.id = any (v_moved) and r.received_at = y.received_at and r.id = y.id;
    update complaintd.complaint y set category = coalesce(p_category, y.category), team = coalesce(p_team, y.team),
        assignee = case when coalesce(p_team, y.team) = y.team then y.assignee end,
        first_id = case when v_moved[1] < y.id then least(v_moved[1], y.first_id) else y.first_id end where y.id = m.id;
    insert into complaintd.links (complaint_id, other_id, kind) values (m.id, c.id, 'split-from'), (c.id, m.id, 'split-off')
        on conflict do nothing;
    if c.degraded then
        update complaintd.complaint y set degraded = cardinality(complaintd.degraded_messages(y.id)) > 0 where y.id in (m.id, c.id);
    end if;
    select * into x from complaintd.complaint y where y.id = m.id;
    perform complaintd.add_event(m.id, p_actor, 'split-from', jsonb_build_object('ref', c.ref, 'messages', to_jsonb(v_moved)));
    perform complaintd.add_event(c.id, p_actor, 'split', jsonb_build_object('to', x.ref, 'messages', to_jsonb(v_moved)));
    return query select complaintd.api_masked(jsonb_build_object('ref', x.ref, 'from', c.ref, 'id', x.id, 'status', x.status,
        'category', x.category, 'team', x.team, 'messages', cardinality(v_moved), 'due', complaintd.api_next_due(x, t)))
        from complaintd.timers t where t.complaint_id = x.id;
end $$;
