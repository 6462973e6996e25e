-- What a person wrote apart from what is quoted below it (channels/mail/reply.h). Most mails have nothing to separate, and their text is to
-- stand once: the table becomes `message`, where text_new and text_quoted are null then, and everybody reads `messages`, a view in which
-- text_new is always there.
alter table complaintd.messages rename to message;
do $$
declare
    v_old text;
begin -- partitions, and the indexes of all of them
    for v_old in select c.relname from pg_catalog.pg_class c where c.relnamespace = 'complaintd'::regnamespace
            and c.relname like 'messages\_%' and c.relkind in ('r', 'i', 'I') loop
        execute format('alter %s complaintd.%I rename to %I',
                       case when exists (select from pg_catalog.pg_index i where i.indexrelid = format('complaintd.%I', v_old)::regclass)
                            then 'index' else 'table' end, v_old, 'message_' || substr(v_old, 10));
    end loop;
end $$;

create view complaintd.messages as
    select id, complaint_id, direction, channel, desk, class, sender, recipients, subject, body, coalesce(text_new, body) as text_new,
           text_quoted, message_id, in_reply_to, received_at, sent_at, raw, digest from complaintd.message;
do $$ begin
    revoke all on complaintd.message from complaintd_reader;
    grant select on complaintd.messages to complaintd_reader;
exception when undefined_object then
    raise warning 'the role complaintd_reader is missing: create it as a superuser, then grant it select on the relations of docs';
end $$;

-- As before, with the new name.
create or replace function complaintd.make_partition(p_table text, p_key text, p_month timestamp, p_most integer) returns boolean language plpgsql
set search_path = pg_catalog, pg_temp as $$
declare
    v_name text := p_table || to_char(p_month, '"_"YYYY"_"MM');
    v_low uuid := complaintd.uuid_at(p_month at time zone 'UTC');
    v_high uuid := complaintd.uuid_at((p_month + interval '1 month') at time zone 'UTC');
    v_stray integer;
begin
    execute format('select count(*) from (select from complaintd.%I where %I >= %L and %I < %L limit %s) x', p_table || '_default',
                   p_key, v_low, p_key, v_high, p_most::bigint + 1) into v_stray;
    if v_stray > p_most then
        return false;
    end if;
    execute format('create table complaintd.%I (like complaintd.%I including defaults including storage including compression '
                   'including constraints) %s', v_name, p_table,
                   case p_table when 'message' then 'with (toast_tuple_target = 4080)' end); -- a mail of usual size stays in its row
    perform complaintd.spare_autovacuum(v_name);
    if v_stray > 0 then
        execute format('lock table complaintd.%I in access exclusive mode', p_table || '_default');
        execute format('with x as (delete from complaintd.%I where %I >= %L and %I < %L returning *)'
                       ' insert into complaintd.%I select * from x', p_table || '_default', p_key, v_low, p_key, v_high, v_name);
    end if;
    execute format('alter table complaintd.%I attach partition complaintd.%I for values from (%L) to (%L)', p_table, v_name, v_low, v_high);
    return true;
end $$;

create or replace function complaintd.make_partitions(ahead integer, most integer default 10000, out made integer, out left_over bigint,
                                           out missing integer)
language plpgsql set search_path = pg_catalog, pg_temp as $$
declare
    v_this timestamp := date_trunc('month', clock_timestamp() at time zone 'UTC');
    v_month timestamp;
    v_table text;
    v_key text;
begin
    made := 0;
    missing := 0;
    perform pg_advisory_xact_lock(78, 1); -- instances, one after the other
    perform set_config('lock_timeout', '200ms', true);
    for v_table, v_key in values ('message', 'id'), ('event', 'complaint_id') loop
        for v_month in execute format(
            'select m from generate_series($1 - interval ''1 month'', $1 + $2 * interval ''1 month'', interval ''1 month'') m
             union select m from (select distinct date_trunc(''month'', complaintd.uuid_time(%I) at time zone ''UTC'') as m
                                  from (select %I from complaintd.%I limit 10000) d) x
             where m >= ''2020-01-01'' and m <= $1 order by 1', v_key, v_key, v_table || '_default') using v_this, ahead loop
            continue when to_regclass(format('complaintd.%I', v_table || to_char(v_month, '"_"YYYY"_"MM'))) is not null;
            begin
                if complaintd.make_partition(v_table, v_key, v_month, most) then
                    made := made + 1;
                else
                    missing := missing + 1;
                end if;
            exception when lock_not_available or check_violation then -- or a row came into the default partition meanwhile
                missing := missing + 1;
            end;
        end loop;
    end loop;
    select (select count(*) from (select from complaintd.message_default limit 10000) m)
         + (select count(*) from (select from complaintd.event_default limit 10000) e) into left_over;
end $$;

create or replace function complaintd.participants(c complaintd.complaint) returns json language plpgsql stable as $$
begin
    return (select json_agg(distinct p.who) from (
        select c.customer_email as who union all select c.customer_phone
        union all select m.sender from complaintd.message m where m.complaint_id = c.id and m.id >= coalesce(c.first_id, c.id)
            and m.direction = 'in' and m.class = 'person'
        union all select unnest(u.emails || u.phones) from complaintd.customers u where u.id = c.customer_id) p where p.who is not null);
end $$;

-- text_new only where it is another than the body, and how much is quoted beside it.
create or replace function complaintd.api_messages(p_id uuid) returns jsonb language plpgsql stable
set search_path = pg_catalog, pg_temp set timezone = 'UTC' as $$
begin -- plpgsql keeps the plan, which takes long to make for many partitions
    return (select coalesce(jsonb_agg(x.one order by x.received_at, x.id), '[]') from (
        select m.id, m.received_at, jsonb_strip_nulls(jsonb_build_object('id', m.id, 'direction', m.direction, 'channel', m.channel,
            'desk', m.desk, 'class', m.class, 'sender', m.sender, 'recipients', m.recipients, 'subject', m.subject,
            'body', left(m.body, 200000), 'cut', case when length(m.body) > 200000 then true end,
            'text_new', case when m.text_quoted is not null then left(m.text_new, 200000) end,
            'quoted_lines', 1 + length(m.text_quoted) - length(replace(m.text_quoted, E'\n', '')), 'message_id', m.message_id,
            'in_reply_to', m.in_reply_to, 'received_at', m.received_at, 'sent_at', m.sent_at, 'attachments',
            (select jsonb_agg(jsonb_build_object('n', a.n, 'filename', a.filename, 'content_type', a.content_type,
                 'size_bytes', a.size_bytes, 'sha256', encode(a.sha256, 'hex'), 'inline', a.is_inline) order by a.n)
             from complaintd.attachments a where a.message_id = m.id))) as one
        from complaintd.message m where m.complaint_id = p_id
            and m.id >= (select coalesce(c.first_id, c.id) from complaintd.complaint c where c.id = p_id)
        order by m.received_at desc, m.id desc limit 100) x);
end $$;
