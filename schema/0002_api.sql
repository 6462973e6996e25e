-- The functions behind the verbs of daemon/cases/commands.c. Each returns rows of one jsonb. What a caller did wrong is raised
-- with a stable SQLSTATE and a message for people: CD404 not found, CD409 not allowed in this state, CD400 bad argument. They run with
-- the rights of the caller; times are RFC 3339 in UTC. Which states an action is allowed in, and where it leads, is said by the
-- life-cycle table in daemon/cases/lifecycle.c and arrives here as two arrays.
-- Locks are taken in the order timers, complaint, as the scheduler of escalations takes them.

-- What people wrote about a complaint among themselves. The events hold only the id and a digest of it.
create table complaintd.notes (
    id uuid primary key default gen_random_uuid(),
    complaint_id uuid not null,
    at timestamptz not null,
    actor text not null,
    body text not null
);
alter table complaintd.notes alter column body set compression lz4;
create index notes_complaint on complaintd.notes (complaint_id);

create function complaintd.api_find(p_ref text) returns uuid language plpgsql stable
set search_path = pg_catalog, pg_temp as $$
declare
    v_id uuid;
begin
    select c.id into v_id from complaintd.complaint c where c.ref = p_ref;
    if v_id is null then
        select a.complaint_id into v_id from complaintd.ref_aliases a where a.ref = p_ref;
    end if;
    if v_id is null then
        raise exception 'no complaint has the reference %', p_ref using errcode = 'CD404';
    end if;
    return v_id;
end $$;

-- The next deadline that nothing has met, null for a complaint that is done.
create function complaintd.api_next_due(c complaintd.complaint, t complaintd.timers) returns timestamptz language sql stable as
$$ select case when c.status in ('new', 'open', 'waiting') then
       least(case when c.acknowledged_at is null then t.acknowledge_due end,
             case when c.responded_at is null then t.first_response_due end, t.resolve_due) end $$;

create function complaintd.api_messages(p_id uuid) returns jsonb language plpgsql stable
set search_path = pg_catalog, pg_temp set timezone = 'UTC' as $$
begin -- plpgsql keeps the plan, which takes long to make for many partitions
    return (select coalesce(jsonb_agg(x.one order by x.received_at, x.id), '[]') from (
        select m.id, m.received_at, jsonb_strip_nulls(jsonb_build_object('id', m.id, 'direction', m.direction, 'channel', m.channel,
            'desk', m.desk, 'class', m.class, 'sender', m.sender, 'recipients', m.recipients, 'subject', m.subject,
            'body', left(m.body, 200000), 'cut', case when length(m.body) > 200000 then true end, 'message_id', m.message_id,
            'in_reply_to', m.in_reply_to, 'received_at', m.received_at, 'sent_at', m.sent_at, 'attachments',
            (select jsonb_agg(jsonb_build_object('n', a.n, 'filename', a.filename, 'content_type', a.content_type,
                 'size_bytes', a.size_bytes, 'sha256', encode(a.sha256, 'hex'), 'inline', a.is_inline) order by a.n)
             from complaintd.attachments a where a.message_id = m.id))) as one
        from complaintd.messages m where m.complaint_id = p_id
            and m.id >= (select coalesce(c.first_id, c.id) from complaintd.complaint c where c.id = p_id)
        order by m.received_at desc, m.id desc limit 100) x);
end $$;

create function complaintd.api_deadlines(p_id uuid) returns jsonb language sql stable
set search_path = pg_catalog, pg_temp set timezone = 'UTC' as $$
    select coalesce(jsonb_agg(to_jsonb(d) - 'complaint_id' order by d.due_at, d.kind), '[]')
    from complaintd.deadlines d where d.complaint_id = p_id $$;

create function complaintd.api_steps(p_id uuid) returns jsonb language sql stable
set search_path = pg_catalog, pg_temp set timezone = 'UTC' as $$
    select coalesce(jsonb_agg(to_jsonb(s) - 'complaint_id' order by s.due_at, s.level), '[]')
    from complaintd.steps s where s.complaint_id = p_id $$;

create function complaintd.api_notifications(p_id uuid, p_purpose text) returns jsonb language sql stable
set search_path = pg_catalog, pg_temp set timezone = 'UTC' as $$
    select coalesce(jsonb_agg(x.one order by x.created_at, x.id), '[]') from (
        select n.id, n.created_at, jsonb_strip_nulls(jsonb_build_object('id', n.id, 'purpose', n.purpose, 'class', n.class,
            'level', n.level, 'transport', n.transport, 'recipient', n.recipient, 'state', n.state, 'attempts', n.attempts,
            'created_at', n.created_at, 'next_attempt_at', case when n.state in ('pending', 'unknown') then n.next_attempt_at end,
            'sent_at', n.sent_at, 'delivered_at', n.delivered_at, 'not_after', n.not_after, 'last_error', n.last_error)) as one
        from complaintd.notifications n
        where n.complaint_id = p_id and (p_purpose is null or n.purpose = p_purpose)
        order by n.created_at desc, n.id desc limit 100) x $$;

-- SHOW: everything that people need; only the state when p_full is false.
create function complaintd.api_show(p_ref text, p_full boolean) returns setof jsonb language plpgsql stable
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
            'notes', (select coalesce(jsonb_agg(to_jsonb(n) - 'complaint_id' order by n.at, n.id), '[]')
                      from complaintd.notes n where n.complaint_id = v_id),
            'links', (select coalesce(jsonb_agg(jsonb_build_object('ref', o.ref, 'kind', l.kind) order by l.at, o.ref), '[]')
                      from complaintd.links l join complaintd.complaint o on o.id = l.other_id where l.complaint_id = v_id),
            'events', (select coalesce(jsonb_agg(e.one order by e.seq), '[]') from (
                           select ev.seq, jsonb_build_object('seq', ev.seq, 'at', ev.at, 'actor', ev.actor, 'kind', ev.kind,
                                                             'data', ev.data) as one
                           from complaintd.events ev where ev.complaint_id = v_id order by ev.seq desc limit 50) e))
        from complaintd.complaints v where v.id = v_id;
end $$;

-- LIST: newest first; p_after is the id of the last row of the page before. The statement is put together from the conditions that
-- were given, so that the planner sees only those; values never become part of its text.
create function complaintd.api_list(p_status text, p_category text, p_priority text, p_team text, p_assignee text, p_channel text,
                                    p_desk text, p_overdue boolean, p_degraded boolean, p_limit integer, p_after uuid)
returns setof jsonb language plpgsql stable
set search_path = pg_catalog, pg_temp set timezone = 'UTC' as $$
begin
    return query execute
        'select jsonb_build_object(''id'', c.id, ''ref'', c.ref, ''status'', c.status, ''outcome'', c.outcome, ''priority'', c.priority,
            ''category'', c.category, ''team'', c.team, ''assignee'', c.assignee, ''desk'', c.desk, ''channel'', c.channel,
            ''subject'', left(coalesce(m.subject, ''''), 200), ''customer_name'', c.customer_name, ''received_at'', c.received_at,
            ''due'', d.due, ''overdue'', coalesce(d.due < complaintd.now(), false), ''escalation_level'', c.escalation_level,
            ''degraded'', c.degraded)
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
        || case when p_after is not null then ' and c.id < $11' else '' end
        || ' order by c.id desc limit $10'
        using p_status, p_category, p_priority, p_team, p_assignee, p_channel, p_desk, p_overdue, p_degraded,
              coalesce(p_limit, 50), p_after;
end $$;

-- EXPLAIN: why it was decided so, how its deadlines were computed, and what became of the acknowledgement.
create function complaintd.api_explain(p_ref text) returns setof jsonb language plpgsql stable
set search_path = pg_catalog, pg_temp set timezone = 'UTC' as $$
declare
    v_id uuid := complaintd.api_find(p_ref);
begin
    return query select jsonb_build_object('ref', c.ref, 'received_at', c.received_at, 'channel', c.channel, 'desks', c.desks,
            'category', c.category, 'priority', c.priority, 'team', c.team, 'tags', c.tags, 'policy', c.policy,
            'degraded', c.degraded, 'decision', c.decision::jsonb, 'deadlines', complaintd.api_deadlines(v_id),
            'steps', complaintd.api_steps(v_id), 'acknowledged_at', c.acknowledged_at,
            'acknowledgement', complaintd.api_notifications(v_id, 'acknowledgement') -> 0,
            'links', (select coalesce(jsonb_agg(jsonb_build_object('ref', o.ref, 'kind', l.kind, 'evidence', l.evidence)
                                                order by l.at, o.ref), '[]')
                      from complaintd.links l join complaintd.complaint o on o.id = l.other_id where l.complaint_id = v_id))
        from complaintd.complaint c where c.id = v_id;
end $$;

-- Locks a complaint for an action and refuses what its state does not allow.
create function complaintd.api_take(p_ref text, p_verb text, p_from text[]) returns complaintd.complaint language plpgsql
set search_path = pg_catalog, pg_temp as $$
declare
    v_id uuid := complaintd.api_find(p_ref);
    c complaintd.complaint;
begin
    perform 1 from complaintd.timers t where t.complaint_id = v_id for update;
    select * into c from complaintd.complaint x where x.id = v_id for no key update;
    if c.status <> all (p_from) then
        raise exception '% is not possible: % is %', p_verb, c.ref, c.status using errcode = 'CD409';
    end if;
    return c;
end $$;

create function complaintd.api_digest(p_text text) returns text language sql immutable
set search_path = pg_catalog, pg_temp as $$ select encode(sha256(convert_to(p_text, 'UTF8')), 'hex') $$;

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

-- ASSIGN: to a person, a team, or both. A new team takes it from the person of the old one.
create function complaintd.api_assign(p_ref text, p_assignee text, p_team text, p_actor text, p_from text[], p_to text[],
                                      p_stops integer) returns setof jsonb language plpgsql
set search_path = pg_catalog, pg_temp set timezone = 'UTC' as $$
declare
    c complaintd.complaint := complaintd.api_take(p_ref, 'ASSIGN', p_from);
    v_to text := p_to[array_position(p_from, c.status)];
    v_team text := coalesce(p_team, c.team);
    v_assignee text := case when p_assignee is null and v_team = c.team then c.assignee else p_assignee end;
    v_stopped integer;
    v_changed boolean := v_to <> c.status or v_team <> c.team or v_assignee is distinct from c.assignee;
begin
    if p_assignee is null and p_team is null then
        raise exception 'ASSIGN needs an assignee or a team' using errcode = 'CD400';
    end if;
    -- a team without a person in it has not taken anything: its ladder goes on
    v_stopped := case when p_assignee is null then 0 else complaintd.stop_steps(c.id, p_stops, 'assign') end;
    if v_changed then
        update complaintd.complaint x set status = v_to, team = v_team, assignee = v_assignee where x.id = c.id;
    end if;
    if v_changed or v_stopped > 0 then
        perform complaintd.add_event(c.id, p_actor, 'assigned',
            jsonb_build_object('from', c.status, 'to', v_to, 'team', v_team, 'assignee', v_assignee, 'steps_stopped', v_stopped));
    end if;
    return next jsonb_build_object('ref', c.ref, 'status', v_to, 'team', v_team, 'assignee', v_assignee, 'changed', v_changed,
                                   'steps_stopped', v_stopped);
end $$;

-- RESOLVE: with an outcome; cause, remedy and a note as far as they are given.
create function complaintd.api_resolve(p_ref text, p_outcome text, p_cause text, p_remedy text, p_note text, p_actor text,
                                       p_from text[], p_to text[], p_stops integer) returns setof jsonb language plpgsql
set search_path = pg_catalog, pg_temp set timezone = 'UTC' as $$
declare
    c complaintd.complaint := complaintd.api_take(p_ref, 'RESOLVE', p_from);
    v_to text := p_to[array_position(p_from, c.status)];
    v_stopped integer := complaintd.stop_steps(c.id, p_stops, 'resolve');
    v_note uuid;
begin
    if p_note is not null then
        insert into complaintd.notes (complaint_id, at, actor, body) values (c.id, complaintd.now(), p_actor, p_note)
            returning id into v_note;
    end if;
    update complaintd.complaint x set status = v_to, outcome = p_outcome, cause = coalesce(p_cause, x.cause),
        remedy = coalesce(p_remedy, x.remedy), resolved_at = complaintd.now() where x.id = c.id;
    perform complaintd.add_event(c.id, p_actor, 'resolved', jsonb_strip_nulls(jsonb_build_object('from', c.status, 'to', v_to,
        'outcome', p_outcome, 'cause_sha256', complaintd.api_digest(p_cause), 'remedy_sha256', complaintd.api_digest(p_remedy),
        'note', v_note, 'note_sha256', complaintd.api_digest(p_note), 'steps_stopped', v_stopped)));
    return query select jsonb_build_object('ref', x.ref, 'status', x.status, 'outcome', x.outcome, 'resolved_at', x.resolved_at,
                                           'steps_stopped', v_stopped)
        from complaintd.complaint x where x.id = c.id;
end $$;

create function complaintd.api_counts(p_names text[]) returns jsonb language sql immutable
set search_path = pg_catalog, pg_temp as $$
    select coalesce(jsonb_object_agg(x.name, x.n), '{}') from
        (select name, count(*) as n from unnest(p_names) as u(name) where name is not null group by name) x $$;

-- STATS: what is open now, and what waits to go out.
create function complaintd.api_stats() returns setof jsonb language sql stable
set search_path = pg_catalog, pg_temp set timezone = 'UTC' as $$
    with o as materialized (
        select c.status, c.priority, c.category, c.team, c.assignee, c.degraded, c.received_at,
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
                     'by_team', complaintd.api_counts(array_agg(o.team))) from o),
        'notifications', (select coalesce(jsonb_object_agg(x.state, x.n), '{}') from
                             (select n.state, count(*) as n from complaintd.notifications n
                              where n.state in ('pending', 'unknown') group by n.state
                              union all select 'sending', count(*) from complaintd.notifications n where n.state = 'sending'
                              having count(*) > 0) x), -- two, as the indexes are
        'pending_triage', (select count(*) from complaintd.pending)) $$;
