"""Partitions of messages and events: made ahead, the default partition as a net, and look-ups that open one of them."""
import datetime
import json
import re
import secrets
import signal

import letters
from model import wait_for
from test_threads import send

TABLES = {"message": "id", "event": "complaint_id"}


def partitions(box, table):
    rows = box.db.rows(
        "select c.relname from pg_inherits i join pg_class c on c.oid = i.inhrelid"
        " where i.inhparent = ('complaintd.' || %s)::regclass order by 1",
        table,
    )
    return [r["relname"] for r in rows]


def month(table, shift=0):
    today = datetime.datetime.now(datetime.timezone.utc)
    n = today.year * 12 + today.month - 1 + shift
    return f"{table}_{n // 12:04d}_{n % 12 + 1:02d}"


def start_again(box):
    box.kill_daemon(signal.SIGTERM)
    box.restart()


def test_made_ahead_and_used(box):
    mark = letters.mark()
    send(box, mark, "months@shop.example")
    c = box.complaint_of(mark)
    for table, key in TABLES.items():
        assert partitions(box, table) == [*(month(table, i) for i in (-1, 0, 1, 2)), f"{table}_default"]
        found = box.db.rows(f"select distinct tableoid::regclass::text as name from {table} where {key} = %s", c["id"])
        assert [r["name"] for r in found] in ([month(table)], [month(table, -1)])  # this test may run at midnight
        assert box.db.value(f"select count(*) from {table}_default") == 0
    wait_for(lambda: box.metric("complaintd_store_default_partition_rows") == 0, 10)
    assert box.metric("complaintd_store_partitions_missing") == 0


def test_the_net_is_emptied_or_alarms(make_box):
    box = make_box()
    strays = {}
    for year in (2022, 1970):  # a clock that was wrong by years, and one that never was set
        strays[year] = box.db.value(
            "insert into messages (id, direction, channel, received_at, body) select (left(complaintd.uuid_at(%s::timestamptz)::text, 24)"
            " || right(gen_random_uuid()::text, 12))::uuid, 'out', 'mail', now(), %s returning id",
            f"{year}-03-31T23:59:59.999Z",
            str(year),
        )
    assert box.db.value("select count(*) from message_default") == 2
    box.db.execute(f"drop table {month('event', 2)}")
    start_again(box)
    wait_for(lambda: "store.partition-default" in box.log(), 20, "the alarm")
    assert "rows=1 " in box.log().split("store.partition-default")[1].splitlines()[0] + " "
    assert "store.partitions-made" in box.log()
    wait_for(lambda: box.metric("complaintd_store_default_partition_rows") == 1, 10)
    assert box.db.row("select body from message_2022_03") == {"body": "2022"}
    assert box.db.row("select id from message_default")["id"] == strays[1970]
    assert month("event", 2) in partitions(box, "event")
    # more than may be moved at once stays where it is, until somebody says how many
    low = "select complaintd.uuid_at('2023-01-01Z')"
    box.db.execute(
        f"insert into messages (id, direction, channel, received_at) select (left(({low})::text, 24) || lpad(n::text, 12, '0'))::uuid,"
        " 'out', 'mail', now() from generate_series(1, 11) n"
    )
    assert box.db.row("select * from complaintd.make_partitions(2, 10)") == {"made": 0, "left_over": 12, "missing": 1}
    assert box.db.row("select * from complaintd.make_partitions(2, 11)") == {"made": 1, "left_over": 1, "missing": 0}
    assert box.db.value("select count(*) from message_2023_01") == 11
    assert box.db.row("select * from complaintd.make_partitions(2)") == {"made": 0, "left_over": 1, "missing": 0}
    box.db.execute("delete from message where id < complaintd.uuid_at('2024-01-01Z')")  # ours, which nobody sends: a fault to the invariants


def test_a_reader_that_takes_long_does_not_hold_up_intake(make_box):
    """A report that has all partitions locked: none is attached meanwhile, and mails go on being stored."""
    box = make_box()
    box.db.execute(f"drop table {month('message', 2)}")
    box.db.connection.autocommit = False
    with box.db.connection.cursor() as cursor:
        cursor.execute("select count(*) from complaintd.messages")
        start_again(box)
        wait_for(lambda: "store.partitions-failed" in box.log(), 20, "the attempt")
        mark = letters.mark()
        send(box, mark, "busy@shop.example")
    box.db.connection.rollback()
    box.db.connection.autocommit = True
    assert box.complaint_of(mark)
    assert box.metric("complaintd_store_partitions_missing") == 1
    assert box.db.row("select * from complaintd.make_partitions(2)") == {"made": 1, "left_over": 0, "missing": 0}


def opened(box, sql):
    """The partitions that a statement read, under a generic plan, and in functions that it called."""
    db = box.db.connection
    with db.cursor() as cursor:
        cursor.execute(
            "load 'auto_explain'; set auto_explain.log_min_duration = 0; set auto_explain.log_analyze = on;"
            " set auto_explain.log_nested_statements = on; set client_min_messages = log; set plan_cache_mode = force_generic_plan;"
            " set enable_seqscan = off; set enable_hashjoin = off; set enable_mergejoin = off"
        )
        del db.notices[:]
        cursor.execute(sql)
        plans = "\n".join(db.notices)
        cursor.execute("reset all")
    lines = [x for x in plans.splitlines() if "never executed" not in x]
    return set(re.findall(r" on ((?:message|event)_(?:\d{4}_\d\d|default))", "\n".join(lines)))


def test_a_look_up_opens_one_partition(make_box):
    box = make_box()
    for i in range(2, 26):
        for table, key in TABLES.items():
            box.db.execute(
                "select complaintd.make_partition(%s, %s, date_trunc('month', now() at time zone 'UTC') - %s * interval '1 month', 0)",
                table,
                key,
                i,
            )
    first, mark, other = f"{secrets.token_hex(6)}@shop.example", letters.mark(), letters.mark()
    send(box, mark, "one@shop.example", first)
    send(box, other, "one@shop.example", None, [("In-Reply-To", f"<{first}>")], "Re: A matter")
    c = box.complaint_of(mark)
    assert len(partitions(box, "message")) == 29
    month_of = box.db.value("select tableoid::regclass::text from message where id = %s", c["id"])
    later = {p for p in partitions(box, "message") if p >= month_of}  # those to come are empty
    assert opened(box, f"select complaintd.thread_state(c) from complaintd.complaint c where id = '{c['id']}'") <= later
    assert opened(box, f"select complaintd.api_messages('{c['id']}')") <= later
    assert opened(box, f"prepare v as select subject from complaintd.complaints where id = $1; execute v('{c['id']}')") == {month_of}
    events = opened(box, f"prepare e as select * from complaintd.events where complaint_id = $1; execute e('{c['id']}')")
    assert events == {month_of.replace("message", "event")}
    box.db.connection.autocommit = False
    written = opened(box, f"select complaintd.add_event('{c['id']}', 'system', 'test', '{{}}')")
    box.db.connection.rollback()
    box.db.connection.autocommit = True
    assert written == events


def test_a_message_older_than_its_complaint_is_found(box):
    """As when a mail waits in pending while the answer to it opens the complaint."""
    mark = letters.mark()
    send(box, mark, "late@shop.example")
    c = box.complaint_of(mark)
    old = box.db.value("select (left(complaintd.uuid_at(now() - interval '40 days')::text, 24) || right(%s, 12))::uuid", c["id"])
    box.db.execute("insert into messages (id, complaint_id, direction, channel, class, sender, received_at)"
                   " values (%s, %s, 'in', 'mail', 'person', 'first@shop.example', now())", old, c["id"])
    try:
        assert "first@shop.example" not in box.db.value("select complaintd.thread_state(c) from complaint c where id = %s", c["id"])["who"]
        box.db.value("select complaintd.attach_message(%s, %s, now(), 'mail', 'message-received', '{}')", c["id"], old)
        assert box.db.value("select first_id from complaint where id = %s", c["id"]) == old
        assert "first@shop.example" in box.db.value("select complaintd.thread_state(c) from complaint c where id = %s", c["id"])["who"]
        with box.line("admin") as line:
            assert old in json.dumps(line.ok("SHOW", ref=c["ref"]))
    finally:  # its receipt was never written
        box.db.execute("delete from messages where id = %s", old)
