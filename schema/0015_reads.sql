-- LIST that looks only at what is not done where no other complaint can pass its filter.

-- In the order of LIST: those that are not done are few, and a page of them, of those overdue or of those waiting was looked for among all. Takes
-- the place of an index by received_at that served STATS alone, which needs no order; so intake enters as many as before.
drop index complaintd.complaint_open;
create index complaint_open on complaintd.complaint (id) where status <> 'closed' and status <> 'resolved';

-- As before, but: what is found by words goes on as an array, which is looked up by key (to join it without hash joins compared each complaint
-- that passes the filter with each hit); what is overdue says that it is not done; and no second look where the newest rows were all.
create or replace function complaintd.api_list(p_status text, p_category text, p_priority text, p_team text, p_assignee text, p_channel text,
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
        || case when p_status is not null then ' and c.status = $1' else '' end
        || case when p_overdue then ' and c.status <> ''closed'' and c.status <> ''resolved''' else '' end
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
