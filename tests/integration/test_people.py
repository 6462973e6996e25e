"""People: members get what waits by turns or by load, never over their capacity, never what is about them; absent ones get nothing and
leave what they have to others; customers are one a handle, and who needs care is seen by those who may, each time on record."""
import concurrent.futures
import contextlib
import datetime
import json
import secrets
import signal

import pytest
import yaml

from clients import Line, LineError, send_mail
import letters
from model import wait_for
import processes
from test_instances import second

RULES = """
rules:
  - {id: invoice, when: {any: [invoice]}, then: {category: billing}}
  - {id: slow, when: {any: [slow connection]}, then: {category: technical}}
  - {id: french, when: {any: [bonjour]}, then: {skills: [fr]}}
  - {id: north, when: {any: [northtown]}, then: {region: north}}
  - {id: about-ann, when: {any: [complain about ann]}, then: {about: [ann]}}
  - {id: about-billing, when: {any: [billing department]}, then: {about: [billing]}}
  - {id: about-boss, when: {any: [complain about your supervisor]}, then: {about: [supervisor, cem]}}
  - {id: care, when: {customer_flag: [vulnerable]}, then: {priority: high, tags: [first-of-all]}}
tests:
  - {text: "the invoice is wrong, and northtown is cold", expect: {category: billing, team: billing, region: north}}
  - {text: "an invoice of your billing department", expect: {category: billing, team: general, about: [billing]}}
"""


def member(name, **more):
    return {"name": name, **more}


BILLING = {
    "name": "billing",
    "assign": "round-robin",
    "members": [
        member("ann", mail="ann@staff.example", sms="+8613800138201", capacity=4, regions=["south"]),
        member("bob", mail="bob@staff.example", capacity=4),
        member("cem", capacity=4, skills=["fr", "tr"]),
    ],
}


@pytest.fixture
def people(make_box, tmp_path):
    """people(teams): a sandbox with these teams' members; clients ann and bob are agents, carer is one that sees who needs care."""

    def make(*teams):
        (tmp_path / "rules.yaml").write_text(RULES, encoding="utf-8")
        clients = [
            {"name": name, "role": "agent", "desk": "care", "token": f"token-of-{name}", **more}
            for name, more in (("ann", {}), ("bob", {}), ("carer", {"may_see_vulnerable": True}))
        ]
        return make_box(overlay={"teams": list(teams), "rules": [str(tmp_path / "rules.yaml")], "clients": clients})

    return make


def client(box, name):
    return Line(box.line_port, f"token-of-{name}")


def submit(box, text, customer=None):
    with box.line() as line:
        return line.ok("SUBMIT", key=secrets.token_hex(8), channel="phone", text=text, customer=customer or {"name": "A"})["ref"]


def who_has(box, ref):
    return box.db.value("select assignee from complaint where ref = %s", ref)


def given(box, ref, seconds=15):
    return wait_for(lambda: who_has(box, ref), seconds, f"{ref} is given to somebody")


def counts(box, team="billing"):
    rows = box.db.rows("select assignee, count(*) as n from complaint where team = %s and assignee is not null group by 1", team)
    return {r["assignee"]: r["n"] for r in rows}


def free(box):
    """Nobody gets anything for as long as assignment would need."""
    before = box.db.value("select count(*) from complaint where assignee is not null")
    with pytest.raises(AssertionError):
        wait_for(lambda: box.db.value("select count(*) from complaint where assignee is not null") != before, 2.5)


def resolve(box, ref):
    with box.line("agent") as line:
        line.ok("RESOLVE", ref=ref, outcome="upheld")


def test_by_turns_oldest_first_up_to_capacity(people):
    box = people(BILLING)
    refs = [submit(box, f"The invoice {i} is wrong") for i in range(14)]
    wait_for(lambda: sum(counts(box).values()) == 12, 15)
    assert counts(box) == {"ann": 4, "bob": 4, "cem": 4}
    assert [r for r in refs if who_has(box, r) is None] == refs[12:], "the oldest come first"
    turns = [r["who"] for r in box.db.rows(
        "select data ->> 'assignee' as who from events where kind = 'assigned' order by at, id")]
    assert all(len(set(turns[i:i + 3])) == 3 for i in range(0, 12, 3)), f"by turns: {turns}"
    free(box)
    wait_for(lambda: box.metrics()["complaintd_unassigned"] == 2, 15)
    with box.line("agent") as line:
        assert line.ok("STATS")["open"]["unassigned"] == 2
    done = next(r for r in refs if who_has(box, r) == "bob")
    resolve(box, done)
    assert given(box, refs[12]) == "bob", "the oldest goes to who has room again"
    event = box.db.row("select actor, data from events where kind = 'assigned' and complaint_id = (select id from complaint where ref = %s)", refs[12])
    assert event["actor"] == "assignment" and event["data"]["by"] == "round-robin" and event["data"]["why"] == "unassigned"
    assert (event["data"]["has"], event["data"]["capacity"], event["data"]["from"], event["data"]["to"]) == (4, 4, "new", "new")
    ann = next(r for r in refs if who_has(box, r) == "ann")
    wait_for(lambda: box.mails("ann@staff.example") and box.sent_sms("+8613800138201"), 20, "she is told")
    assert any(ann in str(m["Subject"]) for m in box.mails("ann@staff.example"))
    assert box.metrics()['complaintd_assigned_total{why="unassigned"}'] == 13


def test_by_load(people):
    box = people(BILLING, {"name": "technical", "assign": "load", "members": [member("eve", capacity=2), member("fay", capacity=8)]})
    for i in range(5):
        submit(box, f"A slow connection {i}")
    wait_for(lambda: sum(counts(box, "technical").values()) == 5, 15)
    assert counts(box, "technical") == {"eve": 1, "fay": 4}, "in proportion to what they can have"


def test_region_and_skills(people):
    box = people(BILLING)
    french = [submit(box, f"Bonjour, the invoice {i}") for i in range(3)]
    assert {given(box, r) for r in french} == {"cem"}
    north = [submit(box, f"The invoice {i} in Northtown") for i in range(2)]
    assert "ann" not in {given(box, r) for r in north}
    row = box.db.row("select region, skills from complaint where ref = %s", french[0])
    assert row["region"] is None and row["skills"] == ["fr"]
    with box.line("agent") as line:
        decision = line.ok("EXPLAIN", ref=north[0])["decision"]
    assert decision["region_from"] == "rule:north" and box.db.value("select region from complaints where ref = %s", north[0]) == "north"
    submit(box, "Bonjour, one more invoice")
    waits = submit(box, "Bonjour, and another invoice")
    later = submit(box, "The invoice of somebody else")
    assert given(box, later) in ("ann", "bob"), "what nobody can have holds up nobody else"
    assert who_has(box, waits) is None or counts(box)["cem"] <= 4


def test_never_to_whom_it_is_about(people):
    box = people(BILLING)
    ann = [submit(box, f"I complain about Ann, invoice {i}") for i in range(6)]
    assert {given(box, r) for r in ann} <= {"bob", "cem"}
    team = submit(box, "The invoice of your billing department is a fraud")
    assert box.db.row("select team, about from complaint where ref = %s", team) == {"team": "general", "about": ["billing"]}
    with box.line("agent") as line:
        for args in ({"assignee": "ann"}, {"assignee": "ann", "team": "technical"}):
            word, body, _ = line.request("ASSIGN", ref=ann[0], **args)
            assert (word, body["code"]) == ("ERR", "conflict") and "ann" in body["message"]
        word, body, _ = line.request("ASSIGN", ref=team, team="billing")
        assert (word, body["code"]) == ("ERR", "conflict")
        word, body, _ = line.request("ASSIGN", ref=team, assignee="bob")
        assert (word, body["code"]) == ("ERR", "conflict"), "he is one of the team"
        assert line.ok("EXPLAIN", ref=team)["decision"]["about"] == ["billing"]
        plain = submit(box, "The invoice is too high")
        given(box, plain)
        word, body, _ = line.request("MERGE", ref=team, into=plain)
        assert (word, body["code"]) == ("ERR", "conflict"), "what is merged into it would be theirs"
        word, body, _ = line.request("ASSIGN", ref=(theirs := submit(box, "My slow connection")), assignee="bob")
        assert word == "OK"
        word, body, _ = line.request("MERGE", ref=team, into=theirs)
        assert (word, body["code"]) == ("ERR", "conflict") and "bob" in body["message"], "he is one of the team, wherever he works"
        with client(box, "ann") as herself:
            word, body, _ = herself.request("ACK", ref=ann[0])
            assert (word, body["code"]) == ("ERR", "conflict") and "about ann" in body["message"], "to ACK is to take it"
        assert line.ok("ACK", ref=ann[0])["changed"]
        other = submit(box, "Nothing in particular")
        line.ok("MERGE", ref=team, into=other)
        word, body, _ = line.request("ASSIGN", ref=other, team="billing")
        assert (word, body["code"]) == ("ERR", "conflict"), "what it was about came along"


def test_absence(people):
    box = people(BILLING)
    with client(box, "ann") as ann, client(box, "bob") as bob, box.line("admin") as admin:
        refs = [submit(box, f"The invoice {i} is wrong") for i in range(6)]
        wait_for(lambda: counts(box) == {"ann": 2, "bob": 2, "cem": 2}, 15)
        word, body, _ = bob.request("ABSENT", who="ann")
        assert (word, body["code"]) == ("ERR", "forbidden")
        answer = ann.ok("ABSENT")
        assert answer["who"] == "ann" and answer["absences"][0]["open"] == 2 and answer["absences"][0]["now"] is True
        refs += [submit(box, f"The invoice {i} again") for i in range(4)]
        wait_for(lambda: counts(box) == {"ann": 2, "bob": 4, "cem": 4}, 15)
        word, body, _ = admin.request("ASSIGN", ref=refs[-1], assignee="ann")
        assert (word, body["code"]) == ("ERR", "conflict") and "absent" in body["message"]
        assert ann.ok("PRESENT")["ended"] == 1
        assert ann.request("PRESENT")[1]["code"] == "conflict"
        last = submit(box, "One more invoice")
        assert given(box, last) == "ann", "who is back gets what waits"

        # with reassignment: as soon as there is room, and not before
        admin.ok("ABSENT", who="ann", reassign=True)
        free(box)
        assert counts(box)["ann"] == 3, "nobody has room: it stays where it is"
        for ref in [r for r in refs if who_has(box, r) == "cem"]:
            resolve(box, ref)
        wait_for(lambda: "ann" not in {who_has(box, r) for r in refs} and who_has(box, last) == "cem", 15)
        event = box.db.row("select data from events where kind = 'assigned' and data ->> 'was' = 'ann' limit 1")["data"]
        assert event["why"] == "absent" and event["assignee"] == "cem"
        wait_for(lambda: box.metrics()['complaintd_assigned_total{why="absent"}'] == 3, 10)
        assert admin.ok("PRESENT", who="ann")["absences"] == []


def test_absence_that_is_announced(people):
    box = people(BILLING)
    with client(box, "ann") as ann, box.line("admin") as admin:
        now = datetime.datetime.fromisoformat(box.db.value("select complaintd.now()").isoformat())
        at = lambda days: (now + datetime.timedelta(days=days)).strftime("%Y-%m-%dT%H:%M:%SZ")  # noqa: E731
        ann.ok("ABSENT", **{"from": at(2), "until": at(9)})
        for args, field in (
            ({"from": "tomorrow"}, "from"),
            ({"who": "nobody"}, "who"),
            ({"until": at(-1)}, None),
            ({"from": at(3), "until": at(2)}, None),
            ({"reassign": "yes"}, "reassign"),
        ):
            word, body, _ = ann.request("ABSENT", **args)
            assert (word, body["code"]) == ("ERR", "bad-argument") and (field is None or body["field"] == field)
        assert admin.request("ABSENT")[1]["field"] == "who", "the admin is no member"
        rows = admin.ok("ABSENCES")
        assert len(rows) == 1 and rows[0]["now"] is False
        first = [submit(box, f"The invoice {i}") for i in range(3)]
        assert "ann" in {given(box, r) for r in first}
        box.advance("3d")
        second_three = [submit(box, f"The invoice {i} once more") for i in range(3)]
        assert "ann" not in {given(box, r) for r in second_three}
        assert "ann" in box.ctl("absences").stdout
        box.advance("7d")
        third = [submit(box, f"Invoice {i} for the third time") for i in range(3)]
        assert "ann" in {given(box, r) for r in third}, "it ended by itself"
        assert box.ctl("absences").stdout == "no absences\n"


def test_the_ladder_goes_on_until_somebody_acts(people):
    box = people(BILLING)
    one, two = submit(box, "The invoice is wrong"), submit(box, "The invoice is wrong again")
    given(box, one), given(box, two)
    for ref in (one, two):
        assert box.db.value("select status from complaint where ref = %s", ref) == "new"
    with client(box, who_has(box, two)) if who_has(box, two) != "cem" else box.line("agent") as line:
        line.ok("ASSIGN", ref=two, assignee=who_has(box, two))
    box.advance("25h")
    level = "select escalation_level from complaint where ref = %s"
    assert box.db.value(level, one) > box.db.value(level, two), "given is not taken"


def test_no_step_tells_whom_it_is_about(people):
    box = people(BILLING)
    plain, boss = submit(box, "The invoice is wrong"), submit(box, "I complain about your supervisor and her invoice")
    team = submit(box, "The invoice of your billing department is a fraud")
    box.advance("25h")
    told = lambda ref: {r["recipient"] for r in box.db.rows(  # noqa: E731
        "select distinct recipient from notifications n join complaint c on c.id = n.complaint_id where c.ref = %s and purpose = 'escalation'", ref)}
    assert "supervisor@staff.example" in told(plain) and "billing@staff.example" in told(plain)
    assert "billing@staff.example" in told(boss) and not any("supervisor" in r or r == "+8613800138098" for r in told(boss))
    assert "general@staff.example" in told(team) and "billing@staff.example" not in told(team)
    assert given(box, boss) != "cem"


def test_two_instances(people):
    box = people(BILLING, {"name": "technical", "assign": "round-robin", "members": [member(f"m{i}", capacity=12) for i in range(5)]})
    box.killed = True  # the other one has counters of its own
    with second(box):
        with concurrent.futures.ThreadPoolExecutor(8) as pool:
            refs = list(pool.map(lambda i: submit(box, f"A slow connection {i}"), range(70)))
        wait_for(lambda: sum(counts(box, "technical").values()) == 60, 30)
        free(box)
        assert counts(box, "technical") == {f"m{i}": 12 for i in range(5)}
        assert box.db.value("select count(*) from events where kind = 'assigned'") == 60
        wait_for(lambda: not box.db.value(
            "select count(*) from pg_locks where locktype = 'advisory' and not granted"), 5)
        for ref in [r for r in refs if who_has(box, r)][:10]:
            resolve(box, ref)
        wait_for(lambda: all(who_has(box, r) for r in refs), 30)
        assert box.db.value("select count(*) from events where kind = 'assigned'") == 70, "each once"


def test_who_needs_care(people):
    box = people(BILLING)
    ref = submit(box, "The invoice is wrong", {"phone": "+8613900007777", "name": "Li"})
    with client(box, "carer") as carer, client(box, "ann") as ann, box.line("admin") as admin, box.line() as intake:
        def flag(line, **more):
            return line.request("FLAG", ref=ref, **{"flag": "vulnerable", "driver": "health", "review": "2099-01-31", "note": "calls only", **more})

        word, body, _ = flag(ann)
        assert (word, body["code"]) == ("ERR", "forbidden")
        assert intake.request("CUSTOMER", ref=ref)[1]["code"] == "forbidden"
        for more, field in (({"driver": "age"}, "driver"), ({"review": "2099-02-30"}, "review"), ({"review": "2000-01-01"}, None), ({"flag": "V I P"}, "flag")):
            word, body, _ = flag(carer, **more)
            assert (word, body["code"]) == ("ERR", "bad-argument") and (field is None or body["field"] == field), body
        assert flag(carer)[0] == "OK"
        assert ann.ok("FLAG", ref=ref, flag="vip") == {**ann.ok("FLAG", ref=ref, flag="vip"), "changed": True}

        seen = ann.ok("CUSTOMER", handle="+86 139 0000 7777")
        assert seen["flags"] == ["vip"] and seen["handles"] == ["tel:+8613900007777"] and "vulnerable" not in json.dumps(seen)
        assert [c["ref"] for c in seen["complaints"]] == [ref] and seen["total"] == 1
        assert box.db.value("select count(*) from flag_reads") == 0, "she read nothing of it"
        read = carer.ok("CUSTOMER", ref=ref)
        assert read["vulnerable"]["driver"] == "health" and read["vulnerable"]["note"] == "calls only"
        assert read["vulnerable"]["review_due"] is False and [r["who"] for r in read["vulnerable"]["reads"]] == ["carer"]
        admin.ok("CUSTOMER", handle="tel:+8613900007777")
        out = box.ctl("customer", ref).stdout
        assert "health" in out and "calls only" in out and ref in out
        assert [r["who"] for r in box.db.rows("select who from flag_reads order by id")][:2] == ["carer", "sandbox-admin"]
        assert box.db.value("select count(*) from flag_reads") == 3
        assert "vulnerable" not in json.dumps(box.db.rows("select flags from customers")), "nor by the relation that others may read"

        # rules know
        again = submit(box, "The invoice is still wrong", {"phone": "+8613900007777"})
        row = box.db.row("select priority, tags from complaint where ref = %s", again)
        assert row == {"priority": "high", "tags": ["first-of-all"]}
        assert box.db.value("select priority from complaint where ref = %s", ref) == "normal"

        assert admin.ok("STATS")["people"]["reviews_due"] == 0
        box.db.execute("update vulnerable_customers set review_on = '2000-01-01'")
        assert carer.ok("CUSTOMER", ref=again)["vulnerable"]["review_due"] is True
        assert [line.ok("STATS")["people"].get("reviews_due") for line in (admin, carer, ann)] == [1, 1, None]
        wait_for(lambda: box.metrics()["complaintd_flag_reviews_due"] == 1, 15)
        reads = box.db.value("select count(*) from flag_reads")
        for args in ({"flag": "vulnerable"}, {"review_due": True}):
            assert ann.request("CUSTOMERS", **args)[1]["code"] == "forbidden"
            rows = carer.ok("CUSTOMERS", **args)
            assert [(r["handles"], r["vulnerable"]["driver"]) for r in rows] == [(["tel:+8613900007777"], "health")]
        assert carer.request("CUSTOMERS", flag="vip", review_due=True)[1]["code"] == "bad-argument"
        assert box.db.value("select count(*) from flag_reads") == reads + 2
        assert [r["flags"] for r in ann.ok("CUSTOMERS", flag="vip")] == [["vip"]] and ann.ok("CUSTOMERS", flag="none") == {"rows": 0}
        assert "vulnerable" not in json.dumps(ann.ok("CUSTOMERS"))
        assert "+8613900007777" in box.ctl("customers", "--review-due").stdout
        assert ann.request("FLAG", ref=ref, flag="vulnerable", clear=True)[1]["code"] == "forbidden"
        carer.ok("FLAG", ref=ref, flag="vulnerable", clear=True)
        assert "vulnerable" not in carer.ok("CUSTOMER", ref=ref)
        log = carer.ok("CUSTOMER", ref=ref)["log"]
        assert [(e["actor"], e["action"], e["flag"]) for e in log] == [("carer", "set", "vulnerable"), ("ann", "set", "vip"), ("carer", "clear", "vulnerable")]
        assert [e["flag"] for e in ann.ok("CUSTOMER", ref=ref)["log"]] == ["vip"]


def test_a_reload_gives_more_room(people):
    box = people(BILLING)
    refs = [submit(box, f"The invoice {i} is wrong") for i in range(14)]
    wait_for(lambda: sum(counts(box).values()) == 12, 15)
    with open(box.path("complaintd.yaml"), encoding="utf-8") as f:
        config = yaml.safe_load(f)
    team = next(t for t in config["teams"] if t["name"] == "billing")
    team["members"] = [m for m in team["members"] if m["name"] != "ann"] + [member("dee")]
    config["rules"] = []
    with open(box.path("complaintd.yaml"), "w", encoding="utf-8") as f:
        yaml.safe_dump(config, f, allow_unicode=True)
    processes.send_signal(box.state["daemon"], signal.SIGHUP)
    assert {given(box, r) for r in refs[12:]} == {"dee"}
    assert counts(box)["ann"] == 4, "who left the team keeps what they had"


def test_the_reader_role_sees_no_care(people):
    box = people(BILLING)
    for relation in ("vulnerable_customers", "flag_reads", "customer_log"):
        assert box.db.value("select has_table_privilege('complaintd_reader', %s, 'select')", f"complaintd.{relation}") is False


def test_one_customer_a_handle(people):
    """First contacts of the same people at two instances, written in every way."""
    box = people(BILLING)
    box.killed = True
    with second(box) as other, contextlib.ExitStack() as stack:
        pool = stack.enter_context(concurrent.futures.ThreadPoolExecutor(16))
        forms = ("Wei.Li{}@Shop.example", "wei.li{}@shop.EXAMPLE", "WEI.LI{}@shop.example")
        mails = [(port, form.format(i), i) for i in range(20) for form in forms for port in (box.smtp_port, other.mail)]
        codes = list(pool.map(lambda m: send_mail(
            m[0], letters.mail("The invoice", f"is wrong {letters.mark()}", sender=f"Wei <{m[1]}>"), m[1])[0], mails))
        assert set(codes) == {250}
        numbers = ("+86 139 0000 {:04d}", "0086-139-0000-{:04d}", "0139 0000 {:04d}")
        list(pool.map(lambda n: submit(box, "An invoice", {"phone": n}), [f.format(i) for i in range(20) for f in numbers]))
    wait_for(lambda: not box.db.value("select count(*) from pending"), 30)
    assert box.db.value("select count(*) from customers") == 40 and box.db.value("select count(*) from customer_handles") == 40
    with box.line("agent") as line:
        one = line.ok("CUSTOMER", handle="WEI.LI7@shop.example")
        assert one["total"] == 6 and len(line.ok("CUSTOMER", handle="mail:wei.li7@shop.example", limit=4)["complaints"]) == 4
        times = [c["received_at"] for c in one["complaints"]]
        assert times == sorted(times, reverse=True)
        assert line.ok("CUSTOMER", handle="+8613900000003")["total"] == 3
        submit(box, "An invoice", {"external_id": "4711"}), submit(box, "An invoice", {"external_id": "4711"})
        assert line.ok("CUSTOMER", handle="ext:sandbox:4711")["handles"] == ["ext:sandbox:4711"]
        assert line.ok("CUSTOMER", handle="ext:sandbox:4711")["total"] == 2
        pages, after = [], {}
        while True:
            word, body, rows = line.request("CUSTOMERS", limit=15, **after)
            pages += [r["handles"][0] for r in rows]
            if "next" not in body:
                break
            after = {"after": body["next"]}
        assert len(pages) == len(set(pages)) == 41
        assert line.request("CUSTOMER", handle="nobody@shop.example")[1]["code"] == "not-found"
        assert line.request("CUSTOMER", handle="nobody")[1] ["field"] == "handle"
        assert line.request("CUSTOMER")[1]["field"] == "ref"
        with pytest.raises(LineError, match="not both"):
            line.ok("CUSTOMER", ref=one["complaints"][0]["ref"], handle="+8613900000003")
