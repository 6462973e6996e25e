"""What must hold after every run, whatever happened in it: the checks of the database and of what was promised to peers."""
import os
import re
import time

import psycopg2
import psycopg2.extras

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
MARK = re.compile(r"mark-[0-9a-f]{16}")


class Database:
    """A reader's view; every query is a transaction of its own."""

    def __init__(self, url):
        self.connection = psycopg2.connect(url)
        self.connection.autocommit = True

    def rows(self, sql, *args):
        with self.connection.cursor(cursor_factory=psycopg2.extras.RealDictCursor) as cursor:
            cursor.execute("set search_path = complaintd, public")
            cursor.execute(sql, args or None)
            return [dict(row) for row in cursor.fetchall()]

    def row(self, sql, *args):
        found = self.rows(sql, *args)
        assert len(found) == 1, f"{len(found)} rows for: {sql} {args}"
        return found[0]

    def value(self, sql, *args):
        return next(iter(self.row(sql, *args).values()))

    def execute(self, sql, *args):
        with self.connection.cursor() as cursor:
            cursor.execute("set search_path = complaintd, public")
            cursor.execute(sql, args or None)

    def close(self):
        self.connection.close()


def wait_for(condition, seconds=30, what="", every=0.05):
    """The first true value of condition(), or AssertionError."""
    end = time.monotonic() + seconds
    while True:
        value = condition()
        if value:
            return value
        assert time.monotonic() < end, f"not within {seconds} s: {what or condition}"
        time.sleep(every)


def invariants(db):
    """Rows of schema/invariants.sql: each is a fault."""
    with open(os.path.join(ROOT, "schema", "invariants.sql"), encoding="utf-8") as f:
        return db.rows(f.read())


def settle(db, seconds=60):
    """Waits until nothing is pending triage and no notification is due or in flight."""
    wait_for(
        lambda: db.value("select count(*) from pending") == 0
        and db.value(
            "select count(*) from notifications where state = 'sending'"
            " or (state in ('pending', 'unknown') and next_attempt_at <= complaintd.now())"
        )
        == 0,
        seconds,
        "pending envelopes triaged and due notifications sent",
        0.2,
    )


def stored_marks(db):
    """mark -> how many incoming messages carry it."""
    count = {}
    for row in db.rows("select m.subject, m.body from messages m where m.direction = 'in'"):
        for mark in set(MARK.findall((row["subject"] or "") + " " + (row["body"] or ""))):
            count[mark] = count.get(mark, 0) + 1
    return count


def model_check(db, acked):
    """`acked`: the marks ("mark-" and 16 hex digits, each in one complaint's text) whose sender was told "accepted".
    Nothing acknowledged is missing, nothing is there twice, and the invariants hold. Returns how many were compared.
    """
    wait_for(lambda: db.value("select count(*) from pending") == 0, 60, "pending envelopes triaged")
    count = stored_marks(db)
    missing = [m for m in acked if m not in count]
    twice = {m: n for m, n in count.items() if n > 1}
    assert not missing, f"{len(missing)} of {len(acked)} acknowledged are missing: {missing[:5]}"
    assert not twice, f"{len(twice)} are there more than once: {dict(list(twice.items())[:5])}"
    faults = invariants(db)
    assert not faults, f"{len(faults)} faults, such as {faults[:5]}"
    return len(acked)
