-- Further messages of a complaint: what the decision on a thread asks for, and what such a message changes.

-- What it needs to know of a complaint (daemon/store/lookup.c): who has a say in it (the addresses and numbers of its customer and the senders
-- of its messages), when something was last said or done in it, in microseconds, and the subjects of its first and its last message. A
-- function of its own, so that a look-up that finds no complaint does not open the partitions of messages for nothing.
create function complaintd.thread_state(c complaintd.complaint) returns json language plpgsql stable as $$
begin
    return (select json_build_object(
        'who', array_remove(array_agg(distinct m.sender) || c.customer_email || c.customer_phone
                            || (select u.emails || u.phones from complaintd.customers u where u.id = c.customer_id), null),
        'last', (extract(epoch from greatest(max(m.received_at), c.received_at, c.acknowledged_at, c.responded_at, c.resolved_at,
                                             c.closed_at, c.acked_at)) * 1000000)::bigint,
        'subjects', array[max(m.subject) filter (where m.id = c.id), (array_agg(m.subject order by m.received_at desc, m.id desc))[1]])
        from complaintd.message m where m.complaint_id = c.id and m.id >= coalesce(c.first_id, c.id) and m.direction = 'in'
            and m.class = 'person');
end $$;

-- A further message of a complaint (or an automatic one that belongs to it): event, and what a customer's message changes. What was merged
-- into another complaint since the look-up is decided anew. A message that was not decoded in full makes the complaint degraded.
create function complaintd.attach_message(p_complaint uuid, p_message uuid, p_at timestamptz, p_actor text, p_kind text,
                                          p_data jsonb) returns void language plpgsql as $$
declare
    v_merged uuid;
begin
    perform 1 from complaintd.timers where complaint_id = p_complaint for update; -- before the complaint, as everywhere
    if not complaintd.add_event(p_complaint, p_actor, p_kind, p_data, p_message, p_at) then
        return;
    end if;
    select merged_into into v_merged from complaintd.complaint where id = p_complaint; -- which add_event has locked
    if v_merged is not null then
        raise exception 'complaint merged meanwhile' using errcode = 'CD001';
    end if;
    if p_data ? 'degraded' then
        update complaintd.complaint set degraded = true where id = p_complaint and not degraded;
    end if;
    if p_message < p_complaint then -- it waited in pending, or in another instance, while a later one was stored
        update complaintd.complaint set first_id = p_message where id = p_complaint and p_message < coalesce(first_id, id);
    end if;
    if p_kind = 'message-received' then
        update complaintd.complaint set status = 'open' where id = p_complaint and status = 'waiting';
        update complaintd.complaint set status = 'open', outcome = null, cause = null, remedy = null, resolved_at = null, closed_at = null,
            acked_at = null, acked_by = null
            where id = p_complaint and status in ('resolved', 'closed');
        if found then
            perform complaintd.add_event(p_complaint, p_actor, 'reopened', jsonb_build_object('message', p_message));
            perform complaintd.restart_timers(p_complaint);
        end if;
    end if;
end $$;
