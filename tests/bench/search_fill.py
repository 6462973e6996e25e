"""Fills a sandbox's database with complaints for tests/bench/search: by SQL, two processes at a time, with all rows that
schema/invariants.sql asks for (receipt, customer, complaint, message, two events with their hashes, timers) and their words in
complaintd.search. There are no notifications, no raw mails and no steps of ladders. What comes out depends on --count alone, but for times."""
import contextlib
import multiprocessing

import psycopg2

CHUNK = 20000
ALPHABET = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
ENGLISH = """I was charged twice for the same invoice and nobody answers the phone.
The internet connection drops every evening since last week.
Please refund the amount that was taken from my account by mistake.
Your technician did not show up although I waited all day.
The parcel arrived damaged and the box had been opened before.
I have been waiting for a reply to my earlier letter for three weeks.
The contract was cancelled but the monthly fee is still debited.
My password cannot be reset and the hotline hangs up.
The bill shows roaming charges for a country I never visited.
The employee at the counter was rude and would not help.
We are very unhappy with the quality of the service.
The order was confirmed yet nothing has been delivered.
The router blinks red and must be restarted several times a day.
You promised a voucher in March which never came.
Someone opened an account in my name without my consent.
The meter reading is wrong by a factor of ten.
I ask you to correct this and to confirm it in writing.
If I do not hear from you I will turn to the ombudsman.
The replacement part does not fit the machine that I bought.
The app crashes whenever I try to upload a photo of the receipt.
Attached you find a copy of the invoice and the bank statement.
This is the fourth time that I complain about the same thing.
The subscription was extended for a year without any notice.
The elevator in our building has been out of order for days.
There was a strong smell of gas near the boiler.
My elderly mother depends on the telephone line.
The seat I had reserved was given to another passenger.
Luggage was lost on the way and the desk was closed.
I would like to speak with a supervisor about the surcharge.
Kind regards and thank you for your attention to this matter.""".splitlines()
CHINESE = """我的账单重复扣款两次，请退款。
宽带每天晚上都会掉线，已经一个星期了。
客服电话一直打不通，没有人接听。
师傅约好上门却没有来，我等了一整天。
快递包裹送到时已经破损，外包装被打开过。
合同已经取消，但是每个月还在扣费。
密码无法重置，热线总是自动挂断。
账单上有国际漫游费，可是我没有出过国。
柜台的工作人员态度恶劣，拒绝处理。
订单显示已确认，但一直没有发货。
路由器亮红灯，每天要重启好几次。
三月份承诺的优惠券到现在没有收到。
有人冒用我的身份证开户，请尽快核实。
水表读数明显错误，比平时多了十倍。
请书面确认并更正，谢谢。
如果再不答复，我将向消费者协会投诉。
更换的零件与我购买的机器不匹配。
上传发票照片时手机应用会闪退。
随信附上发票和银行流水的复印件。
这是我第四次投诉同一个问题。
会员在没有通知的情况下自动续费一年。
小区电梯已经停运好几天，老人出行不便。
厨房附近有很浓的煤气味，非常危险。
预订的座位被分配给了其他乘客。
行李在转机途中丢失，服务台已经下班。
请安排主管与我联系，说明附加费用。
网络速度远低于合同约定的速率。
退货申请提交后一直显示审核中。
商品与描述不符，要求全额退款。
希望贵公司尽快给出处理结果。""".splitlines()
# An English word and a Chinese one that some 40 complaints have, whatever --count is.
RARE = "chrysanthemum 蒲公英茶壶"

HELPERS = """
create schema bench;
create table bench.words as select %(en)s::text[] as en, %(zh)s::text[] as zh, %(check)s::integer[] as checks, %(alphabet)s::text as alphabet;
-- From 0 to below p_n, the p_k-th of a complaint.
create function bench.pick(p_i bigint, p_k integer, p_n integer) returns integer language sql immutable parallel safe as
$$ select ((hashint8extended(p_i, p_k) & 2147483647) %% p_n)::integer $$;
-- Two of four sentences come rather from the first ones.
create function bench.text(p_i bigint, p_of text[], p_between text) returns text language sql immutable parallel safe as
$$ select concat_ws(p_between, p_of[1 + (power(bench.pick(p_i, 11, 10000) / 10000.0, 1.6) * 30)::integer %% 30], p_of[1 + bench.pick(p_i, 12, 30)],
                    p_of[1 + (power(bench.pick(p_i, 13, 10000) / 10000.0, 1.6) * 30)::integer %% 30], p_of[1 + bench.pick(p_i, 14, 30)]) $$;
-- Eleven symbols of a number that none has twice, and the check symbol, which is a sum over them.
create function bench.ref(p_i bigint, p_checks integer[], p_alphabet text) returns text language sql immutable parallel safe as
$$ select 'C-' || substr(x.t, 1, 4) || '-' || substr(x.t, 5, 4) || '-' || substr(x.t, 9, 3) || substr(p_alphabet, 1 + x.sum, 1) from (
       select string_agg(substr(p_alphabet, 1 + y.s, 1), '' order by y.k) as t, bit_xor(p_checks[1 + 32 * y.k + y.s]) as sum
       from (select k, ((p_i * 265443576199 %% 36028797018963968) >> (5 * k) & 31)::integer as s from generate_series(0, 10) k) y) x $$;
"""

ROWS = """
create temp table g on commit drop as
    select i, at, x.id, bench.ref(i, w.checks, w.alphabet) as ref, i %% 5 < 2 as chinese,
           bench.pick(i, 2, %(customers)s) as customer,
           case when i > %(count)s * 0.99 and bench.pick(i, 3, 3) = 0 then 'open' when bench.pick(i, 3, 400) = 0 then 'waiting'
                when bench.pick(i, 3, 7) = 1 then 'closed' else 'resolved' end as status,
           case when i %% 5 < 2 then '投诉 ' || i %% 1000 else 'Complaint about order ' || bench.pick(i, 4, 10000000) end as subject,
           bench.text(i, case when i %% 5 < 2 then w.zh else w.en end, case when i %% 5 < 2 then '' else ' ' end)
               || case when i %% greatest(%(count)s / 40, 1) = 7 %% greatest(%(count)s / 40, 1) then ' ' || %(rare)s else '' end
               || ' ' || to_hex(bench.pick(i, 5, 2147483647)) as body
    from bench.words w, generate_series(%(first)s::bigint, %(last)s) i,
         lateral (select date_trunc('milliseconds', now() - interval '1 hour' - (%(count)s - i) * (interval '360 days' / %(count)s)) as at) t,
         lateral (select (left(complaintd.uuid_at(t.at)::text, 14) || '7' || substr(md5(i::text), 1, 3) || '-8' || substr(md5(i::text), 4, 3)
                          || '-' || substr(md5(i::text), 8, 12))::uuid as id) x;
insert into complaintd.receipts (ukey, id, channel, key, digest, received_at, outcome, desk, complaint_id)
    select sha256(uuid_send(id)), id, 'mail', i || '@bench.example', sha256(convert_to(body, 'UTF8')), at, 'new', 'main', id from g;
insert into complaintd.complaint (id, ref, desk, desks, channel, status, outcome, category, priority, language, team, assignee, policy, customer_id,
        customer_name, customer_email, received_at, acknowledged_at, responded_at, resolved_at, closed_at, state_until, decision)
    select id, ref, 'main', '{main}', 'mail', status, case when status in ('resolved', 'closed') then 'upheld' end,
        (array['billing', 'network', 'delivery', 'service', 'unclassified'])[1 + bench.pick(i, 6, 5)],
        (array['critical', 'high', 'normal', 'normal', 'low'])[1 + bench.pick(i, 7, 5)],
        case when chinese then 'zh' else 'en' end, (array['billing', 'technics', 'frontline'])[1 + bench.pick(i, 8, 3)],
        'person-' || bench.pick(i, 9, 20), 'standard',
        bench.customer(customer), 'Person ' || customer, 'person' || customer || '@bench.example', at, at, at,
        case when status in ('resolved', 'closed') then at + interval '1 minute' end, case when status = 'closed' then at + interval '2 minutes' end,
        case when status = 'waiting' then now() + interval '30 days' end, '{}' from g;
insert into complaintd.message (id, complaint_id, channel, desk, sender, subject, body, received_at)
    select id, id, 'mail', 'main', 'person' || customer || '@bench.example', subject, body, at from g;
with first as materialized (select g.*, complaintd.event_hash('', id, 1, at, 'intake', 'received', '{}') as hash, md5(id::text)::uuid as next,
        case status when 'open' then 'acked' else status end as kind, jsonb_build_object('from', 'new', 'to', status)::text as data from g)
insert into complaintd.event (id, complaint_id, seq, at, actor, kind, data, prev_hash, hash)
    select id, id, 1, at, 'intake', 'received', '{}', '', hash from first
    union all
    select next, id, 2, at, 'bench', kind, data, hash, complaintd.event_hash(hash, next, 2, at, 'bench', kind, data) from first;
insert into complaintd.timers (complaint_id, policy, calendar, anchor_at, resolve_due) select id, 'standard', '24x7', at, at + interval '14 days' from g;
insert into complaintd.search (complaint_id, message_id, terms)
    select id, id, complaintd.search_terms(concat_ws(' ', ref, 'Person ' || customer, 'person' || customer || '@bench.example',
                                                     'person' || customer || '@bench.example', subject, body)) from g order by id;
"""

CUSTOMERS = """
create function bench.customer(p_n integer) returns uuid language sql immutable parallel safe as $$ select md5('customer' || p_n)::uuid $$;
insert into complaintd.customers (id, name, emails) select bench.customer(n), 'Person ' || n, array['person' || n || '@bench.example']
    from generate_series(0, %(customers)s - 1) n;
insert into complaintd.customer_handles (handle, customer_id) select 'mail:person' || n || '@bench.example', bench.customer(n)
    from generate_series(0, %(customers)s - 1) n;
"""

MONTHS = """
select complaintd.make_partition('message', 'id', m, 0), complaintd.make_partition('event', 'complaint_id', m, 0)
from generate_series(date_trunc('month', now() at time zone 'UTC') - interval '12 months',
                     date_trunc('month', now() at time zone 'UTC') - interval '1 month', interval '1 month') m
where to_regclass('complaintd.message_' || to_char(m, 'YYYY_MM')) is null
"""


def check_table():
    """What symbol s at place k adds to the check symbol: s times x^(11-k) in GF(2)[x]/(x^5 + x^2 + 1)."""
    table = []
    for k in range(11):
        for s in range(32):
            for _ in range(11 - k):
                s = (s << 1) ^ (0x25 if s & 0x10 else 0)
            table.append(s)
    return table


def run(url, statements, args=None):
    with contextlib.closing(psycopg2.connect(url)) as connection, connection, connection.cursor() as cursor:
        cursor.execute("set synchronous_commit = off; set maintenance_work_mem = '512MB'")
        cursor.execute(statements, args)


def chunk(job):
    url, args = job
    run(url, ROWS, args)
    return args["last"] - args["first"] + 1


def fill(url, count, tell):
    args = {"count": count, "customers": max(count // 5, 1), "rare": RARE}
    run(url, HELPERS, {"en": ENGLISH, "zh": CHINESE, "check": check_table(), "alphabet": ALPHABET})
    run(url, CUSTOMERS, args)
    run(url, MONTHS)
    run(url, "drop index complaintd.search_terms")
    jobs = [(url, {**args, "first": i, "last": min(i + CHUNK - 1, count)}) for i in range(1, count + 1, CHUNK)]
    done = 0
    with multiprocessing.Pool(2) as pool:
        for n in pool.imap_unordered(chunk, jobs):
            done += n
            tell(f"{done} of {count}")
    tell("index of words")
    run(url, "create index search_terms on complaintd.search using gin (terms);"
             " update complaintd.search_state set walked = complaintd.uuid_at(now() - interval '10 minutes')")
    with contextlib.closing(psycopg2.connect(url)) as connection:
        connection.autocommit = True
        connection.cursor().execute("vacuum analyze")
