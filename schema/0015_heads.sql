-- What a complaint is about, and the ways by which it could still come to those. Last events, kept elsewhere as well.

-- As before; and who it is about does not take it by ACK.
create or replace function complaintd.complaint_conflict() returns trigger language plpgsql set search_path = pg_catalog, pg_temp as $$
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
drop trigger complaint_conflict on complaintd.complaint;
create trigger complaint_conflict before update of team, assignee, acked_by, merged_into on complaintd.complaint
    for each row when (new.about is not null) execute function complaintd.complaint_conflict();

-- MERGE, refused where the other complaint has somebody of a team that the first is about; complaint_conflict sees to the team and the person
-- themselves. p_teams: of each member of a team all their teams, as the configuration has them.
create function complaintd.api_merge_to(p_ref text, p_into text, p_actor text, p_from text[], p_to text[], p_teams jsonb)
returns setof jsonb language plpgsql
set search_path = pg_catalog, pg_temp set timezone = 'UTC' as $$
declare
    v_a uuid := complaintd.api_find(p_ref);
    v_b uuid := complaintd.api_find(p_into);
    a complaintd.complaint;
    b complaintd.complaint;
begin
    perform complaintd.api_lock_two(v_a, v_b);
    select * into a from complaintd.complaint c where c.id = v_a;
    select * into b from complaintd.complaint c where c.id = v_b;
    if complaintd.words(p_teams -> b.assignee) && a.about then
        raise exception '% is about a team of %, who has %: give that one to somebody else first', a.ref, b.assignee, b.ref using errcode = 'CD409';
    end if;
    return query select complaintd.api_merge(p_ref, p_into, p_actor, p_from, p_to);
end $$;
