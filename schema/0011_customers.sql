-- Who complains: flags of customers, what people may see of them, and their history. Why it is so: docs/adr/0011-people.md.

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

-- Whether the request's client may know of a customer: one with desks of its own knows those who complained to them.
create function complaintd.api_customer_seen(p_id uuid, p_scope text[]) returns boolean language sql stable
set search_path = pg_catalog, pg_temp as $$
    select p_scope is null or exists (select from complaintd.complaint c where c.customer_id = p_id and c.desks && p_scope) $$;

-- CUSTOMERS: newest first, all or those with a flag; p_after is the id of the last row of the page before. Who is vulnerable, and whose flag
-- is to be reviewed, is told to those who may see it, and each one told is a reading.
create function complaintd.api_customers(p_flag text, p_due boolean, p_limit integer, p_after uuid, p_actor text, p_may boolean)
returns setof jsonb language plpgsql set search_path = pg_catalog, pg_temp set timezone = 'UTC' as $$
declare
    v_care boolean := coalesce(p_due, false) or p_flag = 'vulnerable';
    v_scope text[] := complaintd.api_scope();
    v_ids uuid[];
begin
    if v_care and not p_may then
        raise exception 'this client may not see or set this flag' using errcode = 'CD403';
    elsif p_due and p_flag <> 'vulnerable' then
        raise exception 'only the flag vulnerable has a review' using errcode = 'CD400';
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

-- What STATS says of people. How many flags are to be reviewed is for those who may see them, and of their desks.
create function complaintd.api_people_stats(p_may boolean) returns jsonb language sql stable set search_path = pg_catalog, pg_temp as $$
    select jsonb_build_object('people', jsonb_build_object('absent', (select count(*) from complaintd.absent_at(complaintd.now())))
        || case when p_may then jsonb_build_object('reviews_due', (select count(*) from complaintd.vulnerable_customers v
               where v.review_on <= complaintd.today() and complaintd.api_customer_seen(v.customer_id, complaintd.api_scope()))) else '{}' end) $$;
