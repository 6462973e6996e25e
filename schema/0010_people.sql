-- People: who works on a complaint, and who complains. Assignment to the members of a team, absences, what a complaint is about, flags of
-- customers. Why it is so: docs/adr/0011-people.md.

-- What the rules said: skills that are needed, and the teams and persons that it is about. Null, which takes no room, where they said nothing.
alter table complaintd.complaint add column skills text[], add column about text[];

-- Queues of complaints that nobody has, the loads of those who have some (intake writes nothing into this one), a customer's history.
create index complaint_unassigned on complaintd.complaint (team, received_at)
    where assignee is null and status in ('new', 'open', 'waiting');
create index complaint_assigned on complaintd.complaint (assignee) where assignee is not null and status in ('new', 'open', 'waiting');
create index complaint_customer on complaintd.complaint (customer_id);

-- ---- what it is about ----

-- Whoever changes it, a complaint never goes to whom it is about. What is merged into another takes that along.
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
create trigger complaint_conflict before update of team, assignee, merged_into on complaintd.complaint
    for each row when (new.about is not null) execute function complaintd.complaint_conflict();

-- As before; what the old complaint is about and needs holds for the new one, too.
create or replace function complaintd.api_split_new(c complaintd.complaint, m complaintd.messages, p_ref text, p_actor text, p_why text,
                                                    p_life interval) returns void language plpgsql
set search_path = pg_catalog, pg_temp set timezone = 'UTC' as $$
declare
    v_mail text := case when strpos(m.sender, '@') > 0 then m.sender end;
    v_phone text := case when m.sender like '+%' and strpos(m.sender, '@') = 0 then m.sender end;
    v_customer complaintd.customers;
    v_desk text := coalesce(m.desk, c.desk);
    v_now timestamptz := complaintd.now();
begin
    select u.* into v_customer from complaintd.customer_handles h join complaintd.customers u on u.id = h.customer_id
        where h.handle = coalesce('mail:' || v_mail, 'tel:' || v_phone);
    insert into complaintd.complaint (id, ref, desk, desks, channel, category, priority, language, region, skills, about, team, policy,
                                      customer_id, customer_name, customer_email, customer_phone, received_at, decision)
        values (m.id, p_ref, v_desk, array[v_desk], m.channel, c.category, c.priority, coalesce(v_customer.language, c.language), c.region,
                c.skills, c.about, c.team, c.policy, v_customer.id, v_customer.name, v_mail, v_phone, m.received_at,
                jsonb_build_object('split', jsonb_build_object('from', c.ref, 'by', p_actor), 'thread', '[]'::jsonb,
                                   'team_from', c.decision::jsonb -> 'team_from', 'acknowledgement', coalesce(p_why, 'pending'))::text);
    insert into complaintd.timers (complaint_id, policy, calendar, anchor_at, acknowledge_due, first_response_due, resolve_due, steps)
        select m.id, t.policy, t.calendar, m.received_at,
               case when p_why is null then m.received_at + (t.acknowledge_due - t.anchor_at) end,
               m.received_at + (t.first_response_due - t.anchor_at), m.received_at + (t.resolve_due - t.anchor_at), t.steps
        from complaintd.timers t where t.complaint_id = c.id;
    update complaintd.timers t set next_at = complaintd.timer_next(t) where t.complaint_id = m.id;
    perform complaintd.add_event(m.id, p_actor, 'received', jsonb_build_object('channel', m.channel, 'class', m.class, 'digest',
        encode(m.digest, 'hex'), 'desk', v_desk, 'category', c.category, 'priority', c.priority, 'team', c.team, 'policy', c.policy,
        'level', 0), m.id, m.received_at);
    if v_mail is null and v_phone is null then
        return;
    end if;
    insert into complaintd.notifications (id, complaint_id, purpose, class, transport, recipient, language, state, created_at, next_attempt_at,
                                          not_after, last_error, idempotency_key)
        values (gen_random_uuid(), m.id, 'acknowledgement', 'statutory', case when v_mail is null then 'sms' else 'mail' end, m.sender,
                coalesce(v_customer.language, c.language), case when p_why is null then 'pending' else 'suppressed' end, v_now, v_now,
                v_now + p_life, p_why, 'ack.' || m.id);
end $$;

-- ---- absences ----

-- Rows are kept: who was away when, and who said so. until_at null: until they are back.
create table complaintd.absences (
    id bigint generated always as identity primary key,
    who text not null,
    from_at timestamptz not null,
    until_at timestamptz,
    reassign boolean not null, -- what they have goes to others
    at timestamptz not null,
    actor text not null,
    ended_at timestamptz,
    ended_by text
);
create index absences_open on complaintd.absences (who) where ended_at is null;

create function complaintd.absent_at(p_at timestamptz) returns table (who text, reassign boolean) language sql stable as
$$ select a.who, bool_or(a.reassign) from complaintd.absences a
   where a.ended_at is null and a.from_at <= p_at and (a.until_at is null or a.until_at > p_at) group by a.who $$;

-- A client speaks for itself, an admin for everybody.
create function complaintd.api_for_whom(p_who text, p_actor text, p_admin boolean) returns void language plpgsql
set search_path = pg_catalog, pg_temp as $$
begin
    if p_who <> p_actor and not p_admin then
        raise exception 'only an admin may say this for somebody else' using errcode = 'CD403';
    end if;
end $$;

create function complaintd.api_absence_rows(p_who text) returns setof jsonb language sql stable
set search_path = pg_catalog, pg_temp set timezone = 'UTC' as $$
    select jsonb_build_object('who', a.who, 'from', a.from_at, 'until', a.until_at, 'reassign', a.reassign, 'at', a.at, 'by', a.actor,
                              'now', a.from_at <= n.at,
                              'open', (select count(*) from complaintd.complaint c
                                       where c.assignee = a.who and c.status in ('new', 'open', 'waiting')))
    from complaintd.absences a, (select complaintd.now() as at) n
    where a.ended_at is null and (a.until_at is null or a.until_at > n.at) and (p_who is null or a.who = p_who)
    order by a.from_at, a.id limit 1000 $$;

create function complaintd.api_absent(p_who text, p_from timestamptz, p_until timestamptz, p_reassign boolean, p_actor text, p_admin boolean)
returns setof jsonb language plpgsql set search_path = pg_catalog, pg_temp set timezone = 'UTC' as $$
declare
    v_now timestamptz := complaintd.now();
    v_from timestamptz := coalesce(p_from, v_now);
begin
    perform complaintd.api_for_whom(p_who, p_actor, p_admin);
    if p_until is not null and (p_until <= v_from or p_until <= v_now) then
        raise exception 'the absence would be over before it begins' using errcode = 'CD400';
    end if;
    insert into complaintd.absences (who, from_at, until_at, reassign, at, actor)
        values (p_who, v_from, p_until, coalesce(p_reassign, false), v_now, p_actor);
    return query select jsonb_build_object('who', p_who, 'absences', jsonb_agg(r)) from complaintd.api_absence_rows(p_who) r;
end $$;

-- Ends the absence that runs; when none does, those that were announced are withdrawn.
create function complaintd.api_present(p_who text, p_actor text, p_admin boolean) returns setof jsonb language plpgsql
set search_path = pg_catalog, pg_temp set timezone = 'UTC' as $$
declare
    v_now timestamptz := complaintd.now();
    v_running boolean := p_who in (select a.who from complaintd.absent_at(complaintd.now()) a);
    v_ended integer;
begin
    perform complaintd.api_for_whom(p_who, p_actor, p_admin);
    update complaintd.absences a set ended_at = v_now, ended_by = p_actor
        where a.who = p_who and a.ended_at is null and (a.until_at is null or a.until_at > v_now) and (not v_running or a.from_at <= v_now);
    get diagnostics v_ended = row_count;
    if v_ended = 0 then
        raise exception '% is not absent', p_who using errcode = 'CD409';
    end if;
    return next jsonb_build_object('who', p_who, 'ended', v_ended, 'absences',
        (select coalesce(jsonb_agg(r), '[]') from complaintd.api_absence_rows(p_who) r));
end $$;

-- ---- assignment ----

-- Who got what last: turns are numbers that only grow.
create sequence complaintd.rota_turn;
create table complaintd.rota (
    team text not null,
    who text not null,
    turn bigint not null,
    given bigint not null default 1,
    primary key (team, who)
) with (fillfactor = 50);

-- A member of a team as the configuration has it, with what the database knows. teams: all that the person is a member of.
create type complaintd.member as (place integer, team text, assign text, who text, capacity integer, skills text[], regions text[],
                                  teams text[], mail text, sms text, has integer, turn bigint);

create function complaintd.words(p jsonb) returns text[] language sql immutable as
$$ select coalesce(array_agg(w), '{}') from jsonb_array_elements_text(p) w $$;

create function complaintd.member_suits(p_skills text[], p_regions text[], p_teams text[], p_who text, c_region text, c_skills text[],
                                        c_about text[]) returns boolean language sql immutable as
$$ select (c_region is null or cardinality(p_regions) = 0 or c_region = any (p_regions)) and (c_skills is null or c_skills <@ p_skills)
          and (c_about is null or not (p_who = any (c_about) or p_teams && c_about)) $$;

-- The mail and the text message that say so; returns how many.
create function complaintd.tell_assigned(p_complaint uuid, p_event uuid, p_who text, p_mail text, p_sms text, p_language text)
returns integer language plpgsql as $$
declare
    v_now timestamptz := complaintd.now();
    v_told integer;
begin
    insert into complaintd.notifications (id, complaint_id, purpose, class, transport, recipient, language, payload, created_at,
                                          next_attempt_at, not_after, idempotency_key)
        select gen_random_uuid(), p_complaint, 'assigned', 'operational', w.transport, w.recipient, p_language,
               jsonb_build_object('contact', p_who), v_now, v_now, v_now + interval '24 hours',
               'assigned.' || p_complaint || '.' || p_event || '.' || w.transport
        from (values ('mail', p_mail), ('sms', p_sms)) as w(transport, recipient) where w.recipient <> '';
    get diagnostics v_told = row_count;
    return v_told;
end $$;

-- Gives complaints of the teams that want it to their members, oldest first: those that nobody has, and those of members who are away and
-- left theirs to others. One instance at a time, because loads and turns are counted here; a complaint that somebody is at is left to the
-- next time. Neither state nor ladder changes: nobody has acted yet. Returns what was given.
create function complaintd.assign_open(p_members jsonb, p_language text, p_most integer)
returns table (ref text, team text, who text, was text, told integer) language plpgsql set search_path = pg_catalog, pg_temp as $$
declare
    v_away text[];
    v_leaving text[];
    v_m complaintd.member[];
    c record;
    b integer;
    v_event uuid;
    v_turn bigint;
begin
    if not pg_try_advisory_xact_lock(78, 2) then
        return;
    end if;
    select coalesce(array_agg(a.who), '{}'), coalesce(array_agg(a.who) filter (where a.reassign), '{}') into v_away, v_leaving
        from complaintd.absent_at(complaintd.now()) a;
    with given as materialized (
        select (m ->> 'place')::integer as place, m ->> 'team' as team, m ->> 'assign' as assign, m ->> 'who' as who,
               (m ->> 'capacity')::integer as capacity, complaintd.words(m -> 'skills') as skills, complaintd.words(m -> 'regions') as regions,
               complaintd.words(m -> 'teams') as teams, m ->> 'mail' as mail, m ->> 'sms' as sms
        from jsonb_array_elements(p_members) m),
    loads as (select x.assignee, count(*)::integer as has from complaintd.complaint x
              where x.assignee = any (array(select g.who from given g)) and x.status in ('new', 'open', 'waiting') group by x.assignee)
    select array_agg((g.place, g.team, g.assign, g.who, g.capacity, g.skills, g.regions, g.teams, g.mail, g.sms, coalesce(l.has, 0),
                      r.turn)::complaintd.member order by g.place) into v_m
        from given g left join loads l on l.assignee = g.who left join complaintd.rota r on r.team = g.team and r.who = g.who
        where g.who <> all (v_away) and coalesce(l.has, 0) < g.capacity;
    if v_m is null then
        return;
    end if;
    for c in
        select x.id, x.ref, x.team, x.assignee, x.status, x.region, x.skills, x.about from complaintd.complaint x
        where x.team in (select m.team from unnest(v_m) m) and x.status in ('new', 'open', 'waiting')
            and (x.assignee is null or x.assignee = any (v_leaving))
            and exists (select from unnest(v_m) m where m.team = x.team
                        and complaintd.member_suits(m.skills, m.regions, m.teams, m.who, x.region, x.skills, x.about))
        order by x.received_at, x.id limit p_most for no key update of x skip locked
    loop
        -- by load: who has least of what they can have; then, as by round robin, whose turn is longest ago
        select i into b from generate_subscripts(v_m, 1) i where v_m[i].team = c.team and v_m[i].has < v_m[i].capacity
            and complaintd.member_suits(v_m[i].skills, v_m[i].regions, v_m[i].teams, v_m[i].who, c.region, c.skills, c.about)
            order by case v_m[i].assign when 'load' then v_m[i].has::float8 / v_m[i].capacity end, v_m[i].turn nulls first, i limit 1;
        continue when b is null;
        v_event := gen_random_uuid();
        v_turn := nextval('complaintd.rota_turn');
        for i in 1 .. cardinality(v_m) loop
            if v_m[i].who = v_m[b].who then -- in every team
                v_m[i].has := v_m[i].has + 1;
            end if;
        end loop;
        v_m[b].turn := v_turn;
        insert into complaintd.rota as r (team, who, turn) values (c.team, v_m[b].who, v_turn)
            on conflict on constraint rota_pkey do update set turn = excluded.turn, given = r.given + 1;
        update complaintd.complaint x set assignee = v_m[b].who where x.id = c.id;
        perform complaintd.add_event(c.id, 'assignment', 'assigned', jsonb_strip_nulls(jsonb_build_object('from', c.status, 'to', c.status,
            'team', c.team, 'assignee', v_m[b].who, 'was', c.assignee, 'why', case when c.assignee is null then 'unassigned' else 'absent' end,
            'by', v_m[b].assign, 'has', v_m[b].has, 'capacity', v_m[b].capacity, 'region', c.region, 'skills', to_jsonb(c.skills),
            'not_to', to_jsonb(c.about), 'steps_stopped', 0)), v_event);
        ref := c.ref;
        team := c.team;
        who := v_m[b].who;
        was := c.assignee;
        told := complaintd.tell_assigned(c.id, v_event, who, v_m[b].mail, v_m[b].sms, p_language);
        return next;
    end loop;
end $$;

-- ASSIGN by a person: refused for who is away and for who belongs to a team that it is about; the member is told, unless it is themselves.
-- p_member: {"who", "teams", "mail", "sms", "language"} of the configuration, null for a name that it does not have.
create function complaintd.api_assign_to(p_ref text, p_assignee text, p_team text, p_actor text, p_from text[], p_to text[],
                                         p_stops integer, p_member jsonb) returns setof jsonb language plpgsql
set search_path = pg_catalog, pg_temp set timezone = 'UTC' as $$
declare
    c complaintd.complaint := complaintd.api_take(p_ref, 'ASSIGN', p_from);
    v_answer jsonb;
begin
    if p_assignee in (select a.who from complaintd.absent_at(complaintd.now()) a) then
        raise exception '% is absent: give it to somebody else', p_assignee using errcode = 'CD409';
    end if;
    if complaintd.words(p_member -> 'teams') && c.about then
        raise exception '% is about a team of %: it goes to somebody else', c.ref, p_assignee using errcode = 'CD409';
    end if;
    select x into v_answer from complaintd.api_assign(p_ref, p_assignee, p_team, p_actor, p_from, p_to, p_stops) x;
    if p_member is not null and p_assignee <> p_actor and p_assignee is distinct from c.assignee then
        perform complaintd.tell_assigned(c.id, gen_random_uuid(), p_assignee, p_member ->> 'mail', p_member ->> 'sms', p_member ->> 'language');
    end if;
    return next v_answer;
end $$;

-- ---- customers ----

-- Customers who need care, and why. Not among customers.flags, which others may read: the rules are told of it (daemon/store/lookup.c),
-- people only as clients that may see it, and every reading is kept.
create table complaintd.vulnerable_customers (
    customer_id uuid primary key,
    driver text not null, -- health life-event resilience capability
    review_on date not null,
    note text,
    at timestamptz not null,
    actor text not null
);
create index vulnerable_review on complaintd.vulnerable_customers (review_on);
create table complaintd.flag_reads (
    id bigint generated always as identity primary key,
    customer_id uuid not null,
    at timestamptz not null,
    who text not null
);
create index flag_reads_customer on complaintd.flag_reads (customer_id);

-- Who set and cleared what. The note of a vulnerability is not repeated here, only its digest.
create table complaintd.customer_log (
    id bigint generated always as identity primary key,
    customer_id uuid not null,
    at timestamptz not null,
    actor text not null,
    action text not null, -- set clear
    flag text not null,
    data jsonb not null default '{}'
);
create index customer_log_customer on complaintd.customer_log (customer_id);

create function complaintd.today() returns date language sql stable as $$ select (complaintd.now() at time zone 'UTC')::date $$;

create function complaintd.api_find_customer(p_ref text, p_handle text) returns uuid language plpgsql stable
set search_path = pg_catalog, pg_temp as $$
declare
    v_id uuid;
    v_scope text[] := complaintd.api_scope();
begin
    if p_ref is not null and p_handle is not null then
        raise exception 'give a reference or a handle, not both' using errcode = 'CD400';
    end if;
    if p_ref is not null then
        select c.customer_id into v_id from complaintd.complaint c where c.id = complaintd.api_find(p_ref);
    else
        select h.customer_id into v_id from complaintd.customer_handles h where h.handle = p_handle;
        if v_scope is not null and not exists (select from complaintd.complaint c where c.customer_id = v_id and c.desks && v_scope) then
            v_id := null; -- a customer of other desks
        end if;
    end if;
    if v_id is null then
        raise exception 'no such customer' using errcode = 'CD404';
    end if;
    return v_id;
end $$;

-- Found by what is known of the customer, without an index that every new customer would have to be written into; of ids of other systems
-- nothing else is known, so those have one.
create index customer_handles_external on complaintd.customer_handles (customer_id) where handle like 'ext:%';
create function complaintd.api_handles(u complaintd.customers) returns jsonb language sql stable set search_path = pg_catalog, pg_temp as $$
    select coalesce(jsonb_agg(x.handle order by x.handle), '[]') from (
        select h.handle from complaintd.customer_handles h
            where h.handle = any (array(select 'mail:' || e from unnest(u.emails) e) || array(select 'tel:' || t from unnest(u.phones) t))
                and h.customer_id = u.id
        union select h.handle from complaintd.customer_handles h where h.customer_id = u.id and h.handle like 'ext:%') x $$;

create function complaintd.api_history(p_customer uuid, p_limit integer) returns jsonb language sql stable
set search_path = pg_catalog, pg_temp set timezone = 'UTC' as $$
    select coalesce(jsonb_agg(x.one order by x.received_at desc, x.id desc), '[]') from (
        select c.received_at, c.id, jsonb_build_object('ref', c.ref, 'received_at', c.received_at, 'status', c.status, 'outcome', c.outcome,
            'category', c.category, 'priority', c.priority, 'team', c.team, 'assignee', c.assignee, 'resolved_at', c.resolved_at,
            'merged_into', (select o.ref from complaintd.complaint o where o.id = c.merged_into)) as one
        from complaintd.complaint c where c.customer_id = p_customer
            and (complaintd.api_scope() is null or c.desks && complaintd.api_scope()) order by c.received_at desc, c.id desc limit p_limit) x $$;

-- CUSTOMER. Who may not see it is told nothing of a vulnerability, not even that there could be one.
create function complaintd.api_customer(p_ref text, p_handle text, p_limit integer, p_actor text, p_may boolean) returns setof jsonb
language plpgsql set search_path = pg_catalog, pg_temp set timezone = 'UTC' as $$
declare
    v_id uuid := complaintd.api_find_customer(p_ref, p_handle);
    v_answer jsonb;
begin
    select jsonb_build_object('id', u.id, 'name', u.name, 'language', u.language, 'emails', u.emails, 'phones', u.phones,
            'handles', complaintd.api_handles(u),
            'flags', to_jsonb(case when p_may then u.flags else array_remove(u.flags, 'vulnerable') end), 'since', u.created_at,
            'total', (select count(*) from complaintd.complaint c where c.customer_id = u.id
                      and (complaintd.api_scope() is null or c.desks && complaintd.api_scope())),
            'complaints', complaintd.api_history(u.id, coalesce(p_limit, 50)),
            'log', (select coalesce(jsonb_agg(jsonb_build_object('at', l.at, 'actor', l.actor, 'action', l.action, 'flag', l.flag,
                                                                 'data', l.data) order by l.id), '[]')
                    from (select * from complaintd.customer_log y where y.customer_id = u.id and (p_may or y.flag <> 'vulnerable')
                          order by y.id desc limit 50) l))
        into v_answer from complaintd.customers u where u.id = v_id;
    if p_may and exists (select from complaintd.vulnerable_customers v where v.customer_id = v_id) then
        insert into complaintd.flag_reads (customer_id, at, who) values (v_id, complaintd.now(), p_actor);
        select v_answer || jsonb_build_object('vulnerable', jsonb_build_object('driver', v.driver, 'review', v.review_on,
                'review_due', v.review_on <= complaintd.today(), 'note', v.note, 'at', v.at, 'by', v.actor,
                'reads', (select jsonb_agg(jsonb_build_object('at', r.at, 'who', r.who) order by r.id desc)
                          from (select * from complaintd.flag_reads y where y.customer_id = v_id order by y.id desc limit 20) r)))
            into v_answer from complaintd.vulnerable_customers v where v.customer_id = v_id;
    end if;
    return next v_answer;
end $$;

create index customers_flagged on complaintd.customers (id) where flags <> '{}'; -- nobody has one when intake writes them

-- CUSTOMERS: newest first, all or those with a flag; p_after is the id of the last row of the page before. Who is vulnerable, and whose flag
-- is to be reviewed, is told to those who may see it, and each one told is a reading.
-- Whether the request's client may know of a customer: one with desks of its own knows those who complained to them.
create function complaintd.api_customer_seen(p_id uuid, p_scope text[]) returns boolean language sql stable
set search_path = pg_catalog, pg_temp as $$
    select p_scope is null or exists (select from complaintd.complaint c where c.customer_id = p_id and c.desks && p_scope) $$;

create function complaintd.api_customers(p_flag text, p_due boolean, p_limit integer, p_after uuid, p_actor text, p_may boolean)
returns setof jsonb language plpgsql set search_path = pg_catalog, pg_temp set timezone = 'UTC' as $$
declare
    v_care boolean := coalesce(p_due, false) or p_flag = 'vulnerable';
    v_scope text[] := complaintd.api_scope();
    v_ids uuid[];
begin
    if v_care and not p_may then
        raise exception 'this client may not see or set this flag' using errcode = 'CD403';
    end if;
    if v_care then
        v_ids := array(select v.customer_id from complaintd.vulnerable_customers v
                       where (p_after is null or v.customer_id < p_after) and complaintd.api_customer_seen(v.customer_id, v_scope)
                           and (not coalesce(p_due, false) or v.review_on <= complaintd.today())
                       order by v.customer_id desc limit coalesce(p_limit, 50));
        insert into complaintd.flag_reads (customer_id, at, who) select i, complaintd.now(), p_actor from unnest(v_ids) i;
    elsif p_flag is not null then
        v_ids := array(select u.id from complaintd.customers u where u.flags <> '{}' and p_flag = any (u.flags)
                       and complaintd.api_customer_seen(u.id, v_scope)
                       and u.id < coalesce(p_after, 'ffffffff-ffff-ffff-ffff-ffffffffffff') order by u.id desc limit coalesce(p_limit, 50));
    else
        v_ids := array(select u.id from complaintd.customers u where u.id < coalesce(p_after, 'ffffffff-ffff-ffff-ffff-ffffffffffff')
                       and complaintd.api_customer_seen(u.id, v_scope) order by u.id desc limit coalesce(p_limit, 50));
    end if;
    return query select jsonb_build_object('id', u.id, 'name', u.name, 'since', u.created_at,
            'flags', to_jsonb(case when p_may then u.flags else array_remove(u.flags, 'vulnerable') end),
            'handles', complaintd.api_handles(u))
            || case when v_care then (select jsonb_build_object('vulnerable', jsonb_build_object('driver', v.driver, 'review', v.review_on,
                   'review_due', v.review_on <= complaintd.today())) from complaintd.vulnerable_customers v where v.customer_id = u.id)
               else '{}' end
        from complaintd.customers u where u.id = any (v_ids) order by u.id desc;
end $$;

-- FLAG: sets or clears one. A second one who sets the same changes what is said of it.
create function complaintd.api_customer_flag(p_ref text, p_handle text, p_flag text, p_clear boolean, p_driver text, p_review date, p_note text,
                                             p_actor text, p_may boolean) returns setof jsonb language plpgsql
set search_path = pg_catalog, pg_temp set timezone = 'UTC' as $$
declare
    v_id uuid := complaintd.api_find_customer(p_ref, p_handle);
    v_clear boolean := coalesce(p_clear, false);
    v_changed boolean;
    v_now timestamptz := complaintd.now();
begin
    perform 1 from complaintd.customers u where u.id = v_id for no key update;
    if p_flag <> 'vulnerable' then
        if coalesce(p_driver, p_review::text, p_note) is not null then
            raise exception 'driver, review and note belong to the flag vulnerable' using errcode = 'CD400';
        end if;
        update complaintd.customers u set flags = case when v_clear then array_remove(u.flags, p_flag) else u.flags || p_flag end
            where u.id = v_id and (p_flag = any (u.flags)) = v_clear;
        v_changed := found;
    elsif not p_may then
        raise exception 'this client may not see or set this flag' using errcode = 'CD403';
    elsif v_clear then
        delete from complaintd.vulnerable_customers v where v.customer_id = v_id;
        v_changed := found;
    else
        if p_driver is null or p_review is null or p_review <= complaintd.today() then
            raise exception 'the flag vulnerable needs a driver and a date in the future on which it is reviewed' using errcode = 'CD400';
        end if;
        insert into complaintd.vulnerable_customers as v (customer_id, driver, review_on, note, at, actor)
            values (v_id, p_driver, p_review, p_note, v_now, p_actor)
            on conflict (customer_id) do update set driver = excluded.driver, review_on = excluded.review_on, note = excluded.note,
                at = excluded.at, actor = excluded.actor;
        v_changed := true;
    end if;
    if v_changed then
        insert into complaintd.customer_log (customer_id, at, actor, action, flag, data)
            values (v_id, v_now, p_actor, case when v_clear then 'clear' else 'set' end, p_flag,
                    jsonb_strip_nulls(jsonb_build_object('driver', p_driver, 'review', p_review, 'note_sha256', complaintd.api_digest(p_note))));
    end if;
    return next jsonb_build_object('id', v_id, 'flag', p_flag, 'set', not v_clear, 'changed', v_changed);
end $$;

-- What STATS says of people.
create function complaintd.api_people_stats() returns jsonb language sql stable set search_path = pg_catalog, pg_temp as $$
    select jsonb_build_object('people', jsonb_build_object(
        'absent', (select count(*) from complaintd.absent_at(complaintd.now())),
        'reviews_due', (select count(*) from complaintd.vulnerable_customers v where v.review_on <= complaintd.today()))) $$;
