"""The ladder climbs by the service clock and tells people by mail, SMS and webhook, until someone acts."""
import pytest

import letters
from model import settle, wait_for


def critical(box, sender="burnt@shop.example"):
    mark = letters.mark()
    raw = letters.mail(
        "Kettle caught fire",
        f"The kettle caught fire in my kitchen, my hand is burnt. {mark}",
        sender=f"B <{sender}>",
    )
    assert box.mail(raw, sender)[0] == 250
    c = box.complaint_of(mark)
    assert (c["category"], c["priority"], c["team"]) == ("safety", "critical", "safety")
    return c


def steps(box, c):
    return box.db.rows("select * from steps where complaint_id = %s order by due_at, level", c["id"])


def due(box, c):
    return [s for s in steps(box, c) if s["due_at"] <= box.db.value("select complaintd.now()")]


def told(box, c):
    return box.db.rows(
        "select * from notifications where complaint_id = %s and purpose = 'escalation' order by created_at", c["id"]
    )


def test_nobody_acts_and_everybody_is_told(make_box):
    box = make_box()
    c = critical(box)
    wait_for(lambda: all(s["fired_at"] for s in due(box, c)), 30, "what is due at receipt")
    plan = steps(box, c)
    assert not any(s["fired_at"] for s in plan if s["due_at"] > c["received_at"])
    assert sum(s["due_at"] > c["received_at"] for s in plan) >= 5
    start = box.db.value("select complaintd.now()")
    box.advance("2d")
    assert (box.db.value("select complaintd.now()") - start).total_seconds() >= 2 * 86400
    settle(box.db)
    climbed = due(box, c)
    assert all(s["fired_at"] for s in climbed)
    assert [s["level"] for s in climbed] == sorted(s["level"] for s in climbed)
    for s in climbed:
        late = (s["fired_at"] - s["due_at"]).total_seconds()
        assert 0 <= late < 60, f"level {s['level']} fired {late} s after it was due"
    rows = told(box, c)
    assert {r["transport"] for r in rows} == {"mail", "sms", "webhook"}
    assert all(r["state"] == "sent" for r in rows), [dict(r) for r in rows if r["state"] != "sent"]
    assert len({r["idempotency_key"] for r in rows}) == len(rows)
    assert box.db.row("select escalation_level from complaints where id = %s", c["id"])["escalation_level"] == max(
        s["level"] for s in climbed
    )

    mails = [m for m in box.mails() if m["Delivered-To"].endswith("@staff.example")]
    assert len(mails) == sum(r["transport"] == "mail" for r in rows)
    assert all(c["ref"] in m["Subject"] + m.get_content() for m in mails)
    assert len({m["Message-ID"] for m in mails}) == len(mails)
    texts = [s for s in box.sent_sms() if c["ref"] in s["body"]]
    assert len(texts) == sum(r["transport"] == "sms" for r in rows)
    hooks = box.webhooks()
    assert len(hooks) == sum(r["transport"] == "webhook" for r in rows)
    assert all(h["verified"] for h in hooks), hooks[0]["headers"]
    assert all(c["ref"] in h["raw"] for h in hooks)
    for outgoing in (
        [m.as_string() for m in mails] + [t["body"] for t in texts] + [h["raw"] + str(h["headers"]) for h in hooks]
    ):
        assert "sandbox" in outgoing.lower()


@pytest.mark.parametrize("verb", ["ACK", "ASSIGN", "RESOLVE"])
def test_acting_stops_the_ladder(make_box, verb):
    box = make_box()
    c, other = critical(box), critical(box, "other@shop.example")
    with box.line("agent") as agent:
        args = {"ASSIGN": {"assignee": "li"}, "RESOLVE": {"outcome": "upheld"}}.get(verb, {})
        agent.ok(verb, ref=c["ref"], **args)
    stopped = [s for s in steps(box, c) if s["stopped_at"]]
    assert stopped and all(s["stop_reason"] for s in stopped)
    box.advance("2d")
    settle(box.db)
    fired = {s["level"] for s in steps(box, c) if s["fired_at"]}
    assert not fired & {s["level"] for s in stopped}
    assert any(s["fired_at"] for s in steps(box, other)), "the one that nobody touched climbed"
    assert len(told(box, c)) < len(told(box, other))


def test_a_restart_loses_no_step(make_box):
    box = make_box()
    c = critical(box)
    settle(box.db)  # what was due at receipt is sent
    box.kill_daemon()
    box.sql(
        "update complaintd.clock set clock_offset = clock_offset + interval '2 days'"
    )  # time passes while it is down
    box.restart()
    wait_for(lambda: all(s["fired_at"] for s in due(box, c)), 30, "steps fired after the restart")
    settle(box.db)
    rows = told(box, c)
    assert rows and all(r["state"] == "sent" for r in rows)


def test_the_clock_is_only_moved_in_a_sandbox(make_box):
    box = make_box()
    box.sql("update complaintd.clock set clock_offset = '0', sandbox = false")
    done = box.ctl("clock", "advance", "1h", check=False)
    assert done.returncode != 0 and "sandbox" in (done.stderr + done.stdout).lower()
    assert box.sql("select clock_offset = '0' from complaintd.clock") == [["t"]]
    box.sql("update complaintd.clock set sandbox = true")
