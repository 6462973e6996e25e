-- What a complaint is about, and the ways by which it could still come to those. Last events, kept elsewhere as well.

-- As before; and who it is about does not take it by ACK.
create or replace function complaintd.complaint_conflict() returns trigger language plpgsql set search_path = pg_catalog, pg_temp as $$
declare
    o complaintd.complaint;
begin
    if new.team is distinct from old.team and new.team = any (new.about) then
        raise exception '% is about the team %: it goes to another', new.ref, new.team using errcode = 'CD409';
    end if;
    if new.assignee is distinct from old.assignee and new.assignee = any (new.about) then
        raise exception '% is about %: it goes to somebody else', new.ref, new.assignee using errcode = 'CD409';
    end if;
    if new.acked_by is distinct from old.acked_by and new.acked_by = any (new.about) then
        raise exception '% is about %: somebody else takes it', new.ref, new.acked_by using errcode = 'CD409';
    end if;
    if new.merged_into is not null and old.merged_into is null then
        select * into o from complaintd.complaint x where x.id = new.merged_into;
        if o.team = any (new.about) or o.assignee = any (new.about) then
            raise exception '% is about who has %: give that one to somebody else first', new.ref, o.ref using errcode = 'CD409';
        end if;
        update complaintd.complaint x set about = array(select distinct a from unnest(x.about || new.about) a order by a)
            where x.id = o.id;
    end if;
    return new;
end $$;
drop trigger complaint_conflict on complaintd.complaint;
create trigger complaint_conflict before update of team, assignee, acked_by, merged_into on complaintd.complaint
    for each row when (new.about is not null) execute function complaintd.complaint_conflict();

-- MERGE, refused where the other complaint has somebody of a team that the first is about; complaint_conflict sees to the team and the person
-- themselves. p_teams: of each member of a team all their teams, as the configuration has them.
create function complaintd.api_merge_to(p_ref text, p_into text, p_actor text, p_from text[], p_to text[], p_teams jsonb)
returns setof jsonb language plpgsql
set search_path = pg_catalog, pg_temp set timezone = 'UTC' as $$
declare
    v_a uuid := complaintd.api_find(p_ref);
    v_b uuid := complaintd.api_find(p_into);
    a complaintd.complaint;
    b complaintd.complaint;
begin
    perform complaintd.api_lock_two(v_a, v_b);
    select * into a from complaintd.complaint c where c.id = v_a;
    select * into b from complaintd.complaint c where c.id = v_b;
    if complaintd.words(p_teams -> b.assignee) && a.about then
        raise exception '% is about a team of %, who has %: give that one to somebody else first', a.ref, b.assignee, b.ref using errcode = 'CD409';
    end if;
    return query select complaintd.api_merge(p_ref, p_into, p_actor, p_from, p_to);
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

-- As before (0013); and the events that days were closed with must still be there. When all complaints were looked at, the closings follow, page
-- by page as well: `next` is then an id that no complaint has, with the number of a closing at its end. The last page tells the last closing,
-- whose hash is in the journal.
alter function complaintd.api_verify(text, uuid, integer) rename to verify_chains;
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
create function complaintd.api_verify(p_ref text, p_after uuid, p_limit integer) returns setof jsonb language plpgsql stable
set search_path = pg_catalog, pg_temp set timezone = 'UTC' as $$
declare
    v_scope text[] := complaintd.api_scope();
    v_answer jsonb;
    v_ids uuid[];
    v_broken jsonb;
begin
    if p_ref is null and v_scope is null and p_after >= 'ffffffff-ffff-ffff-ffff-000000000000' then
        return next complaintd.verify_closings(('x' || right(p_after::text, 12))::bit(48)::bigint, 20);
        return;
    end if;
    select v into v_answer from complaintd.verify_chains(p_ref, p_after, p_limit) v;
    if p_ref is not null then
        v_ids := complaintd.api_family(complaintd.api_find(p_ref));
    else
        v_ids := array(select c.id from complaintd.complaint c where (p_after is null or c.id > p_after) and (v_scope is null or c.desks && v_scope)
                       order by c.id limit p_limit);
    end if;
    select jsonb_build_object('ref', c.ref, 'seq', k.seq, 'fault', 'it is not, or no longer, what stood there when '
            || to_char(d.day, 'YYYY-MM-DD') || ' was closed') into v_broken
        from complaintd.closed_heads k join complaintd.closings d on d.n = k.n join complaintd.complaint c on c.id = k.complaint_id
        left join complaintd.event e on e.complaint_id = k.complaint_id and e.seq = k.seq
        where k.complaint_id = any (v_ids) and e.hash is distinct from k.hash order by c.id, k.seq limit 1;
    v_broken := coalesce(v_answer -> 'broken', v_broken);
    return next v_answer || jsonb_strip_nulls(jsonb_build_object('ok', v_broken is null, 'broken', v_broken, 'next',
        case when v_answer ? 'next' then v_answer ->> 'next'
             when p_ref is null and v_scope is null and exists (select from complaintd.closings) then 'ffffffff-ffff-ffff-ffff-000000000000' end));
end $$;
