-- Who works on a complaint: absences, and assignment to the members of a team. Why it is so: docs/adr/0011-people.md.

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

-- ASSIGN: to a person, a team, or both. A new team takes it from the person of the old one. Refused for who is away and for who belongs to a
-- team that it is about; the member is told, unless it is themselves. p_member: {"who", "teams", "mail", "sms", "language"} of the
-- configuration, null for a name that it does not have.
create function complaintd.api_assign(p_ref text, p_assignee text, p_team text, p_actor text, p_from text[], p_to text[],
                                      p_stops integer, p_member jsonb) returns setof jsonb language plpgsql
set search_path = pg_catalog, pg_temp set timezone = 'UTC' as $$
declare
    c complaintd.complaint := complaintd.api_take(p_ref, 'ASSIGN', p_from);
    v_to text := p_to[array_position(p_from, c.status)];
    v_team text := coalesce(p_team, c.team);
    v_assignee text := case when p_assignee is null and v_team = c.team then c.assignee else p_assignee end;
    v_stopped integer;
    v_changed boolean := v_to <> c.status or v_team <> c.team or v_assignee is distinct from c.assignee;
begin
    if p_assignee is null and p_team is null then
        raise exception 'ASSIGN needs an assignee or a team' using errcode = 'CD400';
    end if;
    if p_assignee in (select a.who from complaintd.absent_at(complaintd.now()) a) then
        raise exception '% is absent: give it to somebody else', p_assignee using errcode = 'CD409';
    end if;
    if complaintd.words(p_member -> 'teams') && c.about then
        raise exception '% is about a team of %: it goes to somebody else', c.ref, p_assignee using errcode = 'CD409';
    end if;
    -- a team without a person in it has not taken anything: its ladder goes on
    v_stopped := case when p_assignee is null then 0 else complaintd.stop_steps(c.id, p_stops, 'assign') end;
    if v_changed then
        update complaintd.complaint x set status = v_to, team = v_team, assignee = v_assignee where x.id = c.id;
    end if;
    if v_changed or v_stopped > 0 then
        perform complaintd.add_event(c.id, p_actor, 'assigned',
            jsonb_build_object('from', c.status, 'to', v_to, 'team', v_team, 'assignee', v_assignee, 'steps_stopped', v_stopped));
    end if;
    if p_member is not null and p_assignee <> p_actor and p_assignee is distinct from c.assignee then
        perform complaintd.tell_assigned(c.id, gen_random_uuid(), p_assignee, p_member ->> 'mail', p_member ->> 'sms', p_member ->> 'language');
    end if;
    return next jsonb_build_object('ref', c.ref, 'status', v_to, 'team', v_team, 'assignee', v_assignee, 'changed', v_changed,
                                   'steps_stopped', v_stopped);
end $$;
