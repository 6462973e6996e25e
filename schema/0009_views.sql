-- What others read: the views, and the role that may. Columns are only ever added, at the end.

create view complaintd.messages as
    select id, complaint_id, direction, channel, desk, class, sender, recipients, subject, body, coalesce(text_new, body) as text_new,
           text_quoted, message_id, in_reply_to, received_at, sent_at, raw, digest, charset_note, security from complaintd.message;

create view complaintd.complaints as
    select c.id, c.ref, c.desk, c.channel, c.status, c.outcome, c.category, c.priority, c.language, c.region, c.team, c.assignee,
           c.tags, c.policy, c.customer_id, c.customer_name, c.customer_email, c.customer_phone, m.subject, m.body,
           c.received_at, c.recorded_at, c.acknowledged_at, c.responded_at, c.resolved_at, c.closed_at, c.acked_at, c.acked_by,
           c.escalation_level, c.degraded, c.duplicate_of, c.merged_into, c.cause, c.remedy, c.satisfaction, c.decision::jsonb as decision, c.desks,
           complaintd.scan_of(c) as scan, case when c.status = 'waiting' then c.state_until end as waiting_until,
           c.remedy_sought, c.representative::jsonb as representative
    from complaintd.complaint c left join complaintd.messages m on m.id = c.id;

create view complaintd.events as
    select id, complaint_id, seq, at, actor, kind, data::jsonb as data, prev_hash, hash from complaintd.event;

create view complaintd.deadlines as
    select t.complaint_id, d.kind, 1 as n, 'service'::text as family, d.due_at, null::timestamptz as warned_at, d.met_at,
           case when coalesce(d.met_at, complaintd.now()) > d.due_at then d.due_at end as breached_at,
           null::timestamptz as cancelled_at, t.policy, t.calendar,
           jsonb_build_object('anchor', 'receipt', 'anchor_at', t.anchor_at, 'target', (d.due_at - t.anchor_at)::text,
                              'calendar', t.calendar, 'counted', jsonb_build_array(jsonb_build_array(t.anchor_at, d.due_at)))
               as explanation
    from complaintd.timers t
    join complaintd.complaint c on c.id = t.complaint_id
    cross join lateral (values ('acknowledge', t.acknowledge_due, c.acknowledged_at),
                               ('first-response', t.first_response_due, coalesce(c.responded_at, c.resolved_at)),
                               ('resolve', t.resolve_due, c.resolved_at)) as d(kind, due_at, met_at)
    where d.due_at is not null;

create view complaintd.steps as
    select t.complaint_id, t.policy, s.level, s.due_at, s.fired_at, s.stopped_at, s.reason as stop_reason, s.repeat
    from complaintd.timers t cross join lateral complaintd.timer_steps(t) as s;

do $$ begin
    create role complaintd_reader nologin;
exception when duplicate_object or insufficient_privilege then null;
end $$;
do $$ begin
    grant usage on schema complaintd to complaintd_reader;
    grant select on complaintd.complaints, complaintd.messages, complaintd.attachments, complaintd.customers, complaintd.events,
        complaintd.deadlines, complaintd.steps, complaintd.notifications, complaintd.receipts, complaintd.scans to complaintd_reader;
exception when undefined_object then
    raise warning 'the role complaintd_reader is missing: create it as a superuser, then grant it select on the relations of docs';
end $$;
