-- LIST, and what is counted of all complaints (STATS).

-- LIST: newest first; p_after is the id of the last row of the page before. The statement is put together from the conditions that
-- were given, so that the planner sees only those; values never become part of its text. Of what is overdue it says that it is not done, so that
-- an index has it. p_scan: the messages with that verdict say which complaints may have it. p_detail: with everything that an export wants.
-- p_search: a whole reference, or words that a message of the complaint must hold, all of them. Words are first looked for in the newest rows of
-- complaintd.search, read in order: that finds a page of what is frequent; the index of words is for what is left, which then is rare. What is
-- found by words goes on as an array, which is looked up by key: to join it without hash joins would compare each complaint that passes the
-- filter with each hit.
create function complaintd.api_list(p_status text, p_category text, p_priority text, p_team text, p_assignee text, p_channel text,
                                    p_desk text, p_overdue boolean, p_degraded boolean, p_scan text, p_limit integer, p_after uuid,
                                    p_search text, p_detail boolean)
returns setof jsonb language plpgsql stable
set search_path = pg_catalog, pg_temp set timezone = 'UTC' as $$
declare
    v_scope text[] := complaintd.api_scope();
    v_left bigint := coalesce(p_limit, 50);
    v_rows bigint;
    v_query tsquery;
    v_edge uuid; -- of the newest rows
    v_filtered boolean := num_nonnulls(p_status, p_category, p_priority, p_team, p_assignee, p_channel, p_desk, p_overdue, p_degraded, p_scan, v_scope) > 0;
    v_id uuid;
    v_ids uuid[]; -- what the stage has to choose from
    v_hits bigint; -- among the newest; null: that stage is over
    v_list text;
    v_from text := '';
begin
    if p_search ~ '^C-[0-9A-Z]{4}-[0-9A-Z]{4}-[0-9A-Z]{4}$' then
        begin
            v_id := complaintd.api_find(p_search);
        exception when sqlstate 'CD404' then
            return;
        end;
        v_from := ' and c.id = $14';
    elsif p_search is not null then
        v_query := complaintd.search_query(p_search);
        if v_query is null then
            raise exception 'nothing to search for: give words, or a reference' using errcode = 'CD400';
        end if;
        select s.complaint_id into v_edge from complaintd.search s
            where s.complaint_id < coalesce(p_after, 'ffffffff-ffff-ffff-ffff-ffffffffffff') order by s.complaint_id desc offset 5000 limit 1;
        v_edge := coalesce(v_edge, '00000000-0000-0000-0000-000000000000');
        v_ids := array(select complaintd.search_newest(v_query, v_edge, p_after, case when v_filtered then null else v_left end));
        v_hits := cardinality(v_ids);
        v_from := ' and c.id = any ($15)';
    end if;
    v_list :=
        'select jsonb_build_object(''id'', c.id, ''ref'', c.ref, ''status'', c.status, ''outcome'', c.outcome, ''priority'', c.priority,
            ''category'', c.category, ''team'', c.team, ''assignee'', c.assignee, ''desk'', c.desk, ''channel'', c.channel,
            ''subject'', left(coalesce(m.subject, ''''), 200), ''customer_name'', c.customer_name, ''received_at'', c.received_at,
            ''due'', d.due, ''overdue'', coalesce(d.due < complaintd.now(), false), ''escalation_level'', c.escalation_level,
            ''degraded'', c.degraded, ''scan'', complaintd.scan_of(c))'
        || case when p_detail then ' || jsonb_build_object(''customer_email'', c.customer_email, ''customer_phone'', c.customer_phone,
            ''language'', c.language, ''region'', c.region, ''tags'', c.tags, ''policy'', c.policy, ''acknowledged_at'', c.acknowledged_at,
            ''responded_at'', c.responded_at, ''acked_at'', c.acked_at, ''acked_by'', c.acked_by, ''resolved_at'', c.resolved_at,
            ''closed_at'', c.closed_at, ''cause'', c.cause, ''remedy'', c.remedy, ''text'', left(m.text_new, 4000))' else '' end
        || ' from complaintd.complaint c
         left join complaintd.timers t on t.complaint_id = c.id
         cross join lateral (select complaintd.api_next_due(c, t) as due) d
         left join complaintd.messages m on m.id = c.id
         where true'
        || case when p_status <> 'active' then ' and c.status = $1' else '' end
        || case when p_overdue or p_status = 'active' then ' and c.status <> ''closed'' and c.status <> ''resolved''' else '' end
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
        || case when v_scope is not null then ' and c.desks && $16' else '' end
        || case when p_after is not null then ' and c.id < $11' else '' end;
    loop
        return query execute v_list || v_from || ' order by c.id desc limit $10'
            using p_status, p_category, p_priority, p_team, p_assignee, p_channel, p_desk, p_overdue, p_degraded, v_left, p_after, p_scan,
                  v_query, v_id, v_ids, v_scope, v_edge;
        get diagnostics v_rows = row_count;
        v_left := v_left - v_rows;
        exit when v_left <= 0 or v_hits is null or v_edge = '00000000-0000-0000-0000-000000000000';
        if v_filtered and v_hits > 25 then
            -- a frequent word with a filter that lets little through: better to walk through what the filter lets through
            v_from := ' and c.id <= $17 and c.id in (select s.complaint_id from complaintd.search s where s.complaint_id <= $17 and s.terms @@ $13)';
        else
            v_ids := array(select complaintd.search_ids(v_query, v_edge, case when v_filtered then null else v_left end));
        end if;
        v_hits := null;
    end loop;
end $$;

-- ---- STATS ----

create function complaintd.api_counts(p_names text[]) returns jsonb language sql immutable
set search_path = pg_catalog, pg_temp as $$
    select coalesce(jsonb_object_agg(x.name, x.n), '{}') from
        (select name, count(*) as n from unnest(p_names) as u(name) where name is not null group by name) x $$;

-- What is open now, and what waits to go out. Who has desks of its own is told of theirs, and nothing of what waits.
create function complaintd.api_stats() returns setof jsonb language sql stable
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
