-- What everything else stands on: the clock, secrets, ids that hold a time, months as partitions. Each file of this folder runs inside one
-- transaction, after the schema "complaintd" and its table of migrations exist. Tables have no foreign keys on purpose: they cost a quarter of
-- the intake rate; schema/invariants.sql checks instead. Nor are words checked by constraints: those are parsed anew by every statement that
-- writes, a tenth of a small batch.

-- Service time: the database's clock, plus an offset that only a sandbox may have.
create table complaintd.clock (
    one boolean primary key default true check (one),
    sandbox boolean not null default false,
    clock_offset interval not null default '0',
    check (sandbox or clock_offset = '0')
);
insert into complaintd.clock default values;

create function complaintd.now() returns timestamptz language sql stable as
$$ select clock_timestamp() + clock_offset from complaintd.clock $$;

create function complaintd.today() returns date language sql stable as $$ select (complaintd.now() at time zone 'UTC')::date $$;

-- What signs the names in reply addresses, Message-IDs and envelope senders (daemon/intake/token.h) beside the keys of the configuration:
-- every instance on this database has it, so that signing works without anything written down. Nobody but the owner may read it.
create table complaintd.secrets (
    name text primary key,
    secret bytea not null
);
insert into complaintd.secrets values ('token', sha256(uuid_send(gen_random_uuid()) || uuid_send(gen_random_uuid()) || uuid_send(gen_random_uuid())));

-- Of what people wrote an event holds the digest.
create function complaintd.api_digest(p_text text) returns text language sql immutable
set search_path = pg_catalog, pg_temp as $$ select encode(sha256(convert_to(p_text, 'UTF8')), 'hex') $$;

-- A JSON array of texts.
create function complaintd.words(p jsonb) returns text[] language sql immutable as
$$ select coalesce(array_agg(w), '{}') from jsonb_array_elements_text(p) w $$;

-- ---- ids ----

-- The smallest UUIDv7 of a moment.
create function complaintd.uuid_at(at timestamptz) returns uuid language sql immutable as
$$ select (lpad(to_hex((extract(epoch from at) * 1000)::bigint), 12, '0') || repeat('0', 20))::uuid $$;

-- The moment in a UUIDv7, in milliseconds.
create function complaintd.uuid_time(id uuid) returns timestamptz language sql immutable as
$$ select to_timestamp(('x' || translate(left(id::text, 13), '-', ''))::bit(48)::bigint / 1000.0) $$;

-- ---- tables that grow ----

-- Texts, arrays and digests that no plan depends on are left out of statistics: to sample and sort them cost autovacuum's ANALYZE half a
-- second of CPU a minute under load, which the slowest hundredth of the mails waited for.
-- Likewise a table that only grows is vacuumed for its visibility map alone, which can wait until there is a million more.
create function complaintd.spare_autovacuum(p_table text) returns void language plpgsql set search_path = pg_catalog, pg_temp as $$
declare
    v_column text;
begin
    execute format('alter table complaintd.%I set (autovacuum_vacuum_insert_threshold = 1000000, autovacuum_analyze_threshold = 200000)', p_table);
    for v_column in select attname from pg_attribute where attrelid = to_regclass(format('complaintd.%I', p_table)) and attname in
        ('raw', 'digest', 'body', 'text_new', 'text_quoted', 'subject', 'message_id', 'in_reply_to', 'recipients', 'data', 'hash', 'prev_hash',
         'decision', 'desks', 'tags', 'steps', 'step_fired', 'step_stopped', 'step_reason', 'payload', 'idempotency_key', 'last_error',
         'recipient', 'envelope', 'key') and not attisdropped loop
        execute format('alter table complaintd.%I alter column %I set statistics 0', p_table, v_column);
    end loop;
end $$;

-- The partition of a table for a month (UTC), made beside the table and attached, so that writers are not held up. What the default
-- partition has of that month moves along, up to p_most rows; false: it has more, and nothing was done.
create function complaintd.make_partition(p_table text, p_key text, p_month timestamp, p_most integer) returns boolean language plpgsql
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

-- Makes what is missing: the months from the one before this (instances' clocks differ) to `ahead` months after it, and those in
-- which the default partitions have rows (their ids were made by a clock that was wrong, or nobody made partitions for long), unless
-- these are in the future. Never waits long for a lock: what it cannot have is left to the next call. made: partitions made; left_over:
-- rows in the default partitions, counted up to 10000 each; missing: months that could not be made.
create function complaintd.make_partitions(ahead integer, most integer default 10000, out made integer, out left_over bigint,
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
