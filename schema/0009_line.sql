-- What subscribers of the line protocol and clients with desks of their own need.

-- ---- the feed of events ----

-- The transaction that wrote an event. Ids and times are made before the commit and out of order; by (xid, id), and only up to the oldest
-- transaction that still runs, nothing can appear in front of what was read (complaintd.feed). Events from before this migration all have
-- its number. A database that was restored from a dump counts transactions anew: docs/installing.md says what to do then.
alter table complaintd.event add column xid xid8 not null default pg_current_xact_id();
create index event_feed on complaintd.event (xid, id);

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

-- ---- desks of a client ----

-- The desks that the request of this transaction may have to do with, null: all. daemon/requests.c says it before the statement of the
-- verb. Whatever names a complaint finds it through api_find, so that is where it holds.
create function complaintd.api_scope() returns text[] language sql stable
set search_path = pg_catalog, pg_temp as $$ select string_to_array(nullif(current_setting('complaintd.desks', true), ''), E'\n') $$;

create or replace function complaintd.api_find(p_ref text) returns uuid language plpgsql stable
set search_path = pg_catalog, pg_temp as $$
declare
    v_id uuid;
    v_scope text[] := complaintd.api_scope();
begin
    select coalesce(c.merged_into, c.id) into v_id from complaintd.complaint c where c.ref = p_ref;
    if v_id is null then
        select a.complaint_id into v_id from complaintd.ref_aliases a where a.ref = p_ref;
    end if;
    if v_id is null or (v_scope is not null -- what was merged into another has left that one its desks
                        and not exists (select from complaintd.complaint c where c.id = v_id and c.desks && v_scope)) then
        raise exception 'no complaint has the reference %', p_ref using errcode = 'CD404';
    end if;
    return v_id;
end $$;

create or replace function complaintd.api_list(p_status text, p_category text, p_priority text, p_team text, p_assignee text, p_channel text,
                                    p_desk text, p_overdue boolean, p_degraded boolean, p_scan text, p_limit integer, p_after uuid)
returns setof jsonb language plpgsql stable
set search_path = pg_catalog, pg_temp set timezone = 'UTC' as $$
declare
    v_scope text[] := complaintd.api_scope();
begin
    return query execute
        'select jsonb_build_object(''id'', c.id, ''ref'', c.ref, ''status'', c.status, ''outcome'', c.outcome, ''priority'', c.priority,
            ''category'', c.category, ''team'', c.team, ''assignee'', c.assignee, ''desk'', c.desk, ''channel'', c.channel,
            ''subject'', left(coalesce(m.subject, ''''), 200), ''customer_name'', c.customer_name, ''received_at'', c.received_at,
            ''due'', d.due, ''overdue'', coalesce(d.due < complaintd.now(), false), ''escalation_level'', c.escalation_level,
            ''degraded'', c.degraded, ''scan'', complaintd.scan_of(c))
         from complaintd.complaint c
         left join complaintd.timers t on t.complaint_id = c.id
         cross join lateral (select complaintd.api_next_due(c, t) as due) d
         left join complaintd.messages m on m.id = c.id
         where true'
        || case when p_status is not null then ' and c.status = $1' else '' end
        || case when p_category is not null then ' and c.category = $2' else '' end
        || case when p_priority is not null then ' and c.priority = $3' else '' end
        || case when p_team is not null then ' and c.team = $4' else '' end
        || case when p_assignee is not null then ' and c.assignee = $5' else '' end
        || case when p_channel is not null then ' and c.channel = $6' else '' end
        || case when p_desk is not null then ' and $7 = any (c.desks)' else '' end
        || case when p_overdue is not null then ' and coalesce(d.due < complaintd.now(), false) = $8' else '' end
        || case when p_degraded is not null then ' and c.degraded = $9' else '' end
        || case when p_scan <> 'clean' then ' and c.id in (select x.complaint_id from complaintd.scans s
               join complaintd.messages x on x.id = s.message_id where s.verdict <> ''clean'' and s.verdict = $12)' else '' end
        || case when p_scan is not null then ' and complaintd.scan_of(c) = $12' else '' end
        || case when v_scope is not null then ' and c.desks && $13' else '' end
        || case when p_after is not null then ' and c.id < $11' else '' end
        || ' order by c.id desc limit $10'
        using p_status, p_category, p_priority, p_team, p_assignee, p_channel, p_desk, p_overdue, p_degraded,
              coalesce(p_limit, 50), p_after, p_scan, v_scope;
end $$;

-- STATS: who has desks of its own is told of theirs, and nothing of what waits to go out.
create or replace function complaintd.api_stats() returns setof jsonb language sql stable
set search_path = pg_catalog, pg_temp set timezone = 'UTC' as $$
    with scope as materialized (select complaintd.api_scope() as desks),
    o as materialized (
        select c.status, c.priority, c.category, c.team, c.assignee, c.degraded, c.received_at, coalesce(c.first_id, c.id) as first,
               complaintd.api_next_due(c, t) < (select complaintd.now()) as overdue
        from complaintd.complaint c left join complaintd.timers t on t.complaint_id = c.id
        where c.status <> 'closed' and c.status <> 'resolved'
          and ((select s.desks from scope s) is null or c.desks && (select s.desks from scope s)))
    select jsonb_build_object('now', complaintd.now(),
        'open', (select jsonb_build_object('total', count(*), 'overdue', count(*) filter (where o.overdue),
                     'unassigned', count(*) filter (where o.assignee is null),
                     'unclassified', count(*) filter (where o.category = 'unclassified'),
                     'degraded', count(*) filter (where o.degraded), 'oldest', min(o.received_at),
                     'by_status', complaintd.api_counts(array_agg(o.status)),
                     'by_priority', complaintd.api_counts(array_agg(o.priority)),
                     'by_category', complaintd.api_counts(array_agg(o.category)),
                     'by_team', complaintd.api_counts(array_agg(o.team)))
                || case when (select s.desks from scope s) is not null then '{}'::jsonb else jsonb_build_object(
                     'by_scan', complaintd.api_scan_counts((select f.first from o f order by 1 limit 1))) end from o))
        || case when (select s.desks from scope s) is not null then '{}'::jsonb else jsonb_build_object(
        'notifications', (select coalesce(jsonb_object_agg(x.state, x.n), '{}') from
                             (select n.state, count(*) as n from complaintd.notifications n
                              where n.state in ('pending', 'unknown') group by n.state
                              union all select 'sending', count(*) from complaintd.notifications n where n.state = 'sending'
                              having count(*) > 0) x), -- two, as the indexes are
        'pending_triage', (select count(*) from complaintd.pending)) end $$;
