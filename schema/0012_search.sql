-- The words of messages, and how they are looked for; docs/adr/0013-search.md.

-- The words of each message, written after its commit (complaintd.search_fill, called by daemon/search.c), never by the intake. In the order of
-- complaints, so that the newest are searched without the index of words.
create table complaintd.search (
    complaint_id uuid not null,
    message_id uuid not null,
    terms tsvector compression lz4 not null,
    primary key (complaint_id, message_id)
);
create index search_terms on complaintd.search using gin (terms);
select complaintd.spare_autovacuum('search');

-- Messages with ids up to this one are in complaintd.search, or have no words.
create table complaintd.search_state (
    one boolean primary key default true check (one),
    walked uuid not null
);
insert into complaintd.search_state (walked) values ('00000000-0000-0000-0000-000000000000');

-- ---- texts as words ----

-- These spell out the characters that make words, because [[:alnum:]] depends on the database's locale. Scripts that are written without
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

-- ---- writing them ----

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

-- The words of a message as search_fill() writes them. Under its lock, for it may be at just this message.
create function complaintd.search_again(p_message uuid) returns void language plpgsql
set search_path = pg_catalog, pg_temp as $$
begin
    perform pg_advisory_xact_lock(78, 3);
    delete from complaintd.search s using complaintd.message m where m.id = p_message and s.complaint_id = m.complaint_id and s.message_id = m.id;
    insert into complaintd.search
        select m.complaint_id, m.id, complaintd.search_terms(concat_ws(' ', c.ref, c.customer_name, c.customer_email, c.customer_phone, m.sender,
                                                                       m.subject, m.text_new))
        from complaintd.messages m left join complaintd.complaint c on c.id = m.id and m.complaint_id = c.id
        where m.id = p_message and m.class <> 'bounce';
end $$;

-- MERGE and SPLIT give messages to another complaint. The lock is that of search_fill, which may be writing the words of just this message.
create function complaintd.search_moved() returns trigger language plpgsql as $$
begin
    perform pg_advisory_xact_lock(78, 3);
    update complaintd.search set complaint_id = new.complaint_id where complaint_id = old.complaint_id and message_id = new.id;
    return null;
end $$;
create trigger message_moved after update of complaint_id on complaintd.message for each row
    when (old.complaint_id is distinct from new.complaint_id) execute function complaintd.search_moved();

-- ---- reading them ----

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
