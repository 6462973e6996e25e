"""The life of a complaint: every action in every state by every role against the daemon, what each verb needs and leaves behind, states that
end by themselves, and chains that are whole or not."""
import datetime
import itertools
import os
import re
import secrets

import pytest

import letters
from test_bounces import dsn, path_of
from box import default_build, run
from model import settle, wait_for
from sandbox import ROOT

STATES = ("new", "open", "waiting", "resolved", "closed")
CODES = {"causes": ["our-mistake", "supplier"], "remedies": ["refund", "none"]}


def table():
    """{(action, state): next or None}, {action: least role}, as the program says them."""
    done = run(os.path.join(default_build(), "complaintd"), "--describe-lifecycle=markdown")
    assert done.returncode == 0, done.stderr
    head, _, *rows = [[c.strip().strip("`") for c in line.strip("|").split("|")] for line in done.stdout.splitlines()]
    assert tuple(head[2:7]) == STATES
    return {(r[0], s): None if r[2 + i] == "-" else r[2 + i] for r in rows for i, s in enumerate(STATES)}, {r[0]: r[1] for r in rows}


def ask(box, verb, role="agent", **args):
    with box.line(role) as line:
        word, body, _ = line.request(verb, **args)
    return body if word == "OK" else body["code"]


def new(box, **more):
    """A complaint taken by the line, with an address: (ref, id, address)."""
    mark = letters.mark()
    address = f"{mark}@shop.example".lower()
    answer = ask(box, "SUBMIT", "intake", key=mark, text=f"The bill {mark} is wrong", customer={"name": "Ann", "email": address}, **more)
    assert answer["outcome"] == "new", answer
    return answer["ref"], box.db.value("select id from complaints where ref = %s", answer["ref"]), address


ACTIONS = {
    "ACK": {},
    "ASSIGN": {"assignee": "wei"},
    "NOTE": {"text": "seen"},
    "REPLY": {"text": "We look into it."},
    "RECLASSIFY": {"priority": "low"},
    "WAIT": {"for": "2d"},
    "RESOLVE": {"outcome": "upheld", "cause": "our-mistake", "remedy": "refund"},
    "REOPEN": {},
    "CLOSE": {},
}
WAY = {
    "new": [],
    "open": ["ACK"],
    "waiting": ["WAIT"],
    "resolved": ["RESOLVE"],
    "closed": ["RESOLVE", "CLOSE"],
}


def made(box, state):
    ref, ident, address = new(box)
    for verb in WAY[state]:
        answer = ask(box, verb, ref=ref, **ACTIONS[verb])
        assert isinstance(answer, dict), (verb, answer)
    assert status(box, ref) == state
    return ref, ident, address


def status(box, ref):
    return box.db.value("select status from complaints where ref = %s", ref)


def events(box, ident):
    return box.db.rows("select seq, actor, kind, data from events where complaint_id = %s order by seq", ident)


def deeds(box, ident):
    """What was not said by the senders of notifications, who have their own time."""
    return [e for e in events(box, ident) if e["actor"] not in ("notify", "escalation")]


@pytest.fixture(scope="module")
def codes_box():
    from box import Box
    from conftest import assert_sound, finish

    box = Box(overlay=CODES)
    yield box
    assert_sound(box)
    finish(box)


def test_every_state_action_and_role(codes_box):
    box = codes_box
    moves, roles = table()
    tried = 0
    split_of = lambda ref: {"ref": ref, "message": "0198f3a2-1111-7222-8333-444455556666"}  # noqa: E731
    for state, verb in itertools.product(STATES, list(ACTIONS) + ["MERGE", "SPLIT", "REREAD"]):
        ref, ident, _ = made(box, state)
        args = {"ref": ref, **ACTIONS.get(verb, {})}
        if verb == "MERGE":
            args["into"] = new(box)[0]
        if verb in ("SPLIT", "REREAD"):
            args = split_of(ref)  # no such message: what the state allows is refused as not found, the rest as a conflict
        before = deeds(box, ident)
        for role in (None, "intake"):
            assert ask(box, verb, role, **args) == ("auth-required" if role is None else "forbidden"), (state, verb, role)
            tried += 1
        assert deeds(box, ident) == before and status(box, ref) == state
        assert roles[verb] == "agent"
        for role in ("agent", "admin"):
            tried += 1
            if role == "admin":
                ref, ident, _ = made(box, state)
                args["ref"] = ref
            answer = ask(box, verb, role, **args)
            want = moves[verb, state]
            if verb in ("SPLIT", "REREAD"):
                assert answer == "not-found" and want == state, (state, verb, answer)
            elif want is None:
                assert answer == "conflict", (state, verb, role, answer)
                assert status(box, ref) == state
            else:
                assert isinstance(answer, dict) and answer["status"] == want, (state, verb, role, answer)
                assert status(box, answer["ref"]) == want
                last = deeds(box, ident)[-1]
                if verb != "ACK" or state == "new":
                    assert last["actor"] not in ("intake", "@uid0") and last["data"]["via"] == "line", last
    assert tried == len(STATES) * 12 * 4


def test_what_happens_without_a_request(codes_box):
    box = codes_box
    moves, roles = table()
    for state in STATES:
        ref, ident, address = made(box, state)
        raw = letters.mail(f"About {ref}", "One thing more.", sender=address)
        assert box.mail(raw, address)[0] == 250
        wait_for(lambda i=ident: box.db.value("select count(*) from messages where complaint_id = %s and direction = 'in'", i) == 2, 30, "it joined")
        assert status(box, ref) == moves["the customer writes", state], state
        assert roles["the customer writes"] == "nobody asks"


def test_a_wait_ends_by_itself_and_the_team_is_told(make_box):
    box = make_box(overlay={**CODES, "cases": {"close_after": "7d"}})
    ref, ident, _ = new(box, category="billing")
    until = (datetime.datetime.now(datetime.timezone.utc) + datetime.timedelta(days=3)).strftime("%Y-%m-%dT%H:%M:%SZ")
    answer = ask(box, "WAIT", ref=ref, until=until, note="for the meter's number")
    assert answer["status"] == "waiting" and answer["waiting_until"][:19] == until[:19]
    assert ask(box, "SHOW", ref=ref)["waiting_until"] == answer["waiting_until"]
    box.advance("2d")
    assert status(box, ref) == "waiting"
    box.advance("2d")
    assert status(box, ref) == "open"
    assert ask(box, "SHOW", ref=ref)["waiting_until"] is None
    ended = [e for e in events(box, ident) if e["kind"] == "wait-ended"]
    assert len(ended) == 1 and ended[0]["actor"] == "clock"
    told = box.db.rows("select transport, recipient, state from notifications where complaint_id = %s and purpose = 'waiting'", ident)
    assert [(n["transport"], n["state"]) for n in told if n["transport"] == "mail"] == [("mail", "sent")], told
    assert any(ref in str(m["Subject"]) and "wait is over" in str(m["Subject"]) for m in box.mails(next(n["recipient"] for n in told if n["transport"] == "mail")))
    assert box.metric("complaintd_cases_waits_ended_total") == 1
    # a wait that was ended by the customer does not end again
    assert ask(box, "WAIT", ref=ref, **{"for": "1d"})["status"] == "waiting"
    assert ask(box, "REOPEN", ref=ref)["status"] == "open"
    # what is resolved is closed when it has aged; one that was reopened meanwhile is not
    other, other_id, _ = new(box)
    for r in (ref, other):
        assert ask(box, "RESOLVE", ref=r, **ACTIONS["RESOLVE"])["status"] == "resolved"
    box.advance("6d")
    assert ask(box, "REOPEN", ref=other)["status"] == "open"
    box.advance("2d")
    assert (status(box, ref), status(box, other)) == ("closed", "open")
    assert [e["actor"] for e in events(box, ident) if e["kind"] == "closed"] == ["clock"]
    assert box.metric("complaintd_cases_aged_total") == 1
    assert len([e for e in events(box, ident) if e["kind"] == "wait-ended"]) == 1


def test_a_state_that_cannot_be_ended_holds_up_no_other(make_box):
    """The database refuses one of three; the daemon says so, and goes round it."""
    box = make_box()
    box.broken = True  # the refused one stays as it is
    refs = [new(box) for _ in range(3)]
    for n, (ref, _, _) in enumerate(refs):
        assert ask(box, "WAIT", ref=ref, **{"for": f"{n + 1}h"})["status"] == "waiting"
    box.sql("create function complaintd.refuse() returns trigger language plpgsql as $$ begin raise exception 'no' using errcode = '23514'; end $$;"
            f"create trigger refuse before update on complaintd.complaint for each row when (old.id = '{refs[0][1]}' and new.status = 'open')"
            " execute function complaintd.refuse()")
    box.sql("update complaintd.clock set clock_offset = clock_offset + interval '5 hours'")
    wait_for(lambda: [status(box, ref) for ref, _, _ in refs] == ["waiting", "open", "open"], 60, "the others")
    assert "cases.over-failed" in box.log() and box.daemon_alive()
    assert box.metric("complaintd_cases_waits_ended_total") == 2


def test_resolving_needs_codes_where_they_are_listed(codes_box):
    box = codes_box
    ref, ident, _ = new(box)

    def refused(**args):
        with box.line("agent") as line:
            word, body, _ = line.request("RESOLVE", ref=ref, outcome="upheld", **args)
        assert word == "ERR" and body["code"] == "bad-argument", body
        return body["field"]

    assert refused() == "cause"
    assert refused(cause="our-mistake") == "remedy"
    assert refused(cause="the moon", remedy="refund") == "cause"
    assert refused(cause="our-mistake", remedy="flowers") == "remedy"
    assert status(box, ref) == "new"
    done = ask(box, "RESOLVE", ref=ref, outcome="upheld", cause="our-mistake", remedy="refund", note="as agreed")
    assert (done["cause"], done["remedy"]) == ("our-mistake", "refund")
    last = events(box, ident)[-1]
    assert (last["data"]["cause"], last["data"]["remedy"], last["data"]["via"]) == ("our-mistake", "refund", "line")


def test_free_text_where_nothing_is_listed(box):
    ref, ident, _ = new(box)
    assert ask(box, "RESOLVE", ref=ref, outcome="upheld", cause="the cat sat on it")["cause"] == "the cat sat on it"
    data = events(box, ident)[-1]["data"]
    assert "cause" not in data and len(data["cause_sha256"]) == 64


def test_reopening_has_a_window(make_box):
    box = make_box(overlay={"triage": {"reopen_window": "10d"}})
    ref, ident, address = new(box)
    assert ask(box, "RESOLVE", ref=ref, outcome="rejected")["status"] == "resolved"
    box.advance("9d")
    again = ask(box, "REOPEN", ref=ref, note="the customer rang")
    assert again["status"] == "open" and again["due"]
    row = box.db.row("select * from complaints where id = %s", ident)
    assert (row["outcome"], row["resolved_at"], row["cause"]) == (None, None, None)
    assert ask(box, "RESOLVE", ref=ref, outcome="rejected")["status"] == "resolved"
    assert ask(box, "CLOSE", ref=ref)["status"] == "closed"
    box.advance("11d")
    with box.line("agent") as line:
        word, body, _ = line.request("REOPEN", ref=ref)
    assert (word, body["code"]) == ("ERR", "conflict") and "SUBMIT" in body["message"]
    linked = ask(box, "SUBMIT", "intake", key=letters.mark(), text=f"It is about {ref} once more", customer={"email": address})
    assert linked["outcome"] == "new"
    assert any(x["ref"] == ref for x in ask(box, "SHOW", ref=linked["ref"])["links"])


def test_reclassifying_moves_team_and_targets(box):
    ref, ident, _ = new(box, category="billing")
    assert ask(box, "ASSIGN", ref=ref, assignee="wei")["assignee"] == "wei"
    before = {d["kind"]: d["due_at"] for d in box.db.rows("select kind, due_at from deadlines where complaint_id = %s", ident)}
    team = box.db.value("select team from complaints where id = %s", ident)
    moved = ask(box, "RECLASSIFY", ref=ref, category="delivery", priority="critical")
    assert moved["changed"] and moved["team"] != team and moved["assignee"] is None and moved["priority"] == "critical"
    after = {d["kind"]: d["due_at"] for d in box.db.rows("select kind, due_at from deadlines where complaint_id = %s", ident)}
    assert after.keys() == before.keys() and after["first-response"] < before["first-response"] and after["resolve"] < before["resolve"]
    again = ask(box, "RECLASSIFY", ref=ref, category="delivery")
    assert not again["changed"] and len([e for e in deeds(box, ident) if e["kind"] == "reclassified"]) == 1
    assert ask(box, "RECLASSIFY", ref=ref, team=team)["team"] == team
    assert ask(box, "RECLASSIFY", ref=ref) == "bad-argument"
    assert ask(box, "RECLASSIFY", ref=ref, category="weather") == "bad-argument"


def test_a_reply_goes_out_is_kept_and_is_answered(box):
    ref, ident, address = new(box)
    text = "Dear Ann,\n\nplease send us the meter's number.\n\n亲爱的客户"
    done = ask(box, "REPLY", ref=ref, text=text)
    assert (done["status"], done["transport"]) == ("open", "mail") and done["responded_at"]
    settle(box.db)
    ours = [m for m in box.mails(address) if "meter's number" in m.get_content()]
    assert len(ours) == 1 and "亲爱的客户" in ours[0].get_content() and ref in str(ours[0]["Subject"])
    assert ours[0]["Auto-Submitted"] is None
    stored = box.db.row("select * from messages where id = %s", done["message"])
    assert (stored["direction"], stored["complaint_id"], stored["body"]) == ("out", ident, text)
    assert ours[0]["Message-ID"].strip() == f"<{stored['message_id']}>"
    # the answer to it comes from another address, and still finds the complaint
    raw = letters.mail("Re: x", "It is 4711.", sender="other@elsewhere.example", extra=[("In-Reply-To", ours[0]["Message-ID"].strip())])
    assert box.mail(raw, "other@elsewhere.example")[0] == 250
    wait_for(lambda: box.db.value("select count(*) from messages where complaint_id = %s", ident) == 3, 30, "the answer")
    # later ones leave the time of the first; what a reply ends has ended
    first = box.db.value("select responded_at from complaints where id = %s", ident)
    ask(box, "REPLY", ref=ref, text="Thank you.")
    assert box.db.value("select responded_at from complaints where id = %s", ident) == first
    assert not box.db.rows("select 1 from complaintd.timers t, complaintd.timer_steps(t) s where t.complaint_id = %s and s.stops & 4 <> 0"
                           " and s.fired_at is null and s.stopped_at is null", ident)
    settle(box.db)


def test_a_reply_that_came_back_answered_nobody(make_box):
    box = make_box()
    ref, ident, address = new(box)
    first, second = (ask(box, "REPLY", ref=ref, text=f"We look into it, {n}.") for n in ("one", "two"))
    settle(box.db)
    ours = {n: next(m for m in box.mails(address) if f"into it, {n}" in m.get_content()) for n in ("one", "two")}
    answered = lambda: box.db.value("select responded_at from complaints where id = %s", ident)  # noqa: E731
    before = answered()
    assert before and first["responded_at"] == second["responded_at"]
    for n, left in (("two", before), ("one", None)):
        assert box.mail(dsn(address, returned=ours[n]), "", [path_of(ours[n])])[0] == 250
        wait_for(lambda x=n: box.db.value("select state from notifications where complaint_id = %s and purpose = 'reply' and payload ->> 'text' like %s",
                                          ident, f"%{x}.") == "failed", 30, "traced")
        assert answered() == left
    assert box.db.value("select count(*) from notifications where complaint_id = %s and purpose = 'undeliverable'", ident) > 0


def test_a_reply_hangs_on_the_customers_last_mail(box):
    mark = letters.mark()
    address, name = f"{mark}@shop.example".lower(), f"{mark}@mail.shop.example"
    raw = letters.mail("The bill", f"It is wrong {mark}", sender=address, message_id=name)
    assert box.mail(raw, address)[0] == 250
    c = box.complaint_of(mark)
    ask(box, "REPLY", ref=c["ref"], text="We look into it, " + mark)
    settle(box.db)
    ours = next(m for m in box.mails(address) if "look into it" in m.get_content())
    assert ours["In-Reply-To"].strip() == f"<{name}>" and name in ours["References"]


def test_a_reply_by_sms_and_to_nobody(box):
    number = f"+86139{secrets.randbelow(10**8):08d}"
    ref = ask(box, "SUBMIT", "intake", key=letters.mark(), text="The bill is wrong", customer={"phone": number})["ref"]
    assert ask(box, "REPLY", ref=ref, text="We call you tomorrow.")["transport"] == "sms"
    settle(box.db)
    sent = [s for s in box.sent_sms(number) if "tomorrow" in s["body"]]
    assert len(sent) == 1 and ref in sent[0]["body"]
    assert ask(box, "REPLY", ref=ref, text="长" * 1001) == "bad-argument"
    assert ask(box, "REPLY", ref=ref, text="长" * 1000)["transport"] == "sms"
    settle(box.db)
    nobody = ask(box, "SUBMIT", "intake", key=letters.mark(), text="The bill is wrong")["ref"]
    assert ask(box, "REPLY", ref=nobody, text="Hello?") == "conflict"
    assert status(box, nobody) == "new"


def test_remedy_sought_and_representative(box):
    who = {"name": "Li Lei", "email": "li.lei@law.example", "relation": "lawyer", "authority": "power of attorney of 2026-11-01"}
    mark = letters.mark()
    ref = ask(box, "SUBMIT", "intake", key=mark, text=f"{mark}: the bill is wrong", customer={"name": "Ann"}, remedy_sought="My money back,\nand a word.",
              representative=who)["ref"]
    shown = ask(box, "SHOW", ref=ref)
    assert shown["remedy_sought"] == "My money back,\nand a word." and shown["representative"] == who
    assert ask(box, "REPLY", ref=ref, text="We write to you, then.")["transport"] == "mail"
    settle(box.db)
    assert any("write to you, then" in m.get_content() for m in box.mails("li.lei@law.example"))
    for field, value in (("remedy_sought", " "), ("remedy_sought", 7), ("remedy_sought", "x" * 2001), ("representative", []),
                         ("representative", {"email": "a@b.example"}), ("representative", {"name": "x", "phone": "7"}),
                         ("representative", {"name": "x", "shoe_size": "44"})):
        assert ask(box, "SUBMIT", "intake", key=letters.mark(), text="x", **{field: value}) == "bad-argument", (field, value)


def test_a_change_on_what_was_not_seen_is_refused(box):
    ref, ident, _ = new(box)
    settle(box.db)
    seq = ask(box, "SHOW", ref=ref)["events"][-1]["seq"]
    one = ask(box, "NOTE", ref=ref, text="one", if_seq=seq)
    assert one["seq"] == seq + 1
    for verb, args in [*ACTIONS.items(), ("MERGE", {"into": new(box)[0]})]:
        assert ask(box, verb, ref=ref, if_seq=seq, **args) == "conflict", verb
    assert len(events(box, ident)) == seq + 1
    assert ask(box, "WAIT", ref=ref, if_seq=seq + 1, **ACTIONS["WAIT"])["seq"] == seq + 2
    assert ask(box, "NOTE", ref=ref, text="x", if_seq="1") == "bad-argument"
    assert ask(box, "NOTE", ref=ref, text="x", if_seq=0) == "bad-argument"
    assert ask(box, "SHOW", ref=ref, if_seq=1) == "bad-argument"


def test_what_was_seen_of_a_complaint_says_nothing_of_what_it_became_part_of(box):
    """Their events have the same numbers."""
    (a, ident, _), (b, other, _) = new(box), new(box)
    settle(box.db)
    seq = ask(box, "NOTE", ref=a, text="one")["seq"]
    while box.db.value("select max(seq) from events where complaint_id = %s", other) < seq - 1:
        ask(box, "NOTE", ref=b, text="two")
    ask(box, "MERGE", ref=a, into=b)
    assert box.db.value("select max(seq) from events where complaint_id = %s", other) == seq
    for verb in ("RESOLVE", "NOTE", "WAIT"):
        assert ask(box, verb, ref=a, if_seq=seq, **ACTIONS[verb]) == "conflict", verb
    assert ask(box, "MERGE", ref=a, into=new(box)[0], if_seq=seq) == "conflict"
    assert ask(box, "SPLIT", ref=a, message=str(ident), if_seq=seq) == "conflict"
    assert status(box, b) == "new"
    assert ask(box, "RESOLVE", ref=a, **ACTIONS["RESOLVE"])["ref"] == b, "without it, the old reference leads on"
    assert ask(box, "NOTE", ref=b, text="three", if_seq=seq + 1)["seq"] == seq + 2


def test_verify_names_the_first_broken_link(make_box):
    box = make_box()
    refs = [new(box)[0] for _ in range(3)]
    for ref in refs:
        ask(box, "NOTE", ref=ref, text="a")
        ask(box, "NOTE", ref=ref, text="b")
    settle(box.db)
    whole = ask(box, "VERIFY")
    assert whole["ok"] and whole["complaints"] == 3 and whole["events"] >= 9 and "broken" not in whole
    assert ask(box, "VERIFY", role="intake") == "forbidden"
    assert ask(box, "VERIFY", ref=refs[1])["complaints"] == 1
    first = ask(box, "VERIFY", limit=2)
    assert first["complaints"] == 2 and ask(box, "VERIFY", limit=2, after=first["next"])["complaints"] == 1
    done = box.ctl("verify")
    assert done.returncode == 0 and "every chain is whole" in done.stdout, done
    ident = box.db.value("select id from complaints where ref = %s", refs[1])
    third = box.db.value("select id from complaints where ref = %s", refs[2])
    seq = box.db.value("select max(seq) - 1 from events where complaint_id = %s and kind = 'noted'", ident)
    last = box.db.value("select max(seq) from events where complaint_id = %s", ident)
    changes = (
        (f"update complaintd.event set data = replace(data, 'note', 'nose') where complaint_id = '{ident}' and seq = {seq}", seq, "changed"),
        (f"update complaintd.event set prev_hash = sha256('x') where complaint_id = '{ident}' and seq = {seq}", seq, "follow"),
        (f"delete from complaintd.event where complaint_id = '{ident}' and seq = {seq}", seq + 1, "missing"),
        (f"delete from complaintd.event where complaint_id = '{ident}'", 1, "no events"),
        (f"update complaintd.event set actor = 'nobody' where complaint_id = '{ident}' and seq = {seq}", seq, "changed"),
        (f"update complaintd.event set at = at + interval '1 microsecond' where complaint_id = '{ident}' and seq = {seq}", seq, "changed"),
        (f"update complaintd.event set seq = 2 * {seq} + 1 - seq + 1000 where complaint_id = '{ident}' and seq in ({seq}, {seq} + 1);"
         f" update complaintd.event set seq = seq - 1000 where complaint_id = '{ident}' and seq > 1000", seq, "follow"),
        (f"delete from complaintd.event where complaint_id = '{ident}' and seq > {seq}", seq, "of a note"),
        (f"update complaintd.event set seq = seq + 1000, complaint_id = '{third}' where complaint_id = '{ident}';"
         f" update complaintd.event set complaint_id = '{ident}' where complaint_id = '{third}' and seq < 1000;"
         f" update complaintd.event set seq = seq - 1000 where seq > 1000", 1, "another"),
        (f"update complaintd.complaint set status = 'open' where id = '{ident}'", last, "is open"),
    )
    box.broken = True  # what the invariants say about it is the point
    box.sql(f"create table saved as table complaintd.event")
    for sql, where, word in changes:
        box.sql(sql)
        broken = ask(box, "VERIFY")["broken"]
        assert (broken["ref"], broken["seq"]) == (refs[1], where) and word in broken["fault"], (sql, broken)
        assert ask(box, "VERIFY", ref=refs[0])["ok"] and not ask(box, "VERIFY", ref=refs[1])["ok"]
        done = box.ctl("verify", check=False)
        assert done.returncode == 1 and refs[1] in done.stdout and word in done.stdout, done
        box.sql("delete from complaintd.event; insert into complaintd.event select * from saved; update complaintd.complaint set status = 'new'")
    assert ask(box, "VERIFY")["ok"]


def test_the_table_in_the_documentation_is_that_of_the_program():
    done = run(os.path.join(default_build(), "complaintd"), "--describe-lifecycle=markdown")
    with open(os.path.join(ROOT, "docs", "protocol.md"), encoding="utf-8") as f:
        assert done.stdout in f.read()


def test_complaintctl_walks_a_whole_life(box):
    ref, ident, _ = new(box)
    for words, want in (
        (("note", ref, "rang the customer"), "open|new"),
        (("reply", ref, "We look into it."), "open"),
        (("reclassify", ref, "--priority", "high"), "high"),
        (("wait", ref, "--for", "2d", "--note", "for the photo"), "waiting"),
        (("reopen", ref), "open"),
        (("resolve", ref, "--outcome", "upheld"), "resolved"),
        (("close", ref), "closed"),
        (("verify", ref), "every chain is whole"),
    ):
        done = box.ctl(*words)
        assert done.returncode == 0 and re.search(want, done.stdout), (words, done)
    assert {e["data"].get("via") for e in events(box, ident) if e["actor"].startswith("@")} == {"unix"}
    assert box.ctl("close", ref, check=False).returncode == 1
    settle(box.db)
