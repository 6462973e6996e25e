-- The events of complaints: the one table that is never changed, and the one way to write into it.

-- Append-only; see complaintd.add_event. No personal data in it, only ids, codes and digests. `data` is kept as the very text that was
-- hashed (view events shows it as jsonb). A month of complaints a partition.
-- xid: the transaction that wrote it. Ids and times are made before the commit and out of order; by (xid, id), and only up to the oldest
-- transaction that still runs, nothing can appear in front of what was read (complaintd.feed). A database that was restored from a dump
-- counts transactions anew: docs/installing.md says what to do then.
create table complaintd.event (
    id uuid not null,
    complaint_id uuid not null,
    seq integer not null,
    at timestamptz not null,
    actor text not null,
    kind text not null,
    data text compression lz4 not null,
    prev_hash bytea not null,
    hash bytea not null,
    xid xid8 not null default pg_current_xact_id(),
    primary key (complaint_id, seq)
) partition by range (complaint_id);
create index event_feed on complaintd.event (xid, id);
create table complaintd.event_default partition of complaintd.event default;
select complaintd.spare_autovacuum('event_default');

select complaintd.make_partitions(2); -- of this and of the messages

-- The chain: SHA-256 over previous hash, id, seq (4 bytes), time in microseconds since 1970 (8 bytes), actor, a zero byte, kind, a zero
-- byte, SHA-256 of data's text. The front computes the same for first events (daemon/store/event_hash.c).
create function complaintd.event_hash(prev bytea, event_id uuid, event_seq integer, event_at timestamptz, event_actor text,
                                      event_kind text, event_data text) returns bytea language sql immutable as
$$ select sha256(prev || uuid_send(event_id) || int4send(event_seq)
                 || int8send((extract(epoch from event_at) * 1000000)::bigint)
                 || convert_to(event_actor, 'UTF8') || '\x00'::bytea || convert_to(event_kind, 'UTF8') || '\x00'::bytea
                 || sha256(convert_to(event_data, 'UTF8'))) $$;

create function complaintd.last_event(p_complaint uuid) returns integer language plpgsql
set search_path = pg_catalog, pg_temp as $$
begin
    return (select e.seq from complaintd.event e where e.complaint_id = p_complaint order by e.seq desc limit 1);
end $$;

-- ---- who asks, and what they have seen ----

-- Around every changing verb: by which channel the request came, and the last event of the complaint that its client knows. Both hold for
-- this transaction; returns the reference, so that what is called with it runs after this. What its client has seen is of the complaint under
-- its own reference: the events of what it has become part of since are numbered anew, and may have the same number.
create function complaintd.api_context(p_via text, p_seen integer, p_ref text) returns text language plpgsql
set search_path = pg_catalog, pg_temp as $$
declare
    v_id uuid := case when p_seen is not null then complaintd.api_find(p_ref) end;
    v_ref text := (select c.ref from complaintd.complaint c where c.id = v_id);
begin
    if v_ref <> p_ref then
        raise exception '% is part of % now; look again', p_ref, v_ref using errcode = 'CD409';
    end if;
    perform set_config('complaintd.via', coalesce(p_via, ''), true);
    perform set_config('complaintd.seen', coalesce(v_id || ' ' || p_seen, ''), true);
    return p_ref;
end $$;

-- For who has found a complaint by its reference and locked it: between api_context and the lock it may have become part of another.
create function complaintd.check_same(p_complaint uuid) returns void language plpgsql set search_path = pg_catalog, pg_temp as $$
begin
    if split_part(nullif(current_setting('complaintd.seen', true), ''), ' ', 1)::uuid <> p_complaint then
        raise exception 'merged or split meanwhile' using errcode = '40001';
    end if;
end $$;

-- Refuses when something happened to the complaint since its client looked. The caller holds its lock; asked once a transaction.
create function complaintd.check_seen(p_complaint uuid, p_last integer) returns void language plpgsql
set search_path = pg_catalog, pg_temp as $$
declare
    v_seen text := nullif(current_setting('complaintd.seen', true), '');
begin
    if v_seen is null or split_part(v_seen, ' ', 1)::uuid <> p_complaint then
        return;
    end if;
    perform set_config('complaintd.seen', '', true);
    if split_part(v_seen, ' ', 2)::integer <> p_last then
        raise exception 'something happened meanwhile: the last event is %, not %; look again', p_last, split_part(v_seen, ' ', 2)
            using errcode = 'CD409';
    end if;
end $$;

-- What a changing verb answers: what its function returned, and the last event of the complaint by now.
create function complaintd.api_done(p_answer jsonb) returns jsonb language plpgsql
set search_path = pg_catalog, pg_temp as $$
begin
    return p_answer || jsonb_build_object('seq', complaintd.last_event((select c.id from complaintd.complaint c where c.ref = p_answer ->> 'ref')));
end $$;

-- ---- writing ----

-- The one way to write an event on a complaint that exists: locks it and continues its chain. An event id that the chain
-- already holds is not written again (a replayed commit); returns whether it was written. What a request writes tells its channel, and is
-- refused where something happened that its client has not seen.
create function complaintd.add_event(p_complaint uuid, p_actor text, p_kind text, p_data jsonb,
                                     p_id uuid default gen_random_uuid(), p_at timestamptz default null)
returns boolean language plpgsql as $$
declare
    last_seq integer;
    last_hash bytea;
    at timestamptz := coalesce(p_at, complaintd.now());
    v_via text := nullif(current_setting('complaintd.via', true), '');
begin
    perform 1 from complaintd.complaint where id = p_complaint for no key update;
    if not found then
        raise exception 'no such complaint' using errcode = 'CD404';
    end if;
    if exists (select 1 from complaintd.event where complaint_id = p_complaint and id = p_id) then
        return false;
    end if;
    select e.seq, e.hash into last_seq, last_hash from complaintd.event e
        where e.complaint_id = p_complaint order by e.seq desc limit 1;
    if v_via is not null then
        p_data := p_data || jsonb_build_object('via', v_via);
        perform complaintd.check_seen(p_complaint, last_seq);
    end if;
    last_seq := coalesce(last_seq, 0) + 1;
    last_hash := coalesce(last_hash, '\x'::bytea);
    insert into complaintd.event values (p_id, p_complaint, last_seq, at, p_actor, p_kind, p_data::text, last_hash,
        complaintd.event_hash(last_hash, p_id, last_seq, at, p_actor, p_kind, p_data::text));
    return true;
end $$;

-- Locks a complaint for an action and refuses what its state does not allow.
create function complaintd.api_take(p_ref text, p_verb text, p_from text[]) returns complaintd.complaint language plpgsql
set search_path = pg_catalog, pg_temp as $$
declare
    v_id uuid := complaintd.api_find(p_ref);
    c complaintd.complaint;
begin
    perform complaintd.check_same(v_id);
    perform 1 from complaintd.timers t where t.complaint_id = v_id for update;
    select * into c from complaintd.complaint x where x.id = v_id for no key update;
    if c.merged_into is not null then
        raise exception 'merged or split meanwhile' using errcode = '40001';
    end if;
    perform complaintd.check_seen(c.id, complaintd.last_event(c.id));
    if c.status <> all (p_from) then
        raise exception '% is not possible: % is %', p_verb, c.ref, c.status using errcode = 'CD409';
    end if;
    return c;
end $$;
