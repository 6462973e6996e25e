"""What happens after a complaint was answered: the customer comes back, staff write, several steps fall due at once."""
import secrets

import letters
from model import settle, wait_for
from test_threads import message_of, send


def complaint(box, mark):
    return box.complaint_of(mark)


def resolve(box, ref):
    with box.line("admin") as line:
        word, body, _ = line.request("RESOLVE", ref=ref, outcome="rejected", cause="none", remedy="none")
        assert word == "OK", body


def test_a_reopened_complaint_climbs_its_ladder_anew(make_box):
    box = make_box()
    sender, first, second = "again@shop.example", f"{secrets.token_hex(6)}@shop.example", f"{secrets.token_hex(6)}@shop.example"
    one, two = letters.mark(), letters.mark()
    send(box, one, sender, first)
    c = complaint(box, one)
    resolve(box, c["ref"])
    box.advance("2d")
    assert not box.db.rows("select 1 from steps where complaint_id = %s and stopped_at is null and fired_at is null", c["id"])
    send(box, two, sender, second, [("In-Reply-To", f"<{first}>")], "Re: A matter")
    assert message_of(box, two)["complaint_id"] == c["id"]
    again = complaint(box, one)
    assert (again["status"], again["outcome"], again["resolved_at"]) == ("open", None, None)
    assert box.db.value("select count(*) from events where complaint_id = %s and kind = 'reopened'", c["id"]) == 1
    before = box.db.value("select count(*) from notifications where complaint_id = %s and purpose = 'escalation'", c["id"])
    box.advance("10d")
    after = box.db.value("select count(*) from notifications where complaint_id = %s and purpose = 'escalation'", c["id"])
    assert after > before, "nobody was told of the reopened complaint"
    assert complaint(box, one)["escalation_level"] > 1
    assert box.db.value("select count(*) from notifications where complaint_id = %s and purpose = 'acknowledgement'", c["id"]) == 1


def test_mail_of_a_team_is_no_customers(box):
    sender, first = f"c{secrets.token_hex(4)}@shop.example", f"{secrets.token_hex(6)}@shop.example"
    one, two, three = letters.mark(), letters.mark(), letters.mark()
    send(box, one, sender, first)
    c = complaint(box, one)
    send(box, two, "billing@staff.example", None, (), f"Re: [Level 2] {c['ref']}")
    joined = message_of(box, two)
    assert (joined["complaint_id"], joined["outcome"]) == (c["id"], "follow-up")
    assert complaint(box, one)["status"] == c["status"]
    send(box, three, "billing@staff.example")  # a matter that a team sends in: stored, never acknowledged to the team
    other = complaint(box, three)
    settle(box.db)
    rows = box.db.rows("select state, last_error from notifications where complaint_id = %s and purpose = 'acknowledgement'", other["id"])
    assert [r["state"] for r in rows] == ["suppressed"] and "team" in rows[0]["last_error"]


def test_steps_that_fall_due_together_tell_each_person_once(make_box):
    box = make_box()
    mark = letters.mark()
    send(box, mark, "outage@shop.example")
    c = complaint(box, mark)
    settle(box.db)
    box.kill_daemon()
    box.sql("update complaintd.clock set clock_offset = clock_offset + interval '60 days'")
    box.restart()
    wait_for(lambda: not box.db.rows("select 1 from steps where complaint_id = %s and fired_at is null", c["id"]), 30, "all steps fired")
    rows = box.db.rows(
        "select transport, recipient, max(level) as level, count(*) as n from notifications where complaint_id = %s"
        " and purpose = 'escalation' and created_at > now() + interval '30 days' group by 1, 2", c["id"])
    assert rows and all(r["n"] == 1 for r in rows), rows
    assert max(r["level"] for r in rows) == max(s["level"] for s in box.db.rows("select level from steps where complaint_id = %s", c["id"]))
    settle(box.db)


def test_the_clock_is_right_for_what_comes_next(make_box):
    box = make_box()
    mark = letters.mark()
    send(box, mark, "first@shop.example")
    box.advance("3d")
    late = letters.mark()
    send(box, late, "second@shop.example")
    c = complaint(box, late)
    assert abs((c["received_at"] - box.db.value("select complaintd.now()")).total_seconds()) < 30
