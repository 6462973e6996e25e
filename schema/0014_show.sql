-- SHOW and EXPLAIN, and the parts that they are made of. Functions behind the verbs of daemon/cases/verbs.c return rows of one jsonb. What a
-- caller did wrong is raised with a stable SQLSTATE and a message for people: CD404 not found, CD403 not for this client, CD409 not allowed in
-- this state, CD400 bad argument. They run with the rights of the caller; times are RFC 3339 in UTC.

-- ---- what a client with desks is told of other complaints ----

-- Whether a reference leads to something that the request's client may see; as api_find().
create function complaintd.api_sees(p_ref text) returns boolean language plpgsql stable
set search_path = pg_catalog, pg_temp as $$
begin
    perform complaintd.api_find(p_ref);
    return true;
exception when sqlstate 'CD404' then
    return false;
end $$;

-- A part of an answer; for a client with desks without references that lead elsewhere: null stands for them, and within a text
-- ("merged into …") other words.
create function complaintd.api_masked(p jsonb) returns jsonb language plpgsql stable
set search_path = pg_catalog, pg_temp as $$
declare
    v_text text := p::text;
    v_ref text;
begin
    if complaintd.api_scope() is null then
        return p;
    end if;
    for v_ref in select distinct r[1] from regexp_matches(v_text, '(C-[0-9A-Z]{4}-[0-9A-Z]{4}-[0-9A-Z]{4})', 'g') r loop
        if not complaintd.api_sees(v_ref) then
            v_text := replace(replace(v_text, '"' || v_ref || '"', 'null'), v_ref, 'another complaint');
        end if;
    end loop;
    return v_text::jsonb;
end $$;

-- ---- the parts ----

-- text_new only where it is another than the body, and how much is quoted beside it.
create function complaintd.api_messages(p_id uuid) returns jsonb language plpgsql stable
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

create function complaintd.api_deadlines(p_id uuid) returns jsonb language sql stable
set search_path = pg_catalog, pg_temp set timezone = 'UTC' as $$
    select coalesce(jsonb_agg(to_jsonb(d) - 'complaint_id' order by d.due_at, d.kind), '[]')
    from complaintd.deadlines d where d.complaint_id = p_id $$;

create function complaintd.api_steps(p_id uuid) returns jsonb language sql stable
set search_path = pg_catalog, pg_temp set timezone = 'UTC' as $$
    select coalesce(jsonb_agg(to_jsonb(s) - 'complaint_id' order by s.due_at, s.level), '[]')
    from complaintd.steps s where s.complaint_id = p_id $$;

create function complaintd.api_notifications(p_id uuid, p_purpose text) returns jsonb language plpgsql stable
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

-- Of a link that intake made both sides hear; MERGE and SPLIT write one for each. A client with desks of its own is told of no complaint of
-- others, not even its reference.
create function complaintd.api_links(p_id uuid) returns jsonb language plpgsql stable
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
            join complaintd.complaint o on o.id = x.id where v_scope is null or (o.desks && v_scope and complaintd.api_sees(o.ref)));
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

-- ---- the verbs ----

-- SHOW: everything that people need; only the state when p_full is false.
create function complaintd.api_show(p_ref text, p_full boolean) returns setof jsonb language plpgsql stable
set search_path = pg_catalog, pg_temp set timezone = 'UTC' as $$
declare
    v_id uuid := complaintd.api_find(p_ref);
    v_due timestamptz;
begin
    if not p_full then
        return query select jsonb_build_object('ref', c.ref, 'status', c.status, 'outcome', c.outcome,
                                               'received_at', c.received_at) from complaintd.complaint c where c.id = v_id;
        return;
    end if;
    select complaintd.api_next_due(c, t) into v_due from complaintd.complaint c left join complaintd.timers t on t.complaint_id = c.id where c.id = v_id;
    return query select (to_jsonb(v) - 'decision' - 'subject' - 'body') || jsonb_build_object('subject', v.subject,
            'due', v_due, 'overdue', coalesce(v_due < complaintd.now(), false),
            'messages', complaintd.api_messages(v_id), 'deadlines', complaintd.api_deadlines(v_id),
            'steps', complaintd.api_steps(v_id), 'notifications', complaintd.api_masked(complaintd.api_notifications(v_id, null)),
            'notes', complaintd.api_notes(v_id), 'links', complaintd.api_links(v_id),
            'events', complaintd.api_masked((select coalesce(jsonb_agg(e.one order by e.seq), '[]') from (
                           select ev.seq, jsonb_build_object('seq', ev.seq, 'at', ev.at, 'actor', ev.actor, 'kind', ev.kind,
                                                             'data', ev.data) as one
                           from complaintd.events ev where ev.complaint_id = v_id order by ev.seq desc limit 50) e)))
        from complaintd.complaints v where v.id = v_id;
end $$;

-- EXPLAIN: why it was decided so, how its deadlines were computed, and what became of the acknowledgement.
create function complaintd.api_explain(p_ref text) returns setof jsonb language plpgsql stable
set search_path = pg_catalog, pg_temp set timezone = 'UTC' as $$
declare
    v_id uuid := complaintd.api_find(p_ref);
begin
    return query select jsonb_build_object('ref', c.ref, 'received_at', c.received_at, 'channel', c.channel, 'desks', c.desks,
            'category', c.category, 'priority', c.priority, 'team', c.team, 'tags', c.tags, 'policy', c.policy,
            'degraded', c.degraded, 'scan', complaintd.scan_of(c), 'decision', complaintd.api_masked(c.decision::jsonb),
            'messages', complaintd.api_masked(complaintd.api_followups(v_id)),
            'deadlines', complaintd.api_deadlines(v_id),
            'steps', complaintd.api_steps(v_id), 'acknowledged_at', c.acknowledged_at,
            'acknowledgement', complaintd.api_masked(complaintd.api_notifications(v_id, 'acknowledgement') -> 0),
            'links', complaintd.api_links(v_id))
        from complaintd.complaint c where c.id = v_id;
end $$;
