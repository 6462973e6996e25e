"""LIST over more complaints than it looks at first: every page of every question is what a look at everything finds, and who asks for what is
not done reads little else."""
import itertools
import os
import sys

import pytest

from box import ROOT

sys.path.insert(0, os.path.join(ROOT, "tests", "bench"))

import search_fill  # noqa: E402

COUNT = 7000  # the newest 5000 are looked at first
SEARCHED = (None, "refund", "账单", "ombudsman roaming", "chrysanthemum", "蒲公英茶壶", "壶", "xylophone")
FILTERS = ({}, {"status": "waiting"}, {"status": "open", "team": "technics"}, {"status": "closed", "category": "network"}, {"overdue": True},
           {"overdue": False, "priority": "low"}, {"team": "billing", "assignee": "person-7"}, {"category": "none"})
OPEN = "c.status in ('new', 'open', 'waiting')"


@pytest.fixture(name="many")
def many_complaints(make_box):
    box = make_box(overlay={"notify": {"paused": True}})
    box.kill_daemon()
    search_fill.fill(box.database_url(), COUNT, lambda text: None)
    box.start_daemon()
    return box


def stored(box, words, filters):
    """References, newest first."""
    where, values = ["true"], []
    for name, value in filters.items():
        if name == "overdue":
            where.append(("" if value else "not ") + f"({OPEN} and t.resolve_due < complaintd.now())")
        else:
            where.append(f"c.{name} = %s")
            values.append(value)
    if words:
        where.append("exists (select from search s where s.complaint_id = c.id and s.terms @@ complaintd.search_query(%s))")
        values.append(words)
    return [r["ref"] for r in box.db.rows("select c.ref from complaint c join timers t on t.complaint_id = c.id where "
                                          + " and ".join(where) + " order by c.id desc", *values)]


def pages(line, limit, args):
    found, after = [], {}
    while True:
        word, body, rows = line.request("LIST", limit=limit, **args, **after)
        assert word == "OK", (args, body)
        found += [row["ref"] for row in rows]
        if "next" not in body:
            return found
        after = {"after": body["next"]}


def test_every_page_of_every_question(many):
    with many.line("agent") as line:
        for words, filters in itertools.product(SEARCHED, FILTERS):
            args = {**filters, **({"search": words} if words else {})}
            want = stored(many, words, filters)
            assert pages(line, 500, args) == want, args
            assert [r["ref"] for r in line.request("LIST", limit=3, **args)[2]] == want[:3], args
        for ref in stored(many, None, {})[:: COUNT // 7]:
            assert pages(line, 50, {"search": ref}) == [ref]
            assert pages(line, 50, {"search": ref[2:11].replace("-", " ")}) == [ref], "a part of it"


def test_what_is_not_done_is_found_among_what_is_not_done(many):
    fetched = "select pg_stat_get_xact_tuples_fetched('complaintd.complaint'::regclass) as n"
    connection = many.db.connection
    connection.autocommit = False
    alive = many.db.value(f"select count(*) from complaint c where {OPEN}")
    assert 20 < alive < COUNT / 20
    try:
        with connection.cursor() as cursor:  # as the daemon has it
            cursor.execute("set enable_seqscan = off; set enable_hashjoin = off; set enable_mergejoin = off; set plan_cache_mode = force_generic_plan")
            for status, overdue in (("waiting", None), ("open", None), (None, True)):
                before = many.db.value(fetched)
                cursor.execute("select count(*) from complaintd.api_list(%s, null, null, null, null, null, null, %s, null, null, 500, null, null, null)",
                               (status, overdue))
                assert cursor.fetchone()[0] > 5
                assert many.db.value(fetched) - before <= alive, (status, overdue)
    finally:
        connection.rollback()
        connection.autocommit = True
