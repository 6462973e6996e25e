"""Days are closed: the last events of complaints are kept and chained, and what is done to a chain's end afterwards is found."""
import re
import signal

import letters
from model import settle, wait_for

CLOSED = re.compile(r"store\.day-closed day=(\S+) closing=(\d+) complaints=(\d+) hash=([0-9a-f]{64})")


def ask(box, verb, role="agent", **args):
    with box.line(role) as line:
        word, body, _ = line.request(verb, **args)
    return body if word == "OK" else body["code"]


def verify(box):
    """All of it, page by page: the last answer, or the first that is not good."""
    page = {}
    while True:
        body = ask(box, "VERIFY", **page)
        if not body["ok"] or "next" not in body:
            return body
        page = {"after": body["next"]}


def new(box, n):
    refs = [ask(box, "SUBMIT", "intake", key=letters.mark(), text=f"late {letters.mark()}")["ref"] for _ in range(n)]
    settle(box.db)
    return refs


def close(box, most=20000):
    """As the daemon asks for it, for as long as there is more."""
    rows = []
    while True:
        row = box.db.row("select * from complaintd.close_day(%s)", most)
        if row["day"] is None:
            return rows
        rows.append(row)
        if not row["more"]:
            return rows


def later(box):
    """As if what was closed had been closed the day before."""
    box.sql("update complaintd.closings set day = day - 1; "
            "with recursive again as (select c.n, c.day, c.prev_hash, complaintd.closing_hash(c.prev_hash, c.n, c.day, h.heads) as hash"
            " from complaintd.closings c, lateral (select string_agg(uuid_send(k.complaint_id) || int4send(k.seq) || k.hash, '' order by k.complaint_id)"
            " as heads from complaintd.closed_heads k where k.n = c.n) h where c.n = 1"
            " union all select c.n, c.day, a.hash, complaintd.closing_hash(a.hash, c.n, c.day, (select string_agg(uuid_send(k.complaint_id) || int4send(k.seq)"
            " || k.hash, '' order by k.complaint_id) from complaintd.closed_heads k where k.n = c.n))"
            " from complaintd.closings c join again a on c.n = a.n + 1)"
            " update complaintd.closings c set prev_hash = a.prev_hash, hash = a.hash from again a where a.n = c.n")


def test_the_daemon_closes_the_day_and_says_so(make_box):
    box = make_box()
    refs = new(box, 3)
    assert "closed" not in verify(box), "there was nothing yet when it started"
    box.kill_daemon(signal.SIGTERM)
    box.restart()
    day, n, complaints, digest = wait_for(lambda: CLOSED.search(box.log()), 30, "the day is closed").groups()
    assert (n, complaints) == ("1", "3")
    assert verify(box)["closed"] == {"day": day, "closing": 1, "hash": digest}
    assert day == str(box.db.value("select (clock_timestamp() at time zone 'UTC')::date - 1"))
    done = box.ctl("verify")
    assert digest in done.stdout and day in done.stdout
    new(box, 1)
    assert close(box) == [], "one a day"
    assert "closed" not in ask(box, "VERIFY", ref=refs[0])
    assert box.metrics()["complaintd_store_closings_total"] == 1


def test_what_is_done_to_a_closed_end_is_found(make_box):
    box = make_box()
    refs = new(box, 3)
    ask(box, "ASSIGN", ref=refs[0], assignee="wei")
    ask(box, "ASSIGN", ref=refs[0], assignee="li")  # which changes no state
    settle(box.db)
    assert len(close(box)) == 1
    later(box)
    ask(box, "ASSIGN", ref=refs[1], assignee="wei")
    settle(box.db)
    assert [r["complaints"] for r in close(box)] == [1], "only what changed since"
    later(box)
    assert verify(box)["ok"] and not box.db.rows("select * from complaintd.closing_broken(0, 100) b where b is not null")
    ident = box.db.value("select id from complaints where ref = %s", refs[0])
    last = box.db.value("select max(seq) from events where complaint_id = %s", ident)
    box.broken = True  # what the invariants say about it is the point
    for table in ("event", "closings", "closed_heads"):
        box.sql(f"create table saved_{table} as table complaintd.{table}")
    anew = ("update complaintd.event e set actor = 'nobody', hash = complaintd.event_hash(e.prev_hash, e.id, e.seq, e.at, 'nobody', e.kind, e.data)"
            f" where complaint_id = '{ident}' and seq = {last}")
    for sql in (f"delete from complaintd.event where complaint_id = '{ident}' and seq = {last}", anew):
        box.sql(sql)
        broken = ask(box, "VERIFY", ref=refs[0])["broken"]
        assert (broken["ref"], broken["seq"]) == (refs[0], last) and "was closed" in broken["fault"]
        assert verify(box)["broken"]["ref"] == refs[0] and ask(box, "VERIFY", ref=refs[1])["ok"]
        box.sql("delete from complaintd.event; insert into complaintd.event select * from saved_event")
    for sql in (anew + f"; update complaintd.closed_heads k set hash = e.hash from complaintd.event e where e.complaint_id = k.complaint_id and e.seq = k.seq",
                f"delete from complaintd.closed_heads where complaint_id = '{ident}'", "delete from complaintd.closings where n = 1",
                "update complaintd.closings set day = day - 1 where n = 2"):
        box.sql(sql)
        broken = verify(box)["broken"]
        assert "closing" in broken and "day" in broken, (sql, broken)
        done = box.ctl("verify", check=False)
        assert done.returncode == 1 and broken["day"] in done.stdout
        for table in ("event", "closings", "closed_heads"):
            box.sql(f"delete from complaintd.{table}; insert into complaintd.{table} select * from saved_{table}")
    assert verify(box)["ok"]


def test_a_large_day_is_closed_in_pieces_and_after_a_restored_dump(make_box):
    box = make_box()
    refs = new(box, 30)
    ask(box, "MERGE", ref=refs[0], into=refs[1])  # the last transaction has an event of each
    settle(box.db)
    rows = close(box, 1)
    assert len(rows) > 20 and [r["n"] for r in rows] == list(range(1, len(rows) + 1)) and not rows[-1]["more"]
    assert box.db.value("select count(distinct complaint_id) from complaintd.closed_heads") == 30
    heads = "select count(*) from complaintd.closed_heads k join (select complaint_id, max(seq) as seq from complaintd.event group by 1) e using (complaint_id, seq)"
    assert box.db.value(heads) == 30, "the last event of each is among them"
    assert verify(box)["closed"]["closing"] == len(rows), "several pages of them"
    box.sql("update complaintd.closings set hash = sha256('x') where n = 21")
    assert verify(box)["broken"]["closing"] == 21
    later(box)
    # a database whose transactions are counted anew closes all of it again
    box.sql("update complaintd.closings set until = '900000000'")
    assert sum(r["complaints"] for r in close(box)) == 30 and verify(box)["ok"]
