-- Messages, their attachments, and what checkers said of them.

-- A month of ids a partition (see make_partitions). A message's id is made when it arrives, its complaint's id is that of the message that
-- opened it; so the messages of a complaint are usually not older than it, and complaint.first_id says where that is not so. Who looks
-- for the messages of a complaint says `m.id >= coalesce(c.first_id, c.id)` as well, or every partition is searched.
-- text_new and text_quoted are what a person wrote and what is quoted below it (channels/mail/reply.h). Most mails have nothing to separate,
-- and their text is to stand once: both are null then. The view `messages` always has text_new.
create table complaintd.message (
    id uuid primary key,
    complaint_id uuid,
    direction text not null default 'in', -- in out
    channel text not null,
    desk text,
    class text not null default 'person',
    sender text,
    recipients text[] not null default '{}',
    subject text compression lz4,
    body text compression lz4,
    text_new text compression lz4,
    text_quoted text compression lz4,
    charset_note text compression lz4, -- "gb2312 read as GB18030 (declared)"; null: as declared
    security text,                     -- smime-signed smime-encrypted pgp-signed pgp-encrypted; nothing is verified
    message_id text,
    in_reply_to text,
    received_at timestamptz not null,
    sent_at timestamptz,
    raw bytea,
    digest bytea
) partition by range (id);
alter table complaintd.message alter column raw set storage external; -- create table cannot say it before PostgreSQL 16
create index message_complaint on complaintd.message (complaint_id);
create table complaintd.message_default partition of complaintd.message default with (toast_tuple_target = 4080);
select complaintd.spare_autovacuum('message_default');

-- ---- attachments ----

-- Places in message.raw, not copies. `member`: a part of what stands at the place ("tnef:2"), which several rows may share.
create table complaintd.attachments (
    id uuid not null default gen_random_uuid(),
    message_id uuid not null,
    n integer not null,
    filename text not null,
    content_type text not null,
    magic_type text, -- what the bytes are, where somebody looked
    content_id text,
    kind text not null default 'file', -- file inline message calendar signature encrypted container
    is_inline boolean not null default false,
    encoding text not null,
    raw_offset bigint not null,
    raw_length bigint not null,
    member text,
    size_bytes bigint not null,
    sha256 bytea not null,
    primary key (message_id, n)
);

-- One attachment as people see it.
create function complaintd.api_attachment_row(a complaintd.attachments) returns jsonb language sql immutable
set search_path = pg_catalog, pg_temp as $$
    select jsonb_strip_nulls(jsonb_build_object('n', a.n, 'filename', a.filename, 'content_type', a.content_type, 'magic_type', a.magic_type,
        'kind', a.kind, 'size_bytes', a.size_bytes, 'sha256', encode(a.sha256, 'hex'), 'inline', a.is_inline, 'content_id', a.content_id,
        'member', a.member)) $$;

-- ATTACHMENT: a row for each of a complaint; with p_n one of them (0: the message as it came, if p_message is null the one that opened it), and of its bytes as they stand in the mail (encoding and member say
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
    if p_n = 0 then
        return query select jsonb_strip_nulls(jsonb_build_object('message', m.id, 'n', 0, 'filename',
                case m.channel when 'mail' then m.id || '.eml' else m.id || '.bin' end,
                'content_type', case m.channel when 'mail' then 'message/rfc822' else 'application/octet-stream' end, 'kind', 'original',
                'size_bytes', octet_length(m.raw), 'sha256', case when v_offset = 0 then encode(sha256(m.raw), 'hex') end, 'inline', false,
                'encoding', 'binary', 'raw_length', octet_length(m.raw), 'offset', v_offset,
                'data', translate(encode(substring(m.raw from v_offset + 1 for p_length), 'base64'), E'\n', '')))
            from complaintd.messages m where m.id = coalesce(p_message, v_id) and m.complaint_id = v_id;
        if not found then
            raise exception 'no such message in it' using errcode = 'CD404';
        end if;
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

-- ---- scans ----

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
