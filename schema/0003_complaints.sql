-- The complaint itself, its references, what it is linked to, what people wrote about it among themselves, and how it is found.

-- Its id is the id of the envelope and of the message that opened it; subject and body stand there.
create table complaintd.complaint (
    id uuid primary key,
    ref text not null unique,
    desk text not null,
    desks text[] not null,
    channel text not null,
    status text not null default 'new', -- new open waiting resolved closed
    outcome text, -- upheld partly-upheld rejected withdrawn not-a-complaint duplicate
    state_until timestamptz, -- when a wait ends by itself, or what is resolved is closed; null: never. In other states it means nothing (case_over)
    category text not null,
    priority text not null, -- critical high normal low
    language text,
    region text,
    team text not null,
    assignee text,
    tags text[] not null default '{}',
    skills text[], -- that the rules say it needs; null, which takes no room, where they say nothing
    about text[], -- the teams and persons that the rules say it is about; likewise
    policy text,
    customer_id uuid,
    customer_name text,
    customer_email text,
    customer_phone text,
    representative text compression lz4, -- who complains for them, JSON, as SUBMIT took it
    received_at timestamptz not null,
    recorded_at timestamptz not null default clock_timestamp(),
    acknowledged_at timestamptz,
    responded_at timestamptz,
    resolved_at timestamptz,
    closed_at timestamptz,
    acked_at timestamptz,
    acked_by text,
    escalation_level integer not null default 0,
    degraded boolean not null default false, -- a message of it is not read in full (degraded_messages)
    duplicate_of uuid,
    merged_into uuid, -- always one that is not merged itself
    first_id uuid, -- of its messages, when it is older than the complaint; kept by attach_message
    cause text compression lz4,
    remedy text compression lz4,
    remedy_sought text compression lz4, -- what the complainant wants, in their words
    satisfaction integer,
    decision text compression lz4 not null -- JSON; read by people, so it is parsed when it is read (view complaints)
) with (fillfactor = 85);
-- In the order of LIST: those that are not done are few, and a page of them, of those overdue or of those waiting is not looked for among all.
create index complaint_open on complaintd.complaint (id) where status <> 'closed' and status <> 'resolved';
-- Queues of complaints that nobody has, and the loads of those who have some (intake writes nothing into this one).
create index complaint_unassigned on complaintd.complaint (team, received_at)
    where assignee is null and status in ('new', 'open', 'waiting');
create index complaint_assigned on complaintd.complaint (assignee) where assignee is not null and status in ('new', 'open', 'waiting');
create index complaint_customer on complaintd.complaint (customer_id); -- a customer's history
create index complaint_merged on complaintd.complaint (merged_into) where merged_into is not null;
create index complaint_until on complaintd.complaint (state_until) where state_until is not null;
select complaintd.spare_autovacuum('complaint');

-- References that were given and now lead elsewhere (merge, split). They resolve for ever.
create table complaintd.ref_aliases (
    ref text primary key,
    complaint_id uuid not null
);
create index ref_aliases_complaint on complaintd.ref_aliases (complaint_id);

create table complaintd.links (
    complaint_id uuid not null,
    other_id uuid not null,
    kind text not null,
    evidence jsonb not null default '{}',
    at timestamptz not null default clock_timestamp(),
    primary key (complaint_id, other_id, kind)
);
create index links_other on complaintd.links (other_id);

-- What people wrote about a complaint among themselves. The events hold only the id and a digest of it.
create table complaintd.notes (
    id uuid primary key default gen_random_uuid(),
    complaint_id uuid not null,
    at timestamptz not null,
    actor text not null,
    body text compression lz4 not null
);
create index notes_complaint on complaintd.notes (complaint_id);

create function complaintd.add_note(p_complaint uuid, p_actor text, p_text text) returns uuid language plpgsql
set search_path = pg_catalog, pg_temp as $$
declare
    v_note uuid;
begin
    if p_text is not null then
        insert into complaintd.notes (complaint_id, at, actor, body) values (p_complaint, complaintd.now(), p_actor, p_text)
            returning id into v_note;
    end if;
    return v_note;
end $$;

-- ---- what it is about ----

-- Whoever changes it, a complaint never goes to whom it is about, nor do they take it by ACK. What is merged into another takes that along.
create function complaintd.complaint_conflict() returns trigger language plpgsql set search_path = pg_catalog, pg_temp as $$
declare
    o complaintd.complaint;
begin
    if new.team is distinct from old.team and new.team = any (new.about) then
        raise exception '% is about the team %: it goes to another', new.ref, new.team using errcode = 'CD409';
    end if;
    if new.assignee is distinct from old.assignee and new.assignee = any (new.about) then
        raise exception '% is about %: it goes to somebody else', new.ref, new.assignee using errcode = 'CD409';
    end if;
    if new.acked_by is distinct from old.acked_by and new.acked_by = any (new.about) then
        raise exception '% is about %: somebody else takes it', new.ref, new.acked_by using errcode = 'CD409';
    end if;
    if new.merged_into is not null and old.merged_into is null then
        select * into o from complaintd.complaint x where x.id = new.merged_into;
        if o.team = any (new.about) or o.assignee = any (new.about) then
            raise exception '% is about who has %: give that one to somebody else first', new.ref, o.ref using errcode = 'CD409';
        end if;
        update complaintd.complaint x set about = array(select distinct a from unnest(x.about || new.about) a order by a)
            where x.id = o.id;
    end if;
    return new;
end $$;
create trigger complaint_conflict before update of team, assignee, acked_by, merged_into on complaintd.complaint
    for each row when (new.about is not null) execute function complaintd.complaint_conflict();

-- ---- how it is found ----

-- The desks that the request of this transaction may have to do with, null: all. daemon/requests.c says it before the statement of the
-- verb. Whatever names a complaint finds it through api_find, so that is where it holds.
create function complaintd.api_scope() returns text[] language sql stable
set search_path = pg_catalog, pg_temp as $$ select string_to_array(nullif(current_setting('complaintd.desks', true), ''), E'\n') $$;

-- By reference. What was merged into another is found as that one.
create function complaintd.api_find(p_ref text) returns uuid language plpgsql stable
set search_path = pg_catalog, pg_temp as $$
declare
    v_id uuid;
    v_scope text[] := complaintd.api_scope();
begin
    select coalesce(c.merged_into, c.id) into v_id from complaintd.complaint c where c.ref = p_ref;
    if v_id is null then
        select a.complaint_id into v_id from complaintd.ref_aliases a where a.ref = p_ref;
    end if;
    if v_id is null or (v_scope is not null -- what was merged into another has left that one its desks
                        and not exists (select from complaintd.complaint c where c.id = v_id and c.desks && v_scope)) then
        raise exception 'no complaint has the reference %', p_ref using errcode = 'CD404';
    end if;
    return v_id;
end $$;

-- A complaint and those that were merged into it.
create function complaintd.api_family(p_id uuid) returns uuid[] language plpgsql stable
set search_path = pg_catalog, pg_temp as $$
begin
    return array(select p_id union all select c.id from complaintd.complaint c where c.merged_into = p_id);
end $$;
