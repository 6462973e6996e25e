-- Searching in complaints, and what operators do with what waits to go out or to be read.

-- ---- search ----

-- The words of each message, written after its commit (complaintd.search_fill, called by daemon/search.c), never by the intake. In the order of
-- complaints, so that the newest are searched without the index of words; docs/adr/0013-search.md.
create table complaintd.search (
    complaint_id uuid not null,
    message_id uuid not null,
    terms tsvector not null,
    primary key (complaint_id, message_id)
);
alter table complaintd.search alter column terms set compression lz4;
create index search_terms on complaintd.search using gin (terms);
select complaintd.spare_autovacuum('search');

-- Messages with ids up to this one are in complaintd.search, or have no words.
create table complaintd.search_state (
    one boolean primary key default true check (one),
    walked uuid not null
);
insert into complaintd.search_state (walked) values ('00000000-0000-0000-0000-000000000000');

-- Both spell out the characters that make words, because [[:alnum:]] depends on the database's locale. Scripts that are written without
-- spaces are cut into pairs of neighbours, the last character of a run stands for itself.
create function complaintd.search_fold(p_text text) returns text language sql immutable parallel safe
set search_path = pg_catalog, pg_temp as
$$ select lower(normalize(left(p_text, 20000), NFKC)) $$;

create function complaintd.search_words(p_folded text) returns setof text language sql immutable parallel safe as
$$ select left(w[1], 40) from regexp_matches(p_folded, '[a-z0-9\u00c0-\u1fff]+', 'g') as w $$;

create function complaintd.search_runs(p_folded text) returns setof text language sql immutable parallel safe as
$$ select w[1] from regexp_matches(p_folded, '[\u3005-\u3007\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af\uf900-\ufaff\U00020000-\U0003ffff]+', 'g') as w $$;

create function complaintd.search_terms(p_text text) returns tsvector language plpgsql immutable parallel safe as $$
declare
    v_folded text := complaintd.search_fold(p_text);
begin
    return array_to_tsvector(array(
        select w from complaintd.search_words(v_folded) as w
        union all
        select x.c || lead(x.c, 1, '') over (partition by r.i order by x.n)
        from complaintd.search_runs(v_folded) with ordinality as r(run, i),
             unnest(string_to_array(r.run, null)) with ordinality as x(c, n)));
end $$;

-- What to look for: all words, each by its beginning but those of an address, and all pairs. Null where the text holds no word.
create function complaintd.search_query(p_text text) returns tsquery language plpgsql immutable parallel safe as $$
declare
    v_folded text := complaintd.search_fold(left(p_text, 200));
begin -- nothing that these functions return has a quote or a backslash
    return (select string_agg(t.one, ' & ')::tsquery from (
        select '''' || w || case when position('@' in p.part) > 0 then '''' else ''':*' end as one
        from regexp_split_to_table(v_folded, '\s+') as p(part), complaintd.search_words(p.part) as w
        union
        select case when length(r.run) = 1 then '''' || r.run || ''':*' else '''' || substr(r.run, i, 2) || '''' end
        from complaintd.search_runs(v_folded) as r(run), generate_series(1, greatest(length(r.run) - 1, 1)) as i) t);
end $$;

-- Writes the words of up to p_most messages that have none yet, from p_from on (null: from where the walk stands, which goes forward then).
-- The walk keeps ten minutes behind, and behind what waits in pending: ids are made when a message arrives, not when it is committed.
-- filled null: another instance is at it. seen: the last one written.
create function complaintd.search_fill(p_most integer, p_from uuid, out filled integer, out seen uuid) language plpgsql
set enable_hashjoin = off set enable_mergejoin = off set enable_seqscan = off as $$
declare
    v_walked uuid;
begin
    if not pg_try_advisory_xact_lock(78, 3) then
        return;
    end if;
    select s.walked into v_walked from complaintd.search_state s;
    with missing as materialized (
        select m.id, m.complaint_id, m.sender, m.subject, m.text_new, case when m.id = m.complaint_id then m.id end as opened
        from complaintd.messages m
        where m.id > coalesce(p_from, v_walked) and m.complaint_id is not null and m.class <> 'bounce' and not exists (
            select from complaintd.search s where s.complaint_id = m.complaint_id and s.message_id = m.id)
        order by m.id limit p_most), -- the ids of a month's partition are in its order
    written as (
        insert into complaintd.search
        select x.complaint_id, x.id, complaintd.search_terms(concat_ws(' ', c.ref, c.customer_name, c.customer_email, c.customer_phone, x.sender,
                                                                       x.subject, x.text_new))
        from missing x left join complaintd.complaint c on c.id = x.opened
        on conflict do nothing)
    select count(*)::integer, (array_agg(m.id order by m.id desc))[1] into filled, seen from missing m;
    if p_from is null then
        update complaintd.search_state s set walked = greatest(v_walked, least(
            case when filled = p_most then seen end, complaintd.uuid_at(clock_timestamp() - interval '10 minutes'),
            (select complaintd.uuid_at(complaintd.uuid_time(p.id)) from complaintd.pending p order by p.id limit 1)));
    end if;
end $$;

-- An instance that starts does not know what the one before it left: the walk looks at the last day again.
create function complaintd.search_rewind() returns void language sql as
$$ update complaintd.search_state set walked = least(walked, complaintd.uuid_at(clock_timestamp() - interval '1 day')) $$;

-- MERGE and SPLIT give messages to another complaint. The lock is that of search_fill, which may be writing the words of just this message.
create function complaintd.search_moved() returns trigger language plpgsql as $$
begin
    perform pg_advisory_xact_lock(78, 3);
    update complaintd.search set complaint_id = new.complaint_id where complaint_id = old.complaint_id and message_id = new.id;
    return null;
end $$;
create trigger message_moved after update of complaint_id on complaintd.message for each row
    when (old.complaint_id is distinct from new.complaint_id) execute function complaintd.search_moved();

-- The planner knows little of how rare a word is, so these two are told how to read. The complaints between p_edge and p_before (null: the
-- newest) with these words: backwards through the rows until there are enough (null: all).
create function complaintd.search_newest(p_query tsquery, p_edge uuid, p_before uuid, p_most bigint) returns setof uuid language plpgsql stable rows 200
set search_path = pg_catalog, pg_temp set enable_seqscan = off set enable_bitmapscan = off set enable_sort = off set enable_hashagg = off as $$
begin
    return query select distinct s.complaint_id from complaintd.search s
        where s.complaint_id > p_edge and s.complaint_id < coalesce(p_before, 'ffffffff-ffff-ffff-ffff-ffffffffffff') and s.terms @@ p_query
        order by s.complaint_id desc limit p_most;
end $$;

-- Those up to p_edge, newest first, by the index of words.
create function complaintd.search_ids(p_query tsquery, p_edge uuid, p_most bigint) returns setof uuid language plpgsql stable rows 200
set search_path = pg_catalog, pg_temp set enable_seqscan = off set enable_indexscan = off set enable_indexonlyscan = off as $$
begin
    return query select distinct s.complaint_id from complaintd.search s where s.terms @@ p_query and s.complaint_id <= p_edge
        order by s.complaint_id desc limit p_most;
end $$;

-- LIST with two arguments more. p_search: a whole reference, or words that a message of the complaint must hold, all of them; p_detail: with
-- everything that an export wants. Words are first looked for in the newest rows of complaintd.search, read in order: that finds a page of
-- what is frequent; the index of words is for what is left, which then is rare.
drop function complaintd.api_list(text, text, text, text, text, text, text, boolean, boolean, text, integer, uuid);
create function complaintd.api_list(p_status text, p_category text, p_priority text, p_team text, p_assignee text, p_channel text,
                                    p_desk text, p_overdue boolean, p_degraded boolean, p_scan text, p_limit integer, p_after uuid,
                                    p_search text, p_detail boolean)
returns setof jsonb language plpgsql stable
set search_path = pg_catalog, pg_temp set timezone = 'UTC' as $$
declare
    v_scope text[] := complaintd.api_scope();
    v_left bigint := coalesce(p_limit, 50);
    v_rows bigint;
    v_query tsquery;
    v_edge uuid; -- of the newest rows
    v_filtered boolean := num_nonnulls(p_status, p_category, p_priority, p_team, p_assignee, p_channel, p_desk, p_overdue, p_degraded, p_scan, v_scope) > 0;
    v_id uuid;
    v_stages text[] := array[''];
    v_stage text;
    v_list text;
begin
    if p_search ~ '^C-[0-9A-Z]{4}-[0-9A-Z]{4}-[0-9A-Z]{4}$' then
        begin
            v_id := complaintd.api_find(p_search);
        exception when sqlstate 'CD404' then
            return;
        end;
        v_stages := array[' and c.id = $14'];
    elsif p_search is not null then
        v_query := complaintd.search_query(p_search);
        if v_query is null then
            raise exception 'nothing to search for: give words, or a reference' using errcode = 'CD400';
        end if;
        select s.complaint_id into v_edge from complaintd.search s
            where s.complaint_id < coalesce(p_after, 'ffffffff-ffff-ffff-ffff-ffffffffffff') order by s.complaint_id desc offset 5000 limit 1;
        v_edge := coalesce(v_edge, '00000000-0000-0000-0000-000000000000');
        v_stages := array[
            ' and c.id > $15 and c.id in (select i.id from complaintd.search_newest($13, $15, $11, ' || case when v_filtered then 'null' else '$10' end
            || ') as i(id))',
            ' and c.id in (select i.id from complaintd.search_ids($13, $15, ' || case when v_filtered then 'null' else '$10' end || ') as i(id))'];
    end if;
    v_list :=
        'select jsonb_build_object(''id'', c.id, ''ref'', c.ref, ''status'', c.status, ''outcome'', c.outcome, ''priority'', c.priority,
            ''category'', c.category, ''team'', c.team, ''assignee'', c.assignee, ''desk'', c.desk, ''channel'', c.channel,
            ''subject'', left(coalesce(m.subject, ''''), 200), ''customer_name'', c.customer_name, ''received_at'', c.received_at,
            ''due'', d.due, ''overdue'', coalesce(d.due < complaintd.now(), false), ''escalation_level'', c.escalation_level,
            ''degraded'', c.degraded, ''scan'', complaintd.scan_of(c))'
        || case when p_detail then ' || jsonb_build_object(''customer_email'', c.customer_email, ''customer_phone'', c.customer_phone,
            ''language'', c.language, ''region'', c.region, ''tags'', c.tags, ''policy'', c.policy, ''acknowledged_at'', c.acknowledged_at,
            ''responded_at'', c.responded_at, ''acked_at'', c.acked_at, ''acked_by'', c.acked_by, ''resolved_at'', c.resolved_at,
            ''closed_at'', c.closed_at, ''cause'', c.cause, ''remedy'', c.remedy, ''text'', left(m.text_new, 4000))' else '' end
        || ' from complaintd.complaint c
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
        || case when v_scope is not null then ' and c.desks && $16' else '' end
        || case when p_after is not null then ' and c.id < $11' else '' end;
    for v_place in 1 .. array_length(v_stages, 1) loop
        v_stage := v_stages[v_place];
        return query execute v_list || v_stage || ' order by c.id desc limit $10'
            using p_status, p_category, p_priority, p_team, p_assignee, p_channel, p_desk, p_overdue, p_degraded, v_left, p_after, p_scan,
                  v_query, v_id, v_edge, v_scope;
        get diagnostics v_rows = row_count;
        v_left := v_left - v_rows;
        exit when v_left <= 0;
        -- a frequent word with a filter that lets little through: better to walk through what the filter lets through
        if v_filtered and v_query is not null and v_place = 1 then
            select count(*) into v_rows from complaintd.search s where s.complaint_id > v_edge and s.terms @@ v_query
                and s.complaint_id < coalesce(p_after, 'ffffffff-ffff-ffff-ffff-ffffffffffff');
            if v_rows > 25 then
                v_stages[2] := ' and c.id in (select s.complaint_id from complaintd.search s where s.complaint_id <= $15 and s.terms @@ $13)'
                    || ' and c.id <= $15';
            end if;
        end if;
    end loop;
end $$;

-- ---- what waits ----

-- For who looks what could not be sent; the other states have their indexes since 0001.
create index notifications_failed on complaintd.notifications (id) where state in ('failed', 'dead', 'expired');

create function complaintd.api_queue_list(p_state text, p_limit integer, p_after uuid) returns setof jsonb language sql stable
set search_path = pg_catalog, pg_temp set timezone = 'UTC' as $$
    select jsonb_strip_nulls(jsonb_build_object('id', n.id, 'ref', c.ref, 'purpose', n.purpose, 'class', n.class, 'level', n.level,
        'transport', n.transport, 'recipient', n.recipient, 'state', n.state, 'attempts', n.attempts, 'created_at', n.created_at,
        'next_attempt_at', case when n.state in ('pending', 'unknown') then n.next_attempt_at end, 'not_after', n.not_after,
        'leased_by', n.leased_by, 'last_error', n.last_error))
    from (select * from complaintd.notifications x where x.state in ('pending', 'unknown')
          union all select * from complaintd.notifications x where x.state = 'sending'
          union all select * from complaintd.notifications x where x.state in ('failed', 'dead', 'expired')) n
    left join complaintd.complaint c on c.id = n.complaint_id
    where (p_state is null or n.state = p_state) and (p_after is null or n.id < p_after)
    order by n.id desc limit coalesce(p_limit, 50) $$;

create function complaintd.api_queue_take(p_id uuid, p_verb text) returns complaintd.notifications language plpgsql
set search_path = pg_catalog, pg_temp as $$
declare
    n complaintd.notifications;
begin
    select * into n from complaintd.notifications x where x.id = p_id for update;
    if not found then
        raise exception 'no notification has the id %', p_id using errcode = 'CD404';
    end if;
    if n.state not in ('pending', 'unknown', 'failed', 'dead', 'expired') then
        raise exception '% is not possible: the notification is %', p_verb, n.state using errcode = 'CD409';
    end if;
    return n;
end $$;

-- QUEUE: what is to go out and has not. p_retry: once more, now; it gets its whole life again where that was over. p_drop: never.
create function complaintd.api_queue(p_retry uuid, p_drop uuid, p_reason text, p_state text, p_limit integer, p_after uuid, p_actor text)
returns setof jsonb language plpgsql set search_path = pg_catalog, pg_temp set timezone = 'UTC' as $$
declare
    n complaintd.notifications;
    v_now timestamptz := complaintd.now();
    v_state text := case when p_retry is null then 'suppressed' else 'pending' end;
begin
    if p_retry is null and p_drop is null then
        return query select complaintd.api_queue_list(p_state, p_limit, p_after);
        return;
    end if;
    n := complaintd.api_queue_take(coalesce(p_retry, p_drop), case when p_retry is null then 'drop' else 'retry' end);
    if p_retry is not null then
        update complaintd.notifications x set state = v_state, next_attempt_at = v_now,
            not_after = case when x.not_after <= v_now then v_now + (x.not_after - x.created_at) else x.not_after end where x.id = n.id;
    else
        update complaintd.notifications x set state = v_state, last_error = 'dropped by ' || p_actor || ': ' || p_reason where x.id = n.id;
    end if;
    perform complaintd.add_event(n.complaint_id, p_actor, case when p_retry is null then 'notification-dropped' else 'notification-retried' end,
        jsonb_strip_nulls(jsonb_build_object('notification', n.id, 'purpose', n.purpose, 'transport', n.transport, 'level', n.level,
                                             'from', n.state, 'reason_sha256', complaintd.api_digest(p_reason))));
    return query select jsonb_build_object('id', n.id, 'ref', (select c.ref from complaintd.complaint c where c.id = n.complaint_id),
                                           'purpose', n.purpose, 'from', n.state, 'state', v_state);
end $$;

-- PENDING: accepted, and not looked at yet. p_retry, p_all: now instead of when its turn comes.
create function complaintd.api_pending(p_retry uuid, p_all boolean, p_limit integer, p_after uuid) returns setof jsonb language plpgsql
set search_path = pg_catalog, pg_temp set timezone = 'UTC' as $$
declare
    v_rows bigint;
begin
    if p_retry is null and p_all is not true then
        return query select jsonb_build_object('id', p.id, 'received_at', p.received_at, 'bytes', octet_length(p.envelope), 'attempts', p.attempts,
                                               'next_attempt_at', p.next_attempt_at, 'reason', p.reason)
            from complaintd.pending p where p_after is null or p.id < p_after order by p.id desc limit coalesce(p_limit, 50);
        return;
    end if;
    update complaintd.pending p set next_attempt_at = clock_timestamp()
        where (p_retry is null or p.id = p_retry) and p.next_attempt_at > clock_timestamp();
    get diagnostics v_rows = row_count;
    if p_retry is not null and v_rows = 0 and not exists (select from complaintd.pending p where p.id = p_retry) then
        raise exception 'nothing that waits has the id %', p_retry using errcode = 'CD404';
    end if;
    return next jsonb_build_object('hastened', v_rows);
end $$;
