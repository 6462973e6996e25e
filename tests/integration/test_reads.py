"""Who looks through many complaints keeps nobody waiting who works on one; a session sees what it did; limits of both."""
import contextlib
import subprocess
import time

import psycopg2

import letters
from model import wait_for

QUICK = 2.0  # seconds, on a machine that is busy; what is held lasts until it is let go


@contextlib.contextmanager
def held(box, sql, *args):
    """The locks that the statement takes, until the end of the block."""
    connection = psycopg2.connect(box.database_url())
    try:
        with connection.cursor() as cursor:
            cursor.execute(sql, args or None)
        yield
    finally:
        connection.rollback()
        connection.close()


def words_held(box):
    """Nothing but searching reads this table."""
    return held(box, "lock table complaintd.search in access exclusive mode")


def complaint_held(box, ref):
    return held(box, "select from complaintd.complaint where ref = %s for update", ref)


def put(box):
    mark = letters.mark()
    with box.line() as line:
        return line.ok("SUBMIT", key=mark, text=f"The parcel is late {mark}")["ref"]


def waiting_lists(box):
    """Backends in which LIST waits for the lock."""
    return box.db.rows("select pid from pg_stat_activity where query like '%%api_list(%%' and wait_event_type = 'Lock' and pid <> pg_backend_pid()")


def timed(line, verb, **args):
    began = time.monotonic()
    answer = line.request(verb, **args)
    return answer, time.monotonic() - began


def status_of(box, ref):
    return box.db.value("select status from complaints where ref = %s", ref)


def busy(answer):
    word, body, _ = answer
    return word == "ERR" and body["code"] == "busy" and body["retry"] is True


def test_who_searches_keeps_nobody_waiting(make_box):
    box = make_box()
    ref = put(box)
    with box.line("agent") as one, box.line("agent") as two, box.line("agent") as other, box.line("admin") as admin:
        with words_held(box):
            one.send("LIST", {"search": "parcel"})
            two.send("LIST", {"search": "late"})
            wait_for(lambda: len(waiting_lists(box)) == 2, 10, "both run at the same time")
            for line, verb, args in (
                (other, "SHOW", {"ref": ref}),
                (other, "ACK", {"ref": ref}),
                (other, "NOTE", {"ref": ref, "text": "looked at"}),
                (other, "EXPLAIN", {"ref": ref}),
                (other, "ATTACHMENT", {"ref": ref}),
                (other, "CUSTOMERS", {}),
                (admin, "QUEUE", {"drop": "0198f3a2-1111-7222-8333-444455556666", "reason": "not there"}),
                (admin, "CLOCK", {}),
            ):
                (word, body, _), seconds = timed(line, verb, **args)
                assert (word == "OK" or body["code"] == "not-found") and seconds < QUICK, (verb, body, seconds)
            with box.line() as intake:
                _, seconds = timed(intake, "SUBMIT", key=letters.mark(), text="meanwhile")
                assert seconds < QUICK
            assert len(waiting_lists(box)) == 2, "they have waited all the while"
        assert [line.answer()[0] for line in (one, two)] == ["OK", "OK"]
        assert status_of(box, ref) == "open"


def test_a_session_looks_through_many_once_at_a_time(make_box):
    box = make_box(overlay={"database": {"read_connections": 2, "read_queue": 1}})
    with box.line("agent") as greedy, box.line("agent") as other:
        with words_held(box):
            for _ in range(20):
                greedy.send("LIST", {"search": "parcel"})
            other.send("LIST", {"search": "parcel"})
            wait_for(lambda: box.metric("complaintd_requests") == 9, 10, "eight of its, the others are not read yet")
            wait_for(lambda: len(waiting_lists(box)) == 2, 10, "the other has its place")
            assert box.metric("complaintd_reads_waiting") == 0
        assert [greedy.answer()[0] for _ in range(20)] == ["OK"] * 20 and other.answer()[0] == "OK"
        assert box.metric("complaintd_requests_busy_total") == 0


def test_what_reads_changes_nothing(make_box):
    """Not by a fault of the schema either: the database refuses it."""
    box = make_box()
    ref = put(box)
    box.db.execute("create or replace function complaintd.api_explain(p_ref text) returns setof jsonb language plpgsql as"
                   " $$ begin delete from complaintd.complaint where ref = p_ref; return next '{}'::jsonb; end $$")
    with box.line("agent") as line:
        assert line.request("EXPLAIN", ref=ref)[0] == "ERR"
        assert line.ok("SHOW", ref=ref)["ref"] == ref


def test_a_session_sees_what_it_did(make_box):
    box = make_box()
    ref = put(box)
    with box.line("agent") as line, box.line("agent") as other:
        for n in range(100):
            line.send("NOTE", {"ref": ref, "text": f"note {n}"})
            line.send("SHOW", {"ref": ref})
            line.send("LIST", {"limit": 1})
        for n in range(100):
            assert line.answer()[0] == "OK"
            notes = line.answer()[1]["notes"]
            assert len(notes) == n + 1 and notes[-1]["body"] == f"note {n}", "its own, and none that it wrote later"
            assert line.answer()[0] == "OK"
        # its reads wait for its changes; others' do not
        with complaint_held(box, ref):
            line.send("ACK", {"ref": ref})
            line.send("SHOW", {"ref": ref})
            time.sleep(0.3)
            (_, body, _), seconds = timed(other, "SHOW", ref=ref)
            assert body["status"] == "new" and seconds < QUICK
        assert line.answer()[0] == "OK" and line.answer()[1]["status"] == "open"
        # and its changes for its reads
        wait_for(lambda: other.request("LIST", search="parcel")[2], 20, "words written")
        with words_held(box):
            line.send("LIST", {"search": "parcel"})
            line.send("WAIT", {"ref": ref, "for": "3d"})
            line.send("LIST", {"status": "waiting"})
            wait_for(lambda: waiting_lists(box), 10)
            time.sleep(0.3)
            assert status_of(box, ref) == "open"
        assert line.answer()[2][0]["status"] == "open"
        assert line.answer()[0] == "OK"
        assert [row["ref"] for row in line.answer()[2]] == [ref]


def test_as_many_wait_as_may(make_box):
    box = make_box(overlay={"database": {"read_connections": 1, "read_queue": 2}})
    ref = put(box)
    with contextlib.ExitStack() as stack:
        lines = [stack.enter_context(box.line("agent")) for _ in range(5)]
        with words_held(box):
            for n, line in enumerate(lines[:3]):
                line.send("LIST", {"search": "parcel"})
                wait_for(lambda: waiting_lists(box) and box.metric("complaintd_reads_waiting") == n, 10, f"{n} wait behind the one")  # pylint: disable=cell-var-from-loop
            answer, seconds = timed(lines[3], "LIST", search="parcel")
            assert busy(answer) and seconds < QUICK and "wait to read" in answer[1]["message"]
            answer, seconds = timed(lines[4], "SHOW", ref=ref)
            assert answer[0] == "OK" and seconds < QUICK, "the other queue has room"
            assert box.metrics()['complaintd_requests_busy_total{limit="reads"}'] == 1
        assert [line.answer()[0] for line in lines[:3]] == ["OK"] * 3
        assert box.metric("complaintd_reads_waiting") == 0
        assert lines[3].request("LIST", search="parcel")[0] == "OK", "and once more"


def test_as_many_are_open_as_may(make_box):
    box = make_box()
    ref = put(box)
    with contextlib.ExitStack() as stack:
        lines = [stack.enter_context(box.line("agent")) for _ in range(11)]
        with complaint_held(box, ref):
            for line in lines:
                line.send_raw(b"".join(b'NOTE {"ref":"%s","text":"%d"}\n' % (ref.encode(), n) for n in range(100)))
            wait_for(lambda: box.metrics()['complaintd_requests_busy_total{limit="open"}'] == 100, 4, "those over the limit are told")
        answers = [line.answer() for line in lines for _ in range(100)]
    told = [a for a in answers if busy(a) and "are open" in a[1]["message"]]
    assert len(told) == 100 and all(a[0] == "OK" for a in answers if a not in told)
    assert box.db.value("select count(*) from notes") == 1000
    assert box.metric("complaintd_requests") == 0


def test_what_reads_for_too_long_is_ended(make_box):
    box = make_box(overlay={"database": {"read_timeout": "500ms"}})
    put(box)
    with box.line("agent") as line:
        with words_held(box):
            (word, body, _), seconds = timed(line, "LIST", search="parcel")
            assert (word, body["code"], body["retry"]) == ("ERR", "too-much", False) and "narrow it with rarer words" in body["message"]
            assert 0.4 < seconds < QUICK + 0.5
            said = subprocess.run([box.build() + "/complaintctl", "--config", box.path("complaintd.yaml"), "list", "--search", "parcel"],
                                  capture_output=True, text=True, timeout=60, check=False)
            assert said.returncode == 1 and "too-much" in said.stderr and "narrow it" in said.stderr and not said.stdout
        assert line.request("LIST", search="parcel")[0] == "OK"
        assert box.metric("complaintd_reads_timeouts_total") == 2
        assert sum("requests.too-long" in x and "verb=LIST" in x for x in box.log().splitlines()) == 2
        # what cannot be narrowed may be tried again
        box.db.execute("create or replace function complaintd.api_people_stats(p_may boolean) returns jsonb language sql as"
                       " $$ select '{}'::jsonb from pg_sleep(2) $$")
        assert busy(line.request("STATS"))


def test_a_connection_that_is_lost_while_it_reads(make_box):
    box = make_box(overlay={"database": {"read_connections": 1}})
    ref = put(box)
    with box.line("agent") as line, box.line("agent") as next_one, box.line("agent") as other:
        with words_held(box):
            line.send("LIST", {"search": "parcel"})
            wait_for(lambda: waiting_lists(box), 10)
            next_one.send("LIST", {"search": "late"})
            wait_for(lambda: box.metric("complaintd_reads_waiting") == 1, 10)
            box.db.execute("select pg_terminate_backend(%s)", waiting_lists(box)[0]["pid"])
            assert busy(line.answer())
            assert timed(other, "SHOW", ref=ref)[1] < QUICK and timed(other, "ACK", ref=ref)[1] < QUICK
            wait_for(lambda: waiting_lists(box), 10, "the next one has its turn, on a connection that is there")
        assert next_one.answer()[0] == "OK" and line.request("LIST", search="parcel")[0] == "OK"
        assert box.daemon_alive()


def end_backend(box, cursor, database, call):
    """The one whose last statement had this call; until the daemon knows."""
    before = box.metric("complaintd_store_connections_lost_total")
    cursor.execute("select pg_terminate_backend(pid, 5000) from pg_stat_activity where datname = %s and strpos(query, %s) > 0", (database, call))
    assert len(cursor.fetchall()) == 1, call
    wait_for(lambda: box.metric("complaintd_store_connections_lost_total") > before, 10, "the daemon knows")


def test_connections_stand_in_for_each_other(make_box):
    """For what looks through many and for what reads one there is a connection each here; one goes, and nobody can connect."""
    box = make_box(overlay={"database": {"read_connections": 1, "reconnect_max": "100ms"}})
    ref = put(box)
    name = box.db.value("select current_database()")
    with box.line("agent") as line, contextlib.closing(psycopg2.connect(box.database_url(), dbname="postgres")) as elsewhere:
        elsewhere.autocommit = True
        connections = box.db.value("select count(*) from pg_stat_activity where application_name = 'complaintd'")
        for verb, args, call in (("SHOW", {"ref": ref}, "api_show("), ("LIST", {}, "api_list(")):
            assert line.request(verb, **args)[0] == "OK"
            with elsewhere.cursor() as cursor:
                cursor.execute(f'alter database "{name}" allow_connections false')
                try:
                    end_backend(box, cursor, name, call)
                    for again, more in (("LIST", {}), ("SHOW", {"ref": ref})):
                        answer, seconds = timed(line, again, **more)
                        assert answer[0] == "OK" and seconds < QUICK, (verb, again, answer)
                    if verb == "LIST":  # the other one, too
                        end_backend(box, cursor, name, "api_show(")
                        assert busy(line.request("SHOW", ref=ref)) and busy(line.request("LIST"))
                        answer, seconds = timed(line, "ACK", ref=ref)
                        assert answer[0] == "OK" and seconds < QUICK, "changes have their own"
                finally:
                    cursor.execute(f'alter database "{name}" allow_connections true')
            wait_for(lambda: box.db.value("select count(*) from pg_stat_activity where application_name = 'complaintd'") >= connections, 20, "all are back")
