-- The clocks of complaints: service targets and the steps of ladders.

-- One row a complaint with all its due times: service targets and the steps of its ladder, expanded with their repeats and sorted by
-- time. steps: one row of four a step: seconds after anchor_at, level, repeat, and bits of what ends it (1 ack, 2 assignment, 4 reply,
-- 8 resolution). next_at: the next step not yet fired or stopped.
create table complaintd.timers (
    complaint_id uuid primary key,
    next_at timestamptz,
    policy text not null,
    calendar text not null,
    anchor_at timestamptz not null,
    acknowledge_due timestamptz,
    first_response_due timestamptz,
    resolve_due timestamptz,
    cycle integer not null default 0, -- how often the ladder began anew
    steps integer[] not null default '{}',
    step_fired timestamptz[] not null default '{}',
    step_stopped timestamptz[] not null default '{}',
    step_reason text[] not null default '{}'
) with (fillfactor = 80, autovacuum_vacuum_scale_factor = 0.02);
create index timers_next on complaintd.timers (next_at) where next_at is not null;
select complaintd.spare_autovacuum('timers');

create function complaintd.timer_steps(t complaintd.timers)
returns table (n integer, due_at timestamptz, level integer, repeat integer, stops integer, fired_at timestamptz, stopped_at timestamptz,
               reason text) language sql immutable as
$$ select i, t.anchor_at + t.steps[i][1] * interval '1 second', t.steps[i][2], t.steps[i][3], t.steps[i][4], t.step_fired[i], t.step_stopped[i],
          t.step_reason[i] from generate_subscripts(t.steps, 1) as i $$;

create function complaintd.timer_next(t complaintd.timers) returns timestamptz language sql immutable as
$$ select min(s.due_at) from complaintd.timer_steps(t) as s where s.fired_at is null and s.stopped_at is null $$;

-- The next deadline that nothing has met, null for a complaint that is done.
create function complaintd.api_next_due(c complaintd.complaint, t complaintd.timers) returns timestamptz language sql stable as
$$ select case when c.status in ('new', 'open', 'waiting') then
       least(case when c.acknowledged_at is null then t.acknowledge_due end,
             case when c.responded_at is null then t.first_response_due end, t.resolve_due) end $$;

-- An array with a place for every step; the row is written with fewer, and a first assignment in the middle of an empty array would
-- shift it.
create function complaintd.places(given anyarray, n integer) returns anyarray language sql immutable as
$$ select case when coalesce(cardinality(given), 0) = n then given else array_cat(given, array_fill(given[0], array[n - cardinality(given)])) end $$;

-- Ends the steps that p_what ends; returns how many.
create function complaintd.stop_steps(p_complaint uuid, p_what integer, p_reason text) returns integer language plpgsql as $$
declare
    t complaintd.timers;
    stopped integer := 0;
begin
    select * into t from complaintd.timers where complaint_id = p_complaint for update;
    if not found then
        return 0;
    end if;
    t.step_stopped := complaintd.places(t.step_stopped, coalesce(array_length(t.steps, 1), 0));
    t.step_reason := complaintd.places(t.step_reason, coalesce(array_length(t.steps, 1), 0));
    for i in 1 .. coalesce(array_length(t.steps, 1), 0) loop
        if t.step_fired[i] is null and t.step_stopped[i] is null and t.steps[i][4] & p_what <> 0 then
            t.step_stopped[i] := complaintd.now();
            t.step_reason[i] := p_reason;
            stopped := stopped + 1;
        end if;
    end loop;
    if stopped > 0 then
        update complaintd.timers set step_stopped = t.step_stopped, step_reason = t.step_reason,
            next_at = complaintd.timer_next(t) where complaint_id = p_complaint;
    end if;
    return stopped;
end $$;

-- Ends all steps that are left, also those that nothing else ends; returns how many.
create function complaintd.stop_all_steps(p_complaint uuid, p_reason text) returns integer language plpgsql
set search_path = pg_catalog, pg_temp as $$
declare
    t complaintd.timers;
    v_n integer;
    v_stopped integer := 0;
begin
    select * into t from complaintd.timers x where x.complaint_id = p_complaint for update;
    v_n := coalesce(array_length(t.steps, 1), 0);
    t.step_stopped := complaintd.places(t.step_stopped, v_n);
    t.step_reason := complaintd.places(t.step_reason, v_n);
    for i in 1 .. v_n loop
        if t.step_fired[i] is null and t.step_stopped[i] is null then
            t.step_stopped[i] := complaintd.now();
            t.step_reason[i] := p_reason;
            v_stopped := v_stopped + 1;
        end if;
    end loop;
    update complaintd.timers x set step_stopped = t.step_stopped, step_reason = t.step_reason, next_at = null
        where x.complaint_id = p_complaint and v_stopped > 0;
    return v_stopped;
end $$;

-- A complaint that is taken up again is owed an answer anew: its targets and its ladder count from now, with the lengths they had. One reading
-- of the clock, or next_at would come some microseconds after the step that it stands for.
create function complaintd.restart_timers(p_complaint uuid) returns void language plpgsql as $$
declare
    v_at timestamptz := complaintd.now();
begin
    update complaintd.timers t set cycle = t.cycle + 1, anchor_at = v_at, acknowledge_due = null,
        first_response_due = t.first_response_due + (v_at - t.anchor_at), resolve_due = t.resolve_due + (v_at - t.anchor_at),
        step_fired = '{}', step_stopped = '{}', step_reason = '{}',
        next_at = v_at + (select min(t.steps[i][1]) from generate_subscripts(t.steps, 1) as i) * interval '1 second'
        where t.complaint_id = p_complaint;
end $$;

-- Due steps of a ladder: marks them, writes what they tell, all or nothing. p_positions: places in steps. The caller holds the row
-- (scheduler.c), so the steps are still as it read them; one that is not is a fault of ours and raises.
create function complaintd.fire_steps(p_complaint uuid, p_positions integer[], p_level integer, p_data jsonb, p_notifications jsonb)
returns void language plpgsql as $$
declare
    t complaintd.timers;
    p integer;
    now_at timestamptz := complaintd.now();
begin
    select * into t from complaintd.timers where complaint_id = p_complaint for update;
    t.step_fired := complaintd.places(t.step_fired, coalesce(array_length(t.steps, 1), 0));
    foreach p in array p_positions loop
        if t.step_fired[p] is not null or t.step_stopped[p] is not null then
            raise exception 'step % fired or stopped before', p using errcode = 'CD409';
        end if;
        t.step_fired[p] := now_at;
    end loop;
    update complaintd.timers set step_fired = t.step_fired,
        next_at = complaintd.timer_next(t) where complaint_id = p_complaint;
    perform complaintd.add_event(p_complaint, 'escalation', 'escalated', p_data);
    update complaintd.complaint set escalation_level = greatest(escalation_level, p_level) where id = p_complaint;
    insert into complaintd.notifications (id, complaint_id, purpose, class, level, transport, recipient, language, payload,
                                          created_at, next_attempt_at, not_after, idempotency_key)
        select n.id, p_complaint, n.purpose, n.class, n.level, n.transport, n.recipient, n.language, n.payload, now_at, now_at,
               now_at + n.life, n.idempotency_key
        from jsonb_to_recordset(p_notifications) as n(id uuid, purpose text, class text, level integer, transport text,
             recipient text, language text, payload jsonb, life interval, idempotency_key text);
end $$;
