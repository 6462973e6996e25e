-- What attachments are, and how a mail was read. `member`: a part of what stands at the place ("tnef:2"), which several rows may share.
alter table complaintd.attachments
    add column kind text not null default 'file', -- file inline message calendar signature encrypted container
    add column magic_type text,                   -- what the bytes are, where somebody looked
    add column content_id text,
    add column member text;
alter table complaintd.message
    add column charset_note text compression lz4, -- "gb2312 read as GB18030 (declared)"; null: as declared
    add column security text;                     -- smime-signed smime-encrypted pgp-signed pgp-encrypted; nothing is verified

create or replace view complaintd.messages as
    select id, complaint_id, direction, channel, desk, class, sender, recipients, subject, body, coalesce(text_new, body) as text_new,
           text_quoted, message_id, in_reply_to, received_at, sent_at, raw, digest, charset_note, security from complaintd.message;

-- One attachment as people see it.
create function complaintd.api_attachment_row(a complaintd.attachments) returns jsonb language sql immutable
set search_path = pg_catalog, pg_temp as $$
    select jsonb_strip_nulls(jsonb_build_object('n', a.n, 'filename', a.filename, 'content_type', a.content_type, 'magic_type', a.magic_type,
        'kind', a.kind, 'size_bytes', a.size_bytes, 'sha256', encode(a.sha256, 'hex'), 'inline', a.is_inline, 'content_id', a.content_id,
        'member', a.member)) $$;

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
             from complaintd.attachments a where a.message_id = m.id))) as one
        from complaintd.message m where m.complaint_id = p_id
            and m.id >= (select coalesce(c.first_id, c.id) from complaintd.complaint c where c.id = p_id)
        order by m.received_at desc, m.id desc limit 100) x);
end $$;

-- ATTACHMENT: a row for each of a complaint; with p_n one of them, and of its bytes as they stand in the mail (encoding and member say
-- how they become the attachment) p_length from p_offset on, in base64.
create function complaintd.api_attachment(p_ref text, p_n integer, p_message uuid, p_offset integer, p_length integer)
returns setof jsonb language plpgsql stable
set search_path = pg_catalog, pg_temp set timezone = 'UTC' as $$
declare
    v_id uuid := complaintd.api_find(p_ref);
    v_first uuid := (select coalesce(c.first_id, c.id) from complaintd.complaint c where c.id = v_id);
    v_offset integer := coalesce(p_offset, 0);
    v_messages uuid[];
begin
    if p_n is null then
        return query select jsonb_build_object('message', m.id, 'received_at', m.received_at, 'sender', m.sender)
                || complaintd.api_attachment_row(a)
            from complaintd.messages m join complaintd.attachments a on a.message_id = m.id
            where m.complaint_id = v_id and m.id >= v_first and (p_message is null or m.id = p_message)
            order by m.received_at, m.id, a.n limit 1000;
        return;
    end if;
    select array_agg(m.id order by m.received_at, m.id) into v_messages
        from complaintd.messages m join complaintd.attachments a on a.message_id = m.id
        where m.complaint_id = v_id and m.id >= v_first and (p_message is null or m.id = p_message) and a.n = p_n;
    if v_messages is null then
        raise exception 'no attachment % in it', p_n using errcode = 'CD404';
    elsif cardinality(v_messages) > 1 then
        raise exception 'several messages have an attachment %: name one, the first is %', p_n, v_messages[1] using errcode = 'CD409';
    end if;
    return query select jsonb_build_object('message', m.id) || complaintd.api_attachment_row(a) || jsonb_build_object(
            'encoding', a.encoding, 'raw_length', a.raw_length, 'offset', v_offset,
            'data', translate(encode(substring(m.raw from (a.raw_offset + 1 + least(v_offset, a.raw_length))::integer
                                               for least(p_length, greatest(a.raw_length - v_offset, 0))::integer), 'base64'), E'\n', ''))
        from complaintd.messages m join complaintd.attachments a on a.message_id = m.id
        where m.id = v_messages[1] and a.n = p_n;
end $$;
