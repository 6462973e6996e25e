-- What was found when the parts of the life cycle, the line protocol and the clients with desks of their own met.

-- ---- what a client has seen ----

-- As before; and what its client has seen is of the complaint under its own reference: the events of what it has become part of since are
-- numbered anew, and may have the same number.
create or replace function complaintd.api_context(p_via text, p_seen integer, p_ref text) returns text language plpgsql
set search_path = pg_catalog, pg_temp as $$
declare
    v_id uuid := case when p_seen is not null then complaintd.api_find(p_ref) end;
    v_ref text := (select c.ref from complaintd.complaint c where c.id = v_id);
begin
    if v_ref <> p_ref then
        raise exception '% is part of % now; look again', p_ref, v_ref using errcode = 'CD409';
    end if;
    perform set_config('complaintd.via', coalesce(p_via, ''), true);
    perform set_config('complaintd.seen', coalesce(v_id || ' ' || p_seen, ''), true);
    return p_ref;
end $$;

-- For who has found a complaint by its reference and locked it: between api_context and the lock it may have become part of another.
create function complaintd.check_same(p_complaint uuid) returns void language plpgsql set search_path = pg_catalog, pg_temp as $$
begin
    if split_part(nullif(current_setting('complaintd.seen', true), ''), ' ', 1)::uuid <> p_complaint then
        raise exception 'merged or split meanwhile' using errcode = '40001';
    end if;
end $$;

create or replace function complaintd.api_take(p_ref text, p_verb text, p_from text[]) returns complaintd.complaint language plpgsql
set search_path = pg_catalog, pg_temp as $$
declare
    v_id uuid := complaintd.api_find(p_ref);
    c complaintd.complaint;
begin
    perform complaintd.check_same(v_id);
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

-- ---- MERGE and SPLIT ----

-- The desks of a complaint that something was taken out of: those it had before anything was merged into it, and those of what still is.
-- p_in: what all that is merged is merged into now.
create function complaintd.desks_left(o complaintd.complaint, p_in uuid) returns text[] language sql stable as $$
    with merged as materialized (select e.data::jsonb as data from complaintd.event e where e.complaint_id = o.id and e.kind = 'merged')
    select coalesce(array_agg(d.desk order by d.place), '{}') from unnest(o.desks) with ordinality as d(desk, place)
        where not exists (select from merged m where m.data -> 'desks' ? d.desk)
            or exists (select from merged m join complaintd.complaint y on y.ref = m.data ->> 'ref' where y.merged_into = p_in and d.desk = any (y.desks)) $$;

-- As before; the event tells which desks came along.
create or replace function complaintd.api_merge(p_ref text, p_into text, p_actor text, p_from text[], p_to text[])
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
    v_desks := array(select d from unnest(a.desks) as d where d <> all (b.desks));
    v_stopped := complaintd.stop_all_steps(v_a, 'merged');
    update complaintd.message m set complaint_id = v_b where m.complaint_id = v_a and m.id >= coalesce(a.first_id, a.id);
    get diagnostics v_moved = row_count;
    update complaintd.complaint c set status = p_to[array_position(p_from, a.status)], outcome = 'duplicate', merged_into = v_b,
        duplicate_of = v_b, resolved_at = coalesce(c.resolved_at, complaintd.now()), closed_at = coalesce(c.closed_at, complaintd.now())
        where c.id = v_a;
    update complaintd.complaint c set merged_into = v_b, duplicate_of = v_b where c.merged_into = v_a;
    update complaintd.complaint c set first_id = least(coalesce(c.first_id, c.id), coalesce(a.first_id, a.id)),
        desks = c.desks || v_desks where c.id = v_b;
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

-- As before; a desk that came with what is brought back goes with it, wherever that was merged on the way; and another team takes the
-- complaint that is brought back from the person who had it.
create or replace function complaintd.api_split(p_ref text, p_message uuid, p_later boolean, p_category text, p_team text, p_actor text, p_from text[],
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
    select * into x from complaintd.complaint y where y.id = m.id;
    perform complaintd.add_event(m.id, p_actor, 'split-from', jsonb_build_object('ref', c.ref, 'messages', to_jsonb(v_moved)));
    perform complaintd.add_event(c.id, p_actor, 'split', jsonb_build_object('to', x.ref, 'messages', to_jsonb(v_moved)));
    return query select jsonb_build_object('ref', x.ref, 'from', c.ref, 'id', x.id, 'status', x.status, 'category', x.category, 'team', x.team,
        'messages', cardinality(v_moved), 'due', complaintd.api_next_due(x, t)) from complaintd.timers t where t.complaint_id = x.id;
end $$;

-- As before; a client with desks of its own is told of no complaint of others, not even its reference.
create or replace function complaintd.api_links(p_id uuid) returns jsonb language plpgsql stable
set search_path = pg_catalog, pg_temp set timezone = 'UTC' as $$
declare
    v_scope text[] := complaintd.api_scope();
begin
    return (select coalesce(jsonb_agg(jsonb_build_object('ref', o.ref, 'kind', x.kind) order by x.at, o.ref, x.kind), '[]')
            from (select l.other_id as id, l.kind, l.at from complaintd.links l where l.complaint_id = p_id
                  union all
                  select l.complaint_id, l.kind, l.at from complaintd.links l where l.other_id = p_id
                      and l.kind in ('possibly-related', 'same-message-id', 'same-thread', 'new-matter')
                      and not exists (select from complaintd.links y where y.complaint_id = p_id and y.other_id = l.complaint_id
                                      and y.kind = l.kind)) x
            join complaintd.complaint o on o.id = x.id where v_scope is null or o.desks && v_scope);
end $$;

-- ---- people ----

-- As before; how many flags are to be reviewed is for those who may see them, and of their desks.
drop function complaintd.api_people_stats();
create function complaintd.api_people_stats(p_may boolean) returns jsonb language sql stable set search_path = pg_catalog, pg_temp as $$
    select jsonb_build_object('people', jsonb_build_object('absent', (select count(*) from complaintd.absent_at(complaintd.now())))
        || case when p_may then jsonb_build_object('reviews_due', (select count(*) from complaintd.vulnerable_customers v
               where v.review_on <= complaintd.today() and complaintd.api_customer_seen(v.customer_id, complaintd.api_scope()))) else '{}' end) $$;

-- ---- VERIFY ----

-- The state that a complaint's events lead to.
create function complaintd.state_told(p_complaint uuid) returns text language plpgsql stable set search_path = pg_catalog, pg_temp as $$
declare
    e record;
    v_state text;
    v_merged boolean := false;
begin
    for e in select x.kind, x.data from complaintd.event x where x.complaint_id = p_complaint and x.kind in ('received', 'acked', 'assigned',
            'replied', 'waiting', 'wait-ended', 'resolved', 'reopened', 'closed', 'merged-into', 'split-from', 'message-received')
            order by x.seq loop
        v_state := case when e.kind = 'received' then 'new'
            when e.kind = 'merged-into' then 'closed'
            when e.kind = 'reopened' or (e.kind = 'split-from' and v_merged) or (e.kind = 'message-received' and v_state = 'waiting') then 'open'
            when e.kind in ('split-from', 'message-received') then v_state
            else e.data::jsonb ->> 'to' end;
        v_merged := e.kind = 'merged-into' or (v_merged and e.kind <> 'split-from');
    end loop;
    return v_state;
end $$;

-- As before; and a chain begins with the event that the complaint has its id of, so that no other complaint's stands there. Nothing follows a
-- chain's last event that would vouch for it, so where links hold they are compared with what they led to: the complaint's state, its notes.
create or replace function complaintd.api_verify(p_ref text, p_after uuid, p_limit integer) returns setof jsonb language plpgsql stable
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
                                           when e.seq = 1 and e.id <> e.complaint_id then 'it is of another complaint'
                                           else 'it was changed: its hash is another' end as fault
        from (select y.*, lag(y.hash, 1, '\x'::bytea) over w as hash_before, lag(y.seq, 1, 0) over w as seq_before
              from complaintd.event y where y.complaint_id = any (v_ids) window w as (partition by y.complaint_id order by y.seq)) e
        where e.seq <> e.seq_before + 1 or e.prev_hash <> e.hash_before or (e.seq = 1 and e.id <> e.complaint_id)
           or e.hash <> complaintd.event_hash(e.prev_hash, e.id, e.seq, e.at, e.actor, e.kind, e.data)
        union all
        select i, null, 'it has no events' from unnest(v_ids) as i
        where not exists (select from complaintd.event y where y.complaint_id = i)) x
        join complaintd.complaint c on c.id = x.complaint_id order by c.id, x.seq nulls first limit 1;
    if v_broken is null then
        select jsonb_build_object('ref', c.ref, 'seq', complaintd.last_event(c.id), 'fault', x.fault) into v_broken from (
            select c.id, 'the complaint is ' || c.status || ', of which its events do not tell: one behind it is missing' as fault
            from complaintd.complaint c where c.id = any (v_ids) and complaintd.state_told(c.id) is distinct from c.status
            union all
            select n.complaint_id, 'no event tells of a note: one behind it is missing' from complaintd.notes n
            where n.complaint_id = any (v_ids) and not exists (select from complaintd.event y where y.complaint_id = n.complaint_id
                and y.data::jsonb ->> 'note' = n.id::text)) x
            join complaintd.complaint c on c.id = x.id order by c.id limit 1;
    end if;
    return next jsonb_strip_nulls(jsonb_build_object('ok', v_broken is null, 'complaints', coalesce(cardinality(v_ids), 0), 'events', v_events,
        'broken', v_broken, 'next', case when p_ref is null and cardinality(v_ids) = p_limit then v_ids[p_limit] end));
end $$;
