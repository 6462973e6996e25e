-- What checkers said of a mail (daemon/scan). A row for each message that was checked, or could not be; none while nothing is configured,
-- so that intake pays for it only then. Messages of one complaint may differ: the complaint's verdict is the worst of theirs.
create table complaintd.scans (
    message_id uuid primary key,
    verdict text not null, -- clean unscanned suspect quarantined
    detail text compression lz4 not null, -- JSON: what each checker said
    scanned_at timestamptz not null,
    attempts integer not null default 0, -- to check it again
    next_attempt_at timestamptz -- when a checker is missing whose word might change it; real time, null: never
);
create index scans_again on complaintd.scans (next_attempt_at) where next_attempt_at is not null;
create index scans_verdict on complaintd.scans (verdict, message_id) where verdict <> 'clean';

create function complaintd.scan_worst(p_verdicts text[]) returns text language sql immutable
set search_path = pg_catalog, pg_temp as $$
    select v from unnest(array['quarantined', 'suspect', 'unscanned', 'clean']) with ordinality as w(v, n) where v = any (p_verdicts)
    order by n limit 1 $$;

-- Of a complaint; null when none of its messages was ever checked. Looks at no message when nothing was checked since the first of them.
create function complaintd.scan_of(c complaintd.complaint) returns text language plpgsql stable
set search_path = pg_catalog, pg_temp as $$
begin
    if not exists (select from complaintd.scans s where s.message_id >= coalesce(c.first_id, c.id)) then
        return null;
    end if;
    return (select complaintd.scan_worst(array_agg(s.verdict)) from complaintd.messages m join complaintd.scans s on s.message_id = m.id
            where m.complaint_id = c.id and m.id >= coalesce(c.first_id, c.id));
end $$;

-- Messages whose time to be checked again has come, those that waited longest first, about 4 MB at once; one always fits. The next time is set before
-- the check, so that one which ends a checker, or us, does not come back at once.
create function complaintd.rescan_claim(p_pause interval, p_most integer)
returns table (message_id uuid, attempts integer, recipients text[], raw bytea) language plpgsql
set search_path = pg_catalog, pg_temp as $$
begin
    return query
        with due as materialized (
            select s.message_id as id, s.next_attempt_at as at, coalesce(octet_length(m.raw), 0) as bytes
            from complaintd.scans s join complaintd.messages m on m.id = s.message_id
            where s.next_attempt_at <= statement_timestamp() order by s.next_attempt_at limit p_most for update of s skip locked),
        sized as (select id, row_number() over w as place, sum(bytes) over w as total from due window w as (order by at, id)),
        taken as (
            update complaintd.scans s set attempts = s.attempts + 1,
                next_attempt_at = clock_timestamp() + least(p_pause * power(2, least(s.attempts, 20)), interval '1 day')
            where s.message_id = any (array(select id from sized where place = 1 or total <= 4194304))
            returning s.message_id, s.attempts)
        select t.message_id, t.attempts, m.recipients, m.raw from taken t join complaintd.messages m on m.id = t.message_id;
end $$;

-- The verdict of a message that was checked again; p_again: it will be once more. What was known before stays where the new answer says
-- nothing of it, and a suspicion does not go away because of it: the field of a server in front was believed once. An acknowledgement that has not left yet stays here when
-- p_silence says why, and is then no longer owed.
create function complaintd.rescanned(p_message uuid, p_verdict text, p_detail text, p_again boolean, p_silence text) returns void
language plpgsql set search_path = pg_catalog, pg_temp as $$
declare
    v_complaint uuid;
    v_before text;
    v_verdict text;
    v_next timestamptz;
begin
    select m.complaint_id into v_complaint from complaintd.messages m where m.id = p_message;
    if p_silence is not null and v_complaint = p_message then
        update complaintd.notifications n set state = 'suppressed', last_error = p_silence
            where n.complaint_id = v_complaint and n.purpose = 'acknowledgement' and n.state = 'pending';
        if found then
            update complaintd.timers t set acknowledge_due = null where t.complaint_id = v_complaint;
        end if;
    end if;
    if v_complaint is not null then -- the complaint before the row of the scan, as an action that moves messages would take them
        perform 1 from complaintd.complaint c where c.id = v_complaint for no key update;
    end if;
    select s.verdict, s.next_attempt_at into v_before, v_next from complaintd.scans s where s.message_id = p_message for update;
    if v_next is null then
        return; -- another instance was first
    end if;
    v_verdict := case v_before when 'unscanned' then p_verdict else complaintd.scan_worst(array[v_before, p_verdict]) end;
    update complaintd.scans s set verdict = v_verdict, scanned_at = complaintd.now(),
        detail = (s.detail::jsonb || p_detail::jsonb || jsonb_build_object('verdict', v_verdict))::text,
        next_attempt_at = case when p_again then v_next end where s.message_id = p_message;
    if v_complaint is not null and v_verdict <> v_before then
        perform complaintd.add_event(v_complaint, 'scan', 'message-scanned',
            jsonb_build_object('message', p_message, 'from', v_before, 'to', v_verdict));
    end if;
end $$;

-- ---- what people see ----

create or replace view complaintd.complaints as
    select c.id, c.ref, c.desk, c.channel, c.status, c.outcome, c.category, c.priority, c.language, c.region, c.team, c.assignee,
           c.tags, c.policy, c.customer_id, c.customer_name, c.customer_email, c.customer_phone, m.subject, m.body,
           c.received_at, c.recorded_at, c.acknowledged_at, c.responded_at, c.resolved_at, c.closed_at, c.acked_at, c.acked_by,
           c.escalation_level, c.degraded, c.duplicate_of, c.merged_into, c.cause, c.remedy, c.satisfaction, c.decision::jsonb as decision, c.desks,
           complaintd.scan_of(c) as scan
    from complaintd.complaint c left join complaintd.messages m on m.id = c.id;

create or replace function complaintd.api_messages(p_id uuid) returns jsonb language plpgsql stable
set search_path = pg_catalog, pg_temp set timezone = 'UTC' as $$
begin -- plpgsql keeps the plan, which takes long to make for many partitions
    return (select coalesce(jsonb_agg(x.one order by x.received_at, x.id), '[]') from (
        select m.id, m.received_at, jsonb_strip_nulls(jsonb_build_object('id', m.id, 'direction', m.direction, 'channel', m.channel,
            'desk', m.desk, 'class', m.class, 'sender', m.sender, 'recipients', m.recipients, 'subject', m.subject,
            'body', left(m.body, 200000), 'cut', case when length(m.body) > 200000 then true end,
            'text_new', case when m.text_quoted is not null then left(m.text_new, 200000) end,
            'quoted_lines', 1 + length(m.text_quoted) - length(replace(m.text_quoted, E'\n', '')), 'message_id', m.message_id,
            'in_reply_to', m.in_reply_to, 'received_at', m.received_at, 'sent_at', m.sent_at, 'charset_note', m.charset_note,
            'security', m.security, 'attachments',
            (select jsonb_agg(complaintd.api_attachment_row(a) order by a.n)
             from complaintd.attachments a where a.message_id = m.id),
            'scan', (select s.detail::jsonb || jsonb_build_object('attempts', s.attempts)
                     from complaintd.scans s where s.message_id = m.id))) as one
        from complaintd.message m where m.complaint_id = p_id
            and m.id >= (select coalesce(c.first_id, c.id) from complaintd.complaint c where c.id = p_id)
        order by m.received_at desc, m.id desc limit 100) x);
end $$;

create or replace function complaintd.api_explain(p_ref text) returns setof jsonb language plpgsql stable
set search_path = pg_catalog, pg_temp set timezone = 'UTC' as $$
declare
    v_id uuid := complaintd.api_find(p_ref);
begin
    return query select jsonb_build_object('ref', c.ref, 'received_at', c.received_at, 'channel', c.channel, 'desks', c.desks,
            'category', c.category, 'priority', c.priority, 'team', c.team, 'tags', c.tags, 'policy', c.policy,
            'degraded', c.degraded, 'scan', complaintd.scan_of(c), 'decision', c.decision::jsonb, 'messages', complaintd.api_followups(v_id),
            'deadlines', complaintd.api_deadlines(v_id),
            'steps', complaintd.api_steps(v_id), 'acknowledged_at', c.acknowledged_at,
            'acknowledgement', complaintd.api_notifications(v_id, 'acknowledgement') -> 0,
            'links', complaintd.api_links(v_id))
        from complaintd.complaint c where c.id = v_id;
end $$;

-- LIST with one filter more: the scan of a complaint. The messages with that verdict say which complaints may have it.
drop function complaintd.api_list(text, text, text, text, text, text, text, boolean, boolean, integer, uuid);
create function complaintd.api_list(p_status text, p_category text, p_priority text, p_team text, p_assignee text, p_channel text,
                                    p_desk text, p_overdue boolean, p_degraded boolean, p_scan text, p_limit integer, p_after uuid)
returns setof jsonb language plpgsql stable
set search_path = pg_catalog, pg_temp set timezone = 'UTC' as $$
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
        || case when p_after is not null then ' and c.id < $11' else '' end
        || ' order by c.id desc limit $10'
        using p_status, p_category, p_priority, p_team, p_assignee, p_channel, p_desk, p_overdue, p_degraded,
              coalesce(p_limit, 50), p_after, p_scan;
end $$;

-- How many open complaints have each verdict but clean. p_since: the oldest message of those that are open, so that only what was checked
-- since then is read.
create function complaintd.api_scan_counts(p_since uuid) returns jsonb language plpgsql stable
set search_path = pg_catalog, pg_temp as $$
begin
    return (select complaintd.api_counts(array_agg(x.worst)) from (
        select complaintd.scan_worst(array_agg(s.verdict)) as worst
        from complaintd.scans s join complaintd.messages m on m.id = s.message_id join complaintd.complaint c on c.id = m.complaint_id
        where s.verdict in ('unscanned', 'suspect', 'quarantined') and s.verdict <> 'clean' and s.message_id >= p_since
            and c.status <> 'closed' and c.status <> 'resolved' group by c.id) x);
end $$;

create or replace function complaintd.api_stats() returns setof jsonb language sql stable
set search_path = pg_catalog, pg_temp set timezone = 'UTC' as $$
    with o as materialized (
        select c.status, c.priority, c.category, c.team, c.assignee, c.degraded, c.received_at, coalesce(c.first_id, c.id) as first,
               complaintd.api_next_due(c, t) < (select complaintd.now()) as overdue
        from complaintd.complaint c left join complaintd.timers t on t.complaint_id = c.id
        where c.status <> 'closed' and c.status <> 'resolved')
    select jsonb_build_object('now', complaintd.now(),
        'open', (select jsonb_build_object('total', count(*), 'overdue', count(*) filter (where o.overdue),
                     'unassigned', count(*) filter (where o.assignee is null),
                     'unclassified', count(*) filter (where o.category = 'unclassified'),
                     'degraded', count(*) filter (where o.degraded), 'oldest', min(o.received_at),
                     'by_status', complaintd.api_counts(array_agg(o.status)),
                     'by_priority', complaintd.api_counts(array_agg(o.priority)),
                     'by_category', complaintd.api_counts(array_agg(o.category)),
                     'by_team', complaintd.api_counts(array_agg(o.team)),
                     'by_scan', complaintd.api_scan_counts((select f.first from o f order by 1 limit 1))) from o),
        'notifications', (select coalesce(jsonb_object_agg(x.state, x.n), '{}') from
                             (select n.state, count(*) as n from complaintd.notifications n
                              where n.state in ('pending', 'unknown') group by n.state
                              union all select 'sending', count(*) from complaintd.notifications n where n.state = 'sending'
                              having count(*) > 0) x), -- two, as the indexes are
        'pending_triage', (select count(*) from complaintd.pending)) $$;

do $$ begin
    grant select on complaintd.scans to complaintd_reader;
exception when undefined_object then null; -- 0001 said so
end $$;
