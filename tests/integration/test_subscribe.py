"""SUBSCRIBE: every event once by its cursor, in the order of the cursors, whatever writes meanwhile and however often the reader dies."""
import json
import socket
import threading
import time

import pytest

import letters
import model
from clients import Line, LineError
from test_instances import second

FEED = {"line": {"subscribe_poll": "20ms", "subscribe_heartbeat": "250ms"}}


class Subscriber:
    """Follows from a cursor on a connection of its own; keeps every event's row and the last cursor."""

    def __init__(self, box, role="agent", **args):
        self.line, self.rows, self.cursor, self.buffer = box.line(role), [], args.get("after"), b""
        self.line.send("SUBSCRIBE", args)

    def next_line(self, end):
        """A line without its end; None when none has come by then."""
        while b"\n" not in self.buffer:
            self.line.sock.settimeout(max(end - time.monotonic(), 0.001))
            try:
                data = self.line.sock.recv(1 << 16)
            except TimeoutError:
                return None
            if not data:
                return b""
            self.buffer += data
        line, _, self.buffer = self.buffer.partition(b"\n")
        return line

    def read(self, seconds=0.0, until=None):
        """Rows that come within the time, or until there are so many."""
        end = time.monotonic() + seconds
        while (until is None or len(self.rows) < until) and time.monotonic() < end:
            line = self.next_line(end)
            if line is None:
                break
            word, _, rest = line.decode().partition(" ")
            assert word == "ROW", line
            row = json.loads(rest)
            self.cursor = row["cursor"]
            if "kind" in row:
                self.rows.append(row)
        return self.rows

    def close(self):
        self.line.close()


def place(row):
    xid, _, event = row["cursor"].partition(":")
    return int(xid), event


def now(box):
    """The cursor of everything there is."""
    with box.line("agent") as line:
        word, body, _ = line.request("SUBSCRIBE", follow=False)
        assert word == "OK", body
        return body["cursor"]


def events_between(box, cursor, end):
    """Ids in the order of their cursors: what was committed up to `end`, which was the horizon then."""
    (xid, event), (last_xid, last_event) = cursor.split(":"), end.split(":")
    return [
        str(r["id"])
        for r in box.db.rows(
            "select id from complaintd.event where (xid, id) > (%s::text::xid8, %s::uuid) and (xid, id) <= (%s::text::xid8, %s::uuid)"
            " order by xid, id",
            xid,
            event,
            last_xid,
            last_event,
        )
    ]


def catch_up(box, cursor, **args):
    """Rows and end of a subscription that does not follow."""
    with box.line("agent") as line:
        word, body, rows = line.request("SUBSCRIBE", after=cursor, follow=False, **args)
        assert word == "OK", body
        assert body["rows"] == len([r for r in rows if "kind" in r])
        return [r for r in rows if "kind" in r], body["cursor"]


def submit(box, n, **more):
    with box.line() as line:
        return [line.ok("SUBMIT", key=letters.mark(), text=f"parcel late {letters.mark()}", **more)["ref"] for _ in range(n)]


def test_rows_come_as_they_are_committed(make_box):
    box = make_box(overlay=FEED)
    follower = Subscriber(box)
    follower.read(0.5)
    ref = submit(box, 1)[0]
    rows = follower.read(10, until=1)
    assert [(r["ref"], r["kind"], r["desk"], r["seq"]) for r in rows] == [(ref, "received", "care", 1)]
    assert set(rows[0]) == {"cursor", "id", "ref", "desk", "seq", "at", "actor", "kind", "data"}
    with box.line("agent") as agent:
        agent.ok("ACK", ref=ref)
    model.wait_for(lambda: any(r["kind"] == "acked" for r in follower.read(0.2)), 10, "the event of ACK")
    # the next request ends it, and is answered behind it
    follower.line.send_raw(b"PING\nQUIT\n")
    answers = []
    while line := follower.next_line(time.monotonic() + 10):
        if not line.startswith(b"ROW"):
            answers.append(line)
    assert line == b"", "the session ended"
    assert [a[:3] for a in answers] == [b"OK "] * 3
    assert json.loads(answers[0][3:]).keys() == {"rows", "cursor"} and answers[1:] == [b"OK {}"] * 2
    follower.close()


def test_from_the_first_event_and_from_a_cursor(box):
    start = now(box)
    refs = submit(box, 5)
    rows, end = catch_up(box, start)
    assert [r["ref"] for r in rows if r["kind"] == "received"] == refs
    assert [r["id"] for r in rows] == events_between(box, start, end)
    assert [place(r) for r in rows] == sorted(place(r) for r in rows)
    half, _ = catch_up(box, rows[1]["cursor"])
    assert [r["id"] for r in half][: len(rows) - 2] == [r["id"] for r in rows[2:]]
    every, _ = catch_up(box, "0")
    assert len(every) >= len(rows) and len({r["cursor"] for r in every}) == len(every)
    assert place({"cursor": end}) >= place(rows[-1])
    received, _ = catch_up(box, start, kinds=["received"], desk="care")
    assert {r["kind"] for r in received} == {"received"} and len(received) == 5
    assert catch_up(box, start, kinds=["no-such-kind"])[0] == []


def test_a_client_that_closes_its_sending_side_gets_what_is_there(box):
    start = now(box)
    refs = submit(box, 3)
    line = box.line("agent")
    line.send("SUBSCRIBE", {"after": start, "kinds": ["received"]})
    line.sock.shutdown(socket.SHUT_WR)
    word, body, rows = line.answer()
    assert word == "OK" and [r["ref"] for r in rows] == refs and body["rows"] == 3
    assert line.file.readline() == b""
    line.close()


def test_nothing_overtakes_a_transaction_that_still_runs(make_box):
    """An event written early and committed late is neither skipped nor given out of order: everything behind it waits."""
    box = make_box(overlay=FEED)
    ref = submit(box, 1)[0]
    complaint = box.db.value("select id from complaints where ref = %s", ref)
    start = now(box)
    follower = Subscriber(box, after=start, kinds=["received", "late"])
    slow = model.Database(box.database_url())
    slow.connection.autocommit = False
    with slow.connection.cursor() as c:
        c.execute("select complaintd.add_event(%s, 'test', 'late', '{}')", (complaint,))
    later = submit(box, 3)
    assert follower.read(1.0) == []
    once = box.line("agent")  # everything there is: also what waits behind the one that still runs
    once.send("SUBSCRIBE", {"after": start, "kinds": ["received"], "follow": False})
    once.sock.settimeout(1)
    with pytest.raises(TimeoutError):
        while chunk := once.sock.recv(1000):
            assert b"OK" not in chunk and b"kind" not in chunk
            once.sock.settimeout(0.2)  # a sign of life now and then
    once.close()
    model.wait_for(lambda: box.metric("complaintd_feed_held_back_seconds") >= 1 and "feed.held-back" in box.log(), 20, "it is told of")
    slow.connection.commit()
    rows = follower.read(10, until=4)
    assert [r["kind"] for r in rows] == ["late"] + ["received"] * 3
    assert [r["ref"] for r in rows] == [ref, *later]
    model.wait_for(lambda: box.metric("complaintd_feed_held_back_seconds") == 0, 10, "it is over")
    slow.close()
    follower.close()


def test_a_heartbeat_carries_the_cursor(make_box):
    box = make_box(overlay=FEED)
    follower = Subscriber(box, kinds=["no-such-kind"])
    follower.read(1.0)
    first = follower.cursor
    assert first
    submit(box, 1)
    model.wait_for(lambda: follower.read(0.3) == [] and place({"cursor": follower.cursor}) > place({"cursor": first}), 10, "the cursor moves")
    follower.close()


def test_killed_every_second_under_load_each_event_once(make_box):
    """A subscriber that is killed and comes back has seen each event exactly once by its cursor."""
    box = make_box(overlay=FEED)
    start = now(box)
    stop, sent = threading.Event(), []

    def load():
        with box.line() as line:
            while not stop.is_set():
                n = 25
                for _ in range(n):
                    line.send("SUBMIT", {"key": letters.mark(), "text": f"broken {letters.mark()}"})
                for _ in range(n):
                    word, body, _ = line.answer()
                    assert word == "OK", body
                    sent.append(body["ref"])

    def acks():
        with box.line("agent") as line:
            while not stop.is_set():
                if sent:
                    line.request("ACK", ref=sent[len(sent) // 2])
                time.sleep(0.01)

    threads = [threading.Thread(target=load) for _ in range(3)] + [threading.Thread(target=acks)]
    for t in threads:
        t.start()
    seen, cursor = [], start
    try:
        for _ in range(8):
            follower = Subscriber(box, after=cursor)
            seen += follower.read(1.0)
            cursor = follower.cursor
            # no goodbye: the connection is reset, as when the process dies
            follower.line.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
            follower.close()
    finally:
        stop.set()
        for t in threads:
            t.join(60)
    rest, end = catch_up(box, cursor)
    seen += rest
    assert [r["id"] for r in seen] == events_between(box, start, end)
    assert len({r["cursor"] for r in seen}) == len(seen) and [place(r) for r in seen] == sorted(place(r) for r in seen)
    assert len([r for r in seen if r["kind"] == "received"]) == len(sent) > 100


def test_a_reader_that_does_not_read_costs_no_memory(make_box):
    """Twenty megabytes to one that reads nothing and one that reads: the first is paused, the second gets all; then the first, too."""
    box = make_box(overlay=FEED)
    ref = submit(box, 1)[0]
    complaint = box.db.value("select id from complaints where ref = %s", ref)
    start = now(box)
    idle, reader = Subscriber(box, after=start), Subscriber(box, after=start)
    paused = box.metric("complaintd_line_subscribe_paused_total")
    writer = model.Database(box.database_url())
    writer.connection.autocommit = False
    with writer.connection.cursor() as c:
        c.execute(
            "select complaintd.add_event(%s, 'test', 'bulk', jsonb_build_object('x', repeat('y', 20000)))"
            " from generate_series(1, 1000)",
            (complaint,),
        )
    writer.connection.commit()
    writer.close()
    assert len(reader.read(120, until=1000)) == 1000
    model.wait_for(lambda: box.metric("complaintd_line_subscribe_paused_total") > paused, 20, "the other one is paused")
    rows = idle.read(120, until=1000)
    assert [r["id"] for r in rows] == [r["id"] for r in reader.rows] == events_between(box, start, rows[-1]["cursor"])
    idle.close()
    reader.close()


def test_limits_and_faults(make_box):
    box = make_box(overlay={"line": {"max_subscriptions": 1}})
    with box.line("agent") as line, box.line() as intake:
        for args, code in (
            ({"after": "x"}, "bad-argument"),
            ({"after": 1}, "bad-argument"),
            ({"after": "7"}, "bad-argument"),
            ({"after": "7:x"}, "bad-argument"),
            ({"kinds": "received"}, "bad-argument"),
            ({"kinds": []}, "bad-argument"),
            ({"kinds": [1]}, "bad-argument"),
            ({"desk": "nowhere"}, "bad-argument"),
            ({"follow": 1}, "bad-argument"),
            ({"frm": 1}, "bad-argument"),
            ({"after": "9000000000000:00000000-0000-0000-0000-000000000000"}, "bad-argument"),
        ):
            word, body, _ = line.request("SUBSCRIBE", **args)
            assert (word, body.get("code")) == ("ERR", code), (args, body)
        with pytest.raises(LineError) as e:
            intake.ok("SUBSCRIBE")
        assert e.value.code == "forbidden"
        follower = Subscriber(box)
        model.wait_for(lambda: box.metric("complaintd_line_subscriptions") == 1, 10, "the subscription")
        word, body, _ = line.request("SUBSCRIBE")
        assert (word, body["code"], body["retry"]) == ("ERR", "busy", True)
        assert box.metric("complaintd_line_subscribe_refused_total") == 1
        follower.close()
        model.wait_for(lambda: box.metric("complaintd_line_subscriptions") == 0, 10, "it is gone")
        assert line.request("SUBSCRIBE", follow=False)[0] == "OK"


def test_the_database_goes_and_comes_back(make_box):
    box = make_box(overlay=FEED)
    start = now(box)
    before = submit(box, 2)
    follower = Subscriber(box, after=start, kinds=["received"])
    assert [r["ref"] for r in follower.read(10, until=2)] == before
    box.stop_postgres()
    box.start_postgres()
    with Line(box.line_port, box.e["LINE_TOKEN"]) as line:
        body = model.wait_for(lambda: (lambda a: a[1] if a[0] == "OK" else None)(line.request("SUBMIT", key=letters.mark(), text="late again")), 60, "a SUBMIT")
    rows = follower.read(30, until=3)
    assert [r["ref"] for r in rows] == [*before, body["ref"]]
    follower.close()


def test_a_feed_that_fails_goes_on_where_it_was(make_box):
    box = make_box(overlay=FEED)
    follower = Subscriber(box, after=now(box), kinds=["received"])
    function = box.db.value("select pg_get_functiondef('complaintd.feed'::regproc)")
    broken = function.replace("begin", "begin raise exception 'not now'; ", 1)
    assert broken != function
    with box.db.connection.cursor() as c:
        c.execute(broken)
    refs = submit(box, 3)
    model.wait_for(lambda: "feed.failed" in box.log(), 20, "the line of the log")
    assert follower.read(0.5) == []
    with box.db.connection.cursor() as c:
        c.execute(function)
    assert [r["ref"] for r in follower.read(20, until=3)] == refs
    follower.close()


def test_coming_back_to_another_instance(make_box):
    """Cursors are the database's, not the daemon's: what was read here goes on there, while both take in."""
    box = make_box(overlay=FEED)
    box.killed = True  # half of the receipts are counted by the other daemon
    seen, cursor, sent = [], now(box), []
    start = cursor
    with second(box) as other:
        for i in range(6):
            here, there = (box.line_port, other.line) if i % 2 else (other.line, box.line_port)
            for port in (here, there):
                with Line(port, box.e["LINE_TOKEN"]) as line:
                    sent += [line.ok("SUBMIT", key=letters.mark(), text="late")["ref"] for _ in range(5)]
            with Line(here, box.state["agent_token"]) as line:
                word, body, rows = line.request("SUBSCRIBE", after=cursor, follow=False)
                assert word == "OK"
                seen += [r for r in rows if "kind" in r]
                cursor = body["cursor"]
    assert [r["id"] for r in seen] == events_between(box, start, cursor)
    assert [r["ref"] for r in seen if r["kind"] == "received"] == sent


def test_many_subscribers_share_one_poll(make_box):
    """Forty that stand at the end and one that reads from the beginning: the database is asked as often as for one."""
    box = make_box(overlay={"line": {"subscribe_poll": "100ms", "subscribe_heartbeat": "1h"}})
    crowd = [Subscriber(box, kinds=["received"]) for _ in range(40)]
    model.wait_for(lambda: box.metric("complaintd_line_subscriptions") == 40, 20, "all of them")
    time.sleep(1)
    looks, began = box.metric("complaintd_feed_looks_total"), time.monotonic()
    refs = [ref for _ in range(10) for ref in (submit(box, 3), time.sleep(0.2))[0]]
    for one in crowd:
        assert [r["ref"] for r in one.read(20, until=len(refs))] == refs
    took = time.monotonic() - began
    assert box.metric("complaintd_feed_looks_total") - looks <= took / 0.1 + 5
    assert box.metric("complaintd_line_subscribe_rows_total") == 40 * len(refs)
    for one in crowd:
        one.close()


def test_a_restored_dump(make_box):
    """Events of transactions that this cluster has not had yet: named by the invariants, not sent; docs/installing.md has the cure."""
    box = make_box(overlay=FEED)
    refs = submit(box, 4)
    before = now(box)
    with box.db.connection.cursor() as c:
        c.execute("update complaintd.event set xid = (xid::text::bigint + 1000000)::text::xid8")
    assert {f["invariant"] for f in model.invariants(box.db)} == {"event of a transaction that has not been"}
    assert catch_up(box, "0", kinds=["received"])[0] == []
    with box.db.connection.cursor() as c:
        c.execute("update complaintd.event set xid = default")
    assert not model.invariants(box.db)
    rows, _ = catch_up(box, "0", kinds=["received"])
    assert {r["ref"] for r in rows} == set(refs) and len(rows) == 4
    with box.line("agent") as line:
        far = f"{int(before.split(':')[0]) + 1000000}:{before.split(':')[1]}"
        word, body, _ = line.request("SUBSCRIBE", after=far, follow=False)
        assert (word, body["code"], body["field"]) == ("ERR", "bad-argument", "after")
