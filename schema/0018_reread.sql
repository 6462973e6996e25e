-- Reading stored messages again that could not be decoded in full (REREAD). Why it is so: docs/adr/0014-reread.md.

-- The messages of a complaint that are not read in full, oldest first. What was found out on arrival stands in the event that has the message's
-- id; it stays where it was written when MERGE or SPLIT move the message, so the chains of all that it may have come from are looked at.
create function complaintd.degraded_messages(p_id uuid) returns uuid[] language plpgsql stable
set search_path = pg_catalog, pg_temp as $$
declare
    v_kin uuid[];
    v_found uuid[];
begin
    v_kin := array(
        with recursive kin(id) as (
            select p_id
            union
            select l.other_id from kin k join complaintd.links l on l.complaint_id = k.id
                and l.kind in ('merged', 'merged-into', 'split-from', 'split-off'))
        select k.id from kin k);
    v_found := array(
        select e.id from complaintd.event e
            where e.complaint_id = any (v_kin) and e.data like '%"degraded"%' and e.kind <> 'reread' and e.data::jsonb ? 'degraded'
        except
        select (e.data::jsonb ->> 'message')::uuid from complaintd.event e
            where e.complaint_id = any (v_kin) and e.kind = 'reread' and e.data::jsonb ->> 'result' = 'whole');
    return array(
        select m.id from complaintd.message m
        where m.id = any (v_found) and m.complaint_id = p_id and m.direction = 'in' order by m.received_at, m.id);
end $$;

-- REREAD, the first half: the original, and what is known of how it came; nothing is locked while it is read.
create function complaintd.api_reread_find(p_ref text, p_message uuid, out about jsonb, out raw bytea) language plpgsql stable
set search_path = pg_catalog, pg_temp set timezone = 'UTC' as $$
declare
    v_id uuid := complaintd.api_find(p_ref);
    v_degraded uuid[] := complaintd.degraded_messages(v_id);
    c complaintd.complaint;
    m complaintd.message;
begin
    select * into c from complaintd.complaint x where x.id = v_id;
    if p_message is not null and not exists (select from complaintd.message x where x.id = p_message and x.complaint_id = v_id) then
        raise exception '% has no such message', c.ref using errcode = 'CD404';
    elsif cardinality(v_degraded) = 0 or p_message <> all (v_degraded) then
        raise exception 'REREAD is not possible: % was read in full', case when p_message is null then c.ref else 'the message' end
            using errcode = 'CD409';
    end if;
    select * into m from complaintd.message x where x.id = coalesce(p_message, v_degraded[1]);
    if m.raw is null then
        raise exception 'REREAD is not possible: the original is not kept any more' using errcode = 'CD409';
    end if;
    raw := m.raw;
    about := jsonb_build_object('message', m.id, 'channel', m.channel, 'desk', coalesce(m.desk, c.desk),
        'said_channel', (select x.channel from complaintd.complaint x where x.id = m.id), 'sender', m.sender,
        'recipients', to_jsonb(m.recipients), 'received_us', (extract(epoch from m.received_at) * 1000000)::bigint,
        'key', (select r.key from complaintd.receipts r where r.received_at = m.received_at and r.id = m.id),
        'flags', (select to_jsonb(u.flags) from complaintd.customers u where u.id = c.customer_id));
end $$;

-- ---- the better reading ----

-- How a message stands there, for the event: no text, only what shows that it is another one.
create function complaintd.reading_print(m complaintd.message) returns jsonb language sql stable
set search_path = pg_catalog, pg_temp as $$
    select jsonb_strip_nulls(jsonb_build_object('subject_sha256', complaintd.api_digest(m.subject), 'text_sha256', complaintd.api_digest(m.body),
        'text_length', length(m.body), 'class', m.class, 'sender_sha256', complaintd.api_digest(m.sender),
        'attachments', (select count(*) from complaintd.attachments a where a.message_id = m.id))) $$;

-- What the message says, all of it but the original.
create function complaintd.reading_store(p_message uuid, p_reading jsonb) returns void language plpgsql
set search_path = pg_catalog, pg_temp as $$
begin
    update complaintd.message x set class = r.class, sender = coalesce(r.sender, x.sender), subject = r.subject, body = r.body,
        text_new = r.text_new, text_quoted = r.text_quoted, message_id = coalesce(r.message_id, x.message_id),
        in_reply_to = coalesce(r.in_reply_to, x.in_reply_to), sent_at = to_timestamp(nullif(r.sent_us, 0) / 1000000.0),
        charset_note = r.charset_note, security = r.security
        from jsonb_to_record(p_reading) as r(class text, sender text, subject text, body text, text_new text, text_quoted text, message_id text,
                                             in_reply_to text, sent_us bigint, charset_note text, security text)
        where x.id = p_message;
    delete from complaintd.attachments a where a.message_id = p_message;
    insert into complaintd.attachments (message_id, n, filename, content_type, encoding, raw_offset, raw_length, size_bytes, sha256, is_inline,
                                        kind, magic_type, content_id, member)
        select p_message, a.n, a.filename, a.type, a.encoding, a.at, a.length, a.size, decode(a.sha256, 'hex'), a.inline, a.kind, a.magic, a.cid,
               a.member
        from jsonb_to_recordset(coalesce(nullif(p_reading -> 'attachments', 'null'), '[]')) as a(n integer, filename text, type text, encoding text,
            at bigint, length bigint, size bigint, sha256 text, inline boolean, kind text, magic text, cid text, member text);
    insert into complaintd.thread_keys
        select substr(sha256(convert_to(m.message_id, 'UTF8')), 1, 16), m.complaint_id from complaintd.message m
            where m.id = p_message and m.message_id is not null
        on conflict do nothing;
end $$;

-- Of the complaint that the message opened: whose it is, where nobody knew; all of it, and what the rules say, only while nobody has
-- touched it (p_all).
create function complaintd.reading_apply(p_opened uuid, p_reading jsonb, p_all boolean) returns void language plpgsql
set search_path = pg_catalog, pg_temp as $$
declare
    v_handle text := case when p_reading ->> 'class' = 'person' then p_reading ->> 'handle' end;
    v_rules jsonb := p_reading -> 'rules';
    c complaintd.complaint;
    v_customer uuid;
begin
    select * into c from complaintd.complaint x where x.id = p_opened;
    if not found then
        return; -- a further message: its sender is known by others
    end if;
    if v_handle is not null and (p_all or c.customer_id is null) then
        v_customer := complaintd.customer_of(v_handle, (p_reading ->> 'customer')::uuid, p_reading ->> 'name', p_reading ->> 'email',
                                             p_reading ->> 'phone', p_reading ->> 'language');
    end if;
    update complaintd.complaint x set customer_id = coalesce(v_customer, x.customer_id),
        customer_name = case when p_all then coalesce(p_reading ->> 'name', x.customer_name) else coalesce(x.customer_name, p_reading ->> 'name') end,
        customer_email = case when p_all then coalesce(p_reading ->> 'email', x.customer_email)
                              else coalesce(x.customer_email, p_reading ->> 'email') end,
        customer_phone = case when p_all then coalesce(p_reading ->> 'phone', x.customer_phone)
                              else coalesce(x.customer_phone, p_reading ->> 'phone') end,
        language = case when p_all then coalesce(p_reading ->> 'language', x.language) else coalesce(x.language, p_reading ->> 'language') end,
        remedy_sought = coalesce(x.remedy_sought, p_reading ->> 'remedy_sought'),
        representative = coalesce(x.representative, p_reading ->> 'representative'),
        decision = ((x.decision::jsonb - 'degraded') || case when p_all then v_rules -> 'reasons' else '{}' end)::text
        where x.id = p_opened;
    if p_all then
        update complaintd.complaint x set region = v_rules ->> 'region', tags = complaintd.words(v_rules -> 'tags'),
            skills = case when v_rules -> 'skills' <> '[]' then complaintd.words(v_rules -> 'skills') end,
            about = case when v_rules -> 'about' <> '[]' then complaintd.words(v_rules -> 'about') end
            where x.id = p_opened;
    end if;
end $$;

-- A complaint that had no address to be acknowledged at, and has one now; once.
create function complaintd.reading_acknowledge(p_opened uuid, p_ack jsonb) returns void language plpgsql
set search_path = pg_catalog, pg_temp as $$
declare
    v_now timestamptz := complaintd.now();
begin
    insert into complaintd.notifications (id, complaint_id, purpose, class, transport, recipient, language, created_at, next_attempt_at,
                                          not_after, idempotency_key)
        select gen_random_uuid(), c.id, 'acknowledgement', 'statutory', p_ack ->> 'transport', p_ack ->> 'to', c.language, v_now, v_now,
               v_now + (p_ack ->> 'life')::double precision * interval '1 second', 'ack.' || c.id
        from complaintd.complaint c where c.id = p_opened and c.status in ('new', 'open', 'waiting') and c.acknowledged_at is null
            and not exists (select from complaintd.notifications n where n.complaint_id = c.id and n.purpose = 'acknowledgement');
    if found then
        update complaintd.complaint c set decision = (c.decision::jsonb || '{"acknowledgement": "pending"}')::text where c.id = p_opened;
    end if;
end $$;

-- REREAD, the second half: p_reading is what the worker made of it (daemon/reread.c). Where it is whole it takes the place of the old one; where it
-- is not nothing changes. p_targets: as for RECLASSIFY.
create function complaintd.api_reread(p_ref text, p_message uuid, p_actor text, p_from text[], p_to text[], p_reading jsonb, p_targets jsonb)
returns setof jsonb language plpgsql
set search_path = pg_catalog, pg_temp set timezone = 'UTC' as $$
declare
    c complaintd.complaint := complaintd.api_take(p_ref, 'REREAD', p_from);
    v_reason text := p_reading ->> 'degraded';
    v_rules jsonb := (p_reading -> 'rules') - 'reasons' - 'region' - 'tags' - 'skills' - 'about';
    m complaintd.message;
    v_before jsonb;
    v_says text := 'nothing'; -- of the rules
begin
    select * into m from complaintd.message x where x.id = p_message and x.complaint_id = c.id;
    if not found then
        raise exception '% has no such message', c.ref using errcode = 'CD404';
    elsif p_message <> all (complaintd.degraded_messages(c.id)) then
        raise exception 'REREAD is not possible: the message was read in full meanwhile' using errcode = 'CD409';
    end if;
    v_before := complaintd.reading_print(m);
    if v_reason is not null then
        perform complaintd.add_event(c.id, p_actor, 'reread', jsonb_build_object('message', m.id, 'result', 'degraded', 'degraded', v_reason,
                                                                               'before', v_before));
        return query select jsonb_build_object('ref', c.ref, 'status', c.status, 'message', m.id, 'changed', false, 'degraded', v_reason,
                                               'left', cardinality(complaintd.degraded_messages(c.id)));
        return;
    end if;
    perform complaintd.reading_store(m.id, p_reading);
    if m.id = c.id and p_reading ->> 'class' = 'person' then
        v_says := case when c.status = 'new' and c.assignee is null and not exists (
            select from complaintd.event e where e.complaint_id = c.id and e.kind <> 'reread' and e.data::jsonb ? 'via') then 'applied' else 'told' end;
    end if;
    perform complaintd.reading_apply(m.id, p_reading, v_says = 'applied');
    if p_reading ->> 'class' = 'person' and p_reading -> 'acknowledgement' is not null then
        perform complaintd.reading_acknowledge(m.id, p_reading -> 'acknowledgement');
    end if;
    perform complaintd.search_again(m.id);
    select * into m from complaintd.message x where x.id = p_message;
    perform complaintd.add_event(c.id, p_actor, 'reread', jsonb_strip_nulls(jsonb_build_object('message', m.id, 'result', 'whole', 'before', v_before,
        'after', complaintd.reading_print(m), 'rules', v_says, 'rules_say', case when v_says <> 'nothing' then v_rules end)));
    update complaintd.complaint x set degraded = cardinality(complaintd.degraded_messages(x.id)) > 0 where x.id = c.id;
    if v_says = 'applied' then
        perform complaintd.api_reclassify(c.ref, v_rules ->> 'category', v_rules ->> 'priority', v_rules ->> 'team', p_actor, p_from, p_to, 0,
                                          null, p_targets);
    end if;
    return query select jsonb_strip_nulls(jsonb_build_object('ref', x.ref, 'status', x.status, 'message', m.id, 'changed', true,
            'subject', left(m.subject, 200), 'text_length', length(m.body),
            'attachments', (select count(*) from complaintd.attachments a where a.message_id = m.id),
            'category', x.category, 'priority', x.priority, 'team', x.team, 'rules', v_says,
            'rules_say', case when v_says = 'told' and (v_rules ->> 'category', v_rules ->> 'priority', coalesce(v_rules ->> 'team', x.team))
                                                      is distinct from (x.category, x.priority, x.team) then v_rules end,
            'left', cardinality(complaintd.degraded_messages(x.id))))
        from complaintd.complaint x where x.id = c.id;
end $$;
