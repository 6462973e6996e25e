-- The chains of events as others see them: read in the order of commits (SUBSCRIBE), closed day by day, walked link by link (VERIFY).

-- ---- the feed ----

-- The next p_limit events after a place, in order, each with the desks of its complaint (a line each) and as a row for subscribers.
-- `horizon` is the oldest transaction that still runs: all before it is there; `newest` the first that had not begun. At least one row,
-- of nulls when there is no event. The planner may only merge the indexes of the partitions: it knows neither the place nor the limit,
-- and a plan made while tables are small lives long. What is switched off counts as very dear, which is no reason to compile it.
create function complaintd.feed(p_xid xid8, p_id uuid, p_limit integer)
returns table (xid text, id uuid, kind text, desks text, line text, horizon text, newest text) language plpgsql stable
set search_path = pg_catalog, pg_temp set timezone = 'UTC' set enable_sort = off set enable_seqscan = off set enable_bitmapscan = off
set enable_hashjoin = off set enable_mergejoin = off set jit = off as $$
declare
    v_now pg_snapshot := pg_current_snapshot();
begin
    -- Nothing has ended since the caller was told the horizon: there is nothing to open all the partitions for.
    if p_id = 'ffffffff-ffff-ffff-ffff-ffffffffffff' and p_xid::text::numeric + 1 >= pg_snapshot_xmin(v_now)::text::numeric then
        return query select null::text, null::uuid, null::text, null::text, null::text, pg_snapshot_xmin(v_now)::text, pg_snapshot_xmax(v_now)::text;
        return;
    end if;
    return query select e.xid::text, e.id, e.kind, array_to_string(c.desks, E'\n'),
            format('{"cursor":"%s:%s","id":"%s","ref":%s,"desk":%s,"seq":%s,"at":%s,"actor":%s,"kind":%s,"data":%s}', e.xid, e.id, e.id,
                   coalesce(to_json(c.ref)::text, 'null'), coalesce(to_json(c.desk)::text, 'null'), e.seq, to_json(e.at), to_json(e.actor),
                   to_json(e.kind), e.data), -- as JSON it stands there, on one line
            h.xmin::text, h.xmax::text
        from (select pg_snapshot_xmin(v_now) as xmin, pg_snapshot_xmax(v_now) as xmax) h
        left join lateral (select x.* from complaintd.event x where (x.xid, x.id) > (p_xid, p_id) and x.xid < h.xmin
                           order by x.xid, x.id limit p_limit) e on true
        left join complaintd.complaint c on c.id = e.complaint_id
        order by e.xid, e.id;
end $$;

-- ---- closing a day ----

-- Nothing follows the last event of a chain that would vouch for it. So once a day (UTC) the last events of all complaints that changed since
-- the time before are kept beside them, chained to those of the day before, and the hash goes to the log (daemon/store/closing.c): who takes
-- an event away at the end, or computes a chain anew, would have to change the journal as well. A day with many events has several rows.
create table complaintd.closings (
    n bigint primary key,
    day date not null,
    until xid8 not null, -- events of transactions before it are seen to
    whole boolean not null, -- the last row of its day
    at timestamptz not null,
    complaints integer not null,
    prev_hash bytea not null,
    hash bytea not null
);
create table complaintd.closed_heads (
    complaint_id uuid not null,
    n bigint not null,
    seq integer not null,
    hash bytea not null,
    primary key (n, complaint_id)
);
create index closed_heads_complaint on complaintd.closed_heads (complaint_id);

create function complaintd.closing_hash(p_prev bytea, p_n bigint, p_day date, p_heads bytea) returns bytea language sql immutable as
$$ select sha256(p_prev || convert_to(p_n || ' ' || to_char(p_day, 'YYYY-MM-DD') || ' ', 'UTF8') || coalesce(p_heads, '\x')) $$;

-- Up to some p_most events of what has not been closed, if yesterday has not been. day null: nothing to do, or another instance is at it.
-- A place behind the horizon is one of another database, from which this one was loaded: then all of it is closed again.
create function complaintd.close_day(p_most integer, out day date, out complaints integer, out n bigint, out hash text, out more boolean)
language plpgsql set search_path = pg_catalog, pg_temp set enable_sort = off set enable_seqscan = off set enable_bitmapscan = off
set jit = off as $$
declare
    v_day date := (clock_timestamp() at time zone 'UTC')::date - 1;
    v_horizon xid8 := pg_snapshot_xmin(pg_current_snapshot());
    v_last complaintd.closings;
    v_from xid8;
    v_until xid8;
    v_heads bytea;
    v_hash bytea;
begin
    if not pg_try_advisory_xact_lock(78, 4) then
        return;
    end if;
    select * into v_last from complaintd.closings c order by c.n desc limit 1;
    if v_last.whole and v_last.day >= v_day then
        return;
    end if;
    v_from := case when v_last.until <= v_horizon then v_last.until else '0' end;
    select e.xid into v_until from complaintd.event e where e.xid >= v_from and e.xid < v_horizon order by e.xid, e.id offset p_most limit 1;
    more := v_until is not null;
    if more and not exists (select from complaintd.event e where e.xid >= v_from and e.xid < v_until) then -- all are of one transaction
        v_until := (v_until::text::numeric + 1)::text::xid8;
        more := exists (select from complaintd.event e where e.xid >= v_until and e.xid < v_horizon);
    end if;
    v_until := coalesce(v_until, v_horizon);
    n := coalesce(v_last.n, 0) + 1;
    with changed as materialized (select distinct e.complaint_id from complaintd.event e where e.xid >= v_from and e.xid < v_until),
    heads as (insert into complaintd.closed_heads as k (complaint_id, n, seq, hash)
              select c.complaint_id, close_day.n, h.seq, h.hash from changed c cross join lateral (
                  select e.seq, e.hash from complaintd.event e where e.complaint_id = c.complaint_id and e.xid < v_until order by e.seq desc limit 1) h
              returning k.complaint_id, k.seq, k.hash)
    select count(*)::integer, string_agg(uuid_send(h.complaint_id) || int4send(h.seq) || h.hash, '' order by h.complaint_id)
        into complaints, v_heads from heads h;
    if complaints = 0 then
        return; -- another look, when something has happened
    end if;
    v_hash := complaintd.closing_hash(coalesce(v_last.hash, '\x'), n, v_day, v_heads);
    insert into complaintd.closings values (n, v_day, v_until, not more, clock_timestamp(), complaints, coalesce(v_last.hash, '\x'), v_hash);
    day := v_day;
    hash := encode(v_hash, 'hex');
end $$;

-- Of the p_most closings after the p_after-th the first that is not what was kept of it.
create function complaintd.closing_broken(p_after bigint, p_most bigint) returns jsonb language sql stable set search_path = pg_catalog, pg_temp as $$
    with chain as (select c.*, lag(c.hash, 1, '\x'::bytea) over w as hash_before, lag(c.n, 1, 0::bigint) over w as n_before
                   from complaintd.closings c window w as (order by c.n)),
    part as (select * from chain c where c.n > p_after order by c.n limit p_most)
    select jsonb_build_object('day', to_char(c.day, 'YYYY-MM-DD'), 'closing', c.n, 'fault',
                              'what was kept when this day was closed is no longer that, or of a day before it something is missing')
        from part c cross join lateral (
            select count(*) as complaints, string_agg(uuid_send(k.complaint_id) || int4send(k.seq) || k.hash, '' order by k.complaint_id) as heads
            from complaintd.closed_heads k where k.n = c.n) k
        where c.n <> c.n_before + 1 or c.prev_hash <> c.hash_before or k.complaints <> c.complaints
            or c.hash <> complaintd.closing_hash(c.prev_hash, c.n, c.day, k.heads) order by c.n limit 1 $$;

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

-- What does not hold in the chains of these complaints, as {"ref", "seq", "fault"}; null: all of it does. Each event must follow the one before it
-- and have the hash of what it says; a chain begins with the event that the complaint has its id of, so that no other complaint's stands there.
-- Nothing follows a chain's last event that would vouch for it, so where links hold they are compared with what they led to: the complaint's
-- state, its notes; and the events that days were closed with must still be there.
create function complaintd.chain_broken(p_ids uuid[]) returns jsonb language plpgsql stable
set search_path = pg_catalog, pg_temp as $$
declare
    v_broken jsonb;
begin
    select jsonb_build_object('ref', c.ref, 'seq', coalesce(x.seq, 1), 'fault', x.fault) into v_broken from (
        select e.complaint_id, e.seq, case when e.seq <> e.seq_before + 1 then 'an event before it is missing'
                                           when e.prev_hash <> e.hash_before then 'it does not follow the event before it'
                                           when e.seq = 1 and e.id <> e.complaint_id then 'it is of another complaint'
                                           else 'it was changed: its hash is another' end as fault
        from (select y.*, lag(y.hash, 1, '\x'::bytea) over w as hash_before, lag(y.seq, 1, 0) over w as seq_before
              from complaintd.event y where y.complaint_id = any (p_ids) window w as (partition by y.complaint_id order by y.seq)) e
        where e.seq <> e.seq_before + 1 or e.prev_hash <> e.hash_before or (e.seq = 1 and e.id <> e.complaint_id)
           or e.hash <> complaintd.event_hash(e.prev_hash, e.id, e.seq, e.at, e.actor, e.kind, e.data)
        union all
        select i, null, 'it has no events' from unnest(p_ids) as i
        where not exists (select from complaintd.event y where y.complaint_id = i)) x
        join complaintd.complaint c on c.id = x.complaint_id order by c.id, x.seq nulls first limit 1;
    if v_broken is null then
        select jsonb_build_object('ref', c.ref, 'seq', complaintd.last_event(c.id), 'fault', x.fault) into v_broken from (
            select c.id, 'the complaint is ' || c.status || ', of which its events do not tell: one behind it is missing' as fault
            from complaintd.complaint c where c.id = any (p_ids) and complaintd.state_told(c.id) is distinct from c.status
            union all
            select n.complaint_id, 'no event tells of a note: one behind it is missing' from complaintd.notes n
            where n.complaint_id = any (p_ids) and not exists (select from complaintd.event y where y.complaint_id = n.complaint_id
                and y.data::jsonb ->> 'note' = n.id::text)) x
            join complaintd.complaint c on c.id = x.id order by c.id limit 1;
    end if;
    if v_broken is null then
        select jsonb_build_object('ref', c.ref, 'seq', k.seq, 'fault', 'it is not, or no longer, what stood there when '
                || to_char(d.day, 'YYYY-MM-DD') || ' was closed') into v_broken
            from complaintd.closed_heads k join complaintd.closings d on d.n = k.n join complaintd.complaint c on c.id = k.complaint_id
            left join complaintd.event e on e.complaint_id = k.complaint_id and e.seq = k.seq
            where k.complaint_id = any (p_ids) and e.hash is distinct from k.hash order by c.id, k.seq limit 1;
    end if;
    return v_broken;
end $$;

-- A page of the closings. The last page tells the last closing, whose hash is in the journal.
create function complaintd.verify_closings(p_after bigint, p_most bigint) returns jsonb language plpgsql stable
set search_path = pg_catalog, pg_temp as $$
declare
    v_broken jsonb := complaintd.closing_broken(p_after, p_most);
    v_last complaintd.closings;
begin
    select * into v_last from complaintd.closings c order by c.n desc limit 1;
    return jsonb_strip_nulls(jsonb_build_object('ok', v_broken is null, 'complaints', 0, 'events', 0, 'broken', v_broken,
        'next', case when v_last.n > p_after + p_most then 'ffffffff-ffff-ffff-ffff-' || lpad(to_hex(p_after + p_most), 12, '0') end,
        'closed', case when v_last.n <= p_after + p_most then jsonb_build_object('day', to_char(v_last.day, 'YYYY-MM-DD'), 'closing', v_last.n,
                                                                                 'hash', encode(v_last.hash, 'hex')) end));
end $$;

-- VERIFY: the chains of one complaint, or of the next p_limit complaints after p_after, by id; `next`: where to go on. When all complaints were
-- looked at, the closings follow, page by page as well: `next` is then an id that no complaint has, with the number of a closing at its end.
create function complaintd.api_verify(p_ref text, p_after uuid, p_limit integer) returns setof jsonb language plpgsql stable
set search_path = pg_catalog, pg_temp set timezone = 'UTC' as $$
declare
    v_scope text[] := complaintd.api_scope();
    v_ids uuid[];
    v_broken jsonb;
begin
    if p_ref is null and v_scope is null and p_after >= 'ffffffff-ffff-ffff-ffff-000000000000' then
        return next complaintd.verify_closings(('x' || right(p_after::text, 12))::bit(48)::bigint, 20);
        return;
    end if;
    if p_ref is not null then
        v_ids := complaintd.api_family(complaintd.api_find(p_ref));
    else
        v_ids := array(select c.id from complaintd.complaint c where (p_after is null or c.id > p_after) and (v_scope is null or c.desks && v_scope)
                       order by c.id limit p_limit);
    end if;
    v_broken := complaintd.chain_broken(v_ids);
    return next jsonb_strip_nulls(jsonb_build_object('ok', v_broken is null, 'complaints', cardinality(v_ids),
        'events', (select count(e.seq) from complaintd.event e where e.complaint_id = any (v_ids)), 'broken', v_broken,
        'next', case when p_ref is null and cardinality(v_ids) = p_limit then v_ids[p_limit]::text
                     when p_ref is null and v_scope is null and exists (select from complaintd.closings) then 'ffffffff-ffff-ffff-ffff-000000000000' end));
end $$;
