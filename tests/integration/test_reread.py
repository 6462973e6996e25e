"""Messages that could not be decoded in full are read again: from the stored original, by the workers as they are now."""
import base64
import hashlib
import json
import os
import secrets
import signal
import threading

import pytest

import clients
import conftest
import letters
from box import Box
from clients import Line
from model import model_check, wait_for
from test_reload import configuration, write
from test_tokens import new as new_complaint

WORDS = "You charged me twice for the invoice, I want my refund."
CODES = {agent: secrets.token_urlsafe(32) for agent in ("agent-care", "agent-shop")}


def overlay(**triage):
    return {
        "triage": {"workers": 1, "budget": "30s", "deadline": "2s", **triage},
        "desks": [{"name": "shop", "addresses": ["shop@example.com"], "default_team": "general", "policy": "standard"}],
        "clients": [
            {"name": name, "role": "agent", "token_sha256": hashlib.sha256(token.encode()).hexdigest(), "desks": [name[6:]]}
            for name, token in CODES.items()
        ],
    }


@pytest.fixture(scope="module")
def module_box():
    box = Box(overlay=overlay())
    yield box
    conftest.finish(box)


@pytest.fixture
def box(module_box):
    yield module_box
    conftest.assert_sound(module_box)


def hang(box):
    """Stops the workers: what they are given now is not decoded before their deadline kills them."""
    pids = wait_for(lambda: box.workers("triage"), 30, "a worker")
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)
    return pids


def degrade(box, raw, sender="bounces@mailer.example", recipients=("care@example.com",)):
    """Takes a mail in while the worker hangs; what it then says of it is that decoding took too long. (complaint, message id)"""
    box.mail(letters.mail("Before", letters.mark()))  # the worker is ready
    hang(box)
    assert box.mail(raw, sender, recipients)[0] == 250
    row = box.db.row("select id, complaint_id, body, digest from messages where direction = 'in' order by received_at desc, id desc limit 1")
    assert row["body"].startswith("This message could not be read automatically")
    return box.db.row("select * from complaints where id = %s", row["complaint_id"]), row["id"]


def ask(box, verb, role="agent", **args):
    with box.line(role) as line:
        word, body, _ = line.request(verb, **args)
    return body if word == "OK" else body["code"]


def reread(box, ref, role="agent", **more):
    return ask(box, "REREAD", role, ref=ref, **more)


def original(box, message):
    return box.db.value("select encode(sha256(raw), 'hex') from messages where id = %s", message)


def listed(box):
    return {r["ref"] for r in box.line("agent").ok("LIST", degraded=True, limit=500)}


def events(box, ident, kind):
    return [e["data"] for e in box.db.rows("select data from events where complaint_id = %s and kind = %s order by seq", ident, kind)]


def with_photo(mark):
    photo = letters.png()
    return (
        letters.header("From", f"Ann Example <{mark}@shop.example>")
        + letters.header("Subject", f"Invoice {mark}")
        + letters.header("Message-ID", f"<{mark}@x>")
        + letters.header("Date", "Mon, 23 Nov 2026 10:00:00 +0000")
        + b'MIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary="p"\r\n\r\n'
        + f"--p\r\nContent-Type: text/plain; charset=utf-8\r\n\r\n{WORDS} {mark}text\r\n".encode()
        + b'--p\r\nContent-Type: image/png; name="bill.png"\r\nContent-Transfer-Encoding: base64\r\n\r\n'
        + base64.encodebytes(photo).replace(b"\n", b"\r\n")
        + b"--p--\r\n",
        photo,
    )


def test_what_nobody_has_touched_becomes_what_it_would_have_been(box):
    mark = letters.mark()
    raw, photo = with_photo(mark)
    before, message = degrade(box, raw)
    assert before["degraded"] and before["category"] == "unclassified" and before["customer_email"] == "bounces@mailer.example"
    kept = original(box, message)
    done = reread(box, before["ref"])
    assert done["changed"] and done["rules"] == "applied" and done["left"] == 0 and done["message"] == str(message), done
    after = box.db.row("select * from complaints where ref = %s", before["ref"])
    # a twin that was read at once shows what it should be
    twin = letters.mark()
    assert box.mail(with_photo(twin)[0], "bounces@mailer.example")[0] == 250
    same = box.db.row("select * from complaints where subject = %s", f"Invoice {twin}")
    for column in ("category", "priority", "team", "language", "tags", "region", "status", "assignee", "degraded"):
        assert after[column] == same[column], column
    assert after["category"] == "billing" and not after["degraded"]
    assert (after["subject"], after["body"].strip()) == (f"Invoice {mark}", f"{WORDS} {mark}text")
    assert (after["customer_name"], after["customer_email"]) == ("Ann Example", f"{mark}@shop.example")
    assert after["decision"]["rules"] == same["decision"]["rules"] and "degraded" not in after["decision"]
    due = "select first_response_due - anchor_at from timers where complaint_id = %s"
    assert box.db.value(due, after["id"]) == box.db.value(due, same["id"])
    assert box.db.value("select customer_id from customer_handles where handle = %s", f"mail:{mark}@shop.example") == after["customer_id"]
    m = box.db.row("select * from messages where id = %s", message)
    assert (m["sender"], m["message_id"], m["class"]) == (f"{mark}@shop.example", f"{mark}@x", "person")
    # the original is what it was, and the photo is found in it
    assert original(box, message) == kept
    a = box.db.row("select * from attachments where message_id = %s", message)
    assert (a["filename"], bytes(a["sha256"])) == ("bill.png", hashlib.sha256(photo).digest())
    (told,) = events(box, after["id"], "reread")
    digest = hashlib.sha256(after["body"].encode()).hexdigest()
    assert told["result"] == "whole" and told["via"] == "line" and told["after"]["text_sha256"] == digest
    assert told["before"]["text_sha256"] != digest and told["before"]["attachments"] == 0 and told["after"]["attachments"] == 1
    (moved,) = events(box, after["id"], "reclassified")
    assert moved["from"]["category"] == "unclassified" and moved["to"]["category"] == "billing"
    assert ask(box, "VERIFY", ref=before["ref"])["ok"]
    # its words are found, and it is no longer listed as degraded
    assert [r["ref"] for r in box.line("agent").ok("LIST", search=f"{mark}text")] == [before["ref"]]
    assert before["ref"] not in {r["ref"] for r in box.line("agent").ok("LIST", degraded=True)}
    # an answer to it finds it
    answer = letters.mail(f"Re: Invoice {mark}", "And?", sender=f"<{mark}@shop.example>", extra=[("In-Reply-To", f"<{mark}@x>")])
    assert box.mail(answer, f"{mark}@shop.example")[0] == 250
    assert box.db.value("select count(*) from messages where complaint_id = %s and direction = 'in'", after["id"]) == 2
    assert reread(box, before["ref"]) == "conflict"
    assert box.metric('complaintd_rereads_total{result="whole"}') >= 1 and f"ref={before['ref']} result=whole" in box.log()


def test_what_people_work_on_is_not_moved(box):
    mark = letters.mark()
    before, message = degrade(box, with_photo(mark)[0])
    assert ask(box, "ASSIGN", ref=before["ref"], assignee="wei")["assignee"] == "wei"
    done = reread(box, before["ref"])
    assert done["changed"] and done["rules"] == "told" and done["rules_say"]["category"] == "billing", done
    after = box.db.row("select * from complaints where ref = %s", before["ref"])
    for column in ("category", "priority", "team", "assignee", "customer_email", "customer_id"):
        assert after[column] == (before[column] if column != "assignee" else "wei"), column
    assert after["body"].startswith(WORDS) and not after["degraded"] and after["status"] == "open"
    assert after["customer_name"] == "Ann Example"  # nobody knew it
    assert not events(box, after["id"], "reclassified")
    assert events(box, after["id"], "reread")[0]["rules_say"]["team"] == done["rules_say"]["team"]


def test_what_stays_degraded_changes_nothing(box):
    mark = letters.mark()
    raw = (
        f"From: {mark}@shop.example\r\nSubject: {mark}\r\nMessage-ID: <{mark}@x>\r\n".encode()
        + b"Content-Type: text/plain; charset=x-made-up\r\n\r\nthe text begins caf\xe9\r\n"
    )
    assert box.mail(raw, f"{mark}@shop.example")[0] == 250
    wait_for(lambda: box.complaint_of(mark)["acknowledged_at"], 30, "its acknowledgement")
    before = box.complaint_of(mark)
    assert before["degraded"]
    n = box.metric('complaintd_rereads_total{result="degraded"}')
    done = reread(box, before["ref"])
    assert done["changed"] is False and done["degraded"] and done["left"] == 1, done
    assert box.complaint_of(mark) == before
    assert box.metric('complaintd_rereads_total{result="degraded"}') == n + 1
    (told,) = events(box, before["id"], "reread")
    assert told["result"] == "degraded" and told["degraded"] == done["degraded"]
    assert reread(box, before["ref"])["changed"] is False  # and it may be tried again


def test_a_further_message_and_where_merge_and_split_put_it(box):
    mark = letters.mark()
    sender = f"{mark}@shop.example"
    assert box.mail(letters.mail(f"Invoice {mark}", WORDS, sender=f"<{sender}>", message_id=f"{mark}@x"), sender)[0] == 250
    first = box.complaint_of(mark)
    further = letters.mail(f"Re: Invoice {mark}", f"More of it {mark}more", sender=f"<{sender}>", extra=[("In-Reply-To", f"<{mark}@x>")])
    joined, message = degrade(box, further, sender)
    assert joined["ref"] == first["ref"] and joined["degraded"] and first["ref"] in listed(box)
    assert reread(box, first["ref"], message=str(first["id"])) == "conflict"  # that one was read in full
    other = box.mail(letters.mail("Other", letters.mark() + " other"), "other@shop.example")
    assert other[0] == 250
    into = box.db.row("select ref from complaints where customer_email = 'customer@shop.example' order by received_at desc limit 1")["ref"]
    assert into not in listed(box)
    assert ask(box, "MERGE", ref=first["ref"], into=into)["status"] == "closed"
    assert into in listed(box) and first["ref"] not in listed(box)
    done = reread(box, first["ref"], message=str(message))
    assert done["ref"] == into and done["changed"] and done["rules"] == "nothing", done
    body = box.db.value("select body from messages where id = %s", message)
    assert body.strip() == f"More of it {mark}more"
    assert reread(box, into) == "conflict" and into not in listed(box)
    # and one that SPLIT took away
    joined, message = degrade(box, letters.mail(f"Re: Invoice {mark}", f"A third {mark}third", sender=f"<{sender}>",
                                                extra=[("In-Reply-To", f"<{mark}@x>")]), sender)
    assert joined["ref"] == into and into in listed(box)
    new = ask(box, "SPLIT", ref=into, message=str(message))
    assert reread(box, into) == "conflict" and into not in listed(box) and new["ref"] in listed(box)
    assert reread(box, new["ref"])["message"] == str(message) and new["ref"] not in listed(box)
    for ref in (into, new["ref"]):
        assert ask(box, "VERIFY", ref=ref)["ok"]


def test_a_merged_complaint_takes_back_what_is_its_own(box):
    before, _ = degrade(box, with_photo(letters.mark())[0])
    whole = letters.mark()
    assert box.mail(letters.mail("Whole", whole), f"{whole}@shop.example")[0] == 250
    into = box.complaint_of(whole)["ref"]
    assert ask(box, "MERGE", ref=before["ref"], into=into)["status"] == "closed"
    assert into in listed(box) and before["ref"] not in listed(box)
    assert ask(box, "SPLIT", ref=into, message=str(before["id"]))["ref"] == before["ref"]
    assert into not in listed(box) and before["ref"] in listed(box)


def test_a_further_message_is_listed_until_all_are_read(make_box):
    """Two that came to the address of the acknowledgement and needed longer than their worker was given."""
    box = make_box(overlay=overlay())
    c, _, sender, ack = new_complaint(box)
    assert not c["degraded"] and "degraded" not in box.ctl("show", c["ref"]).stdout
    messages = [degrade(box, letters.mail("Re: A matter", f"{letters.mark()} more", sender=f"<{sender}>"), sender, (str(ack["Reply-To"]),)) for _ in range(2)]
    assert [m["ref"] for m, _ in messages] == [c["ref"]] * 2 and listed(box) == {c["ref"]}
    assert c["ref"] in box.ctl("degraded").stdout and "degraded" in box.ctl("show", c["ref"]).stdout
    assert box.db.value("select decision from complaints where id = %s", c["id"]) == c["decision"]  # the first one was read
    assert ask(box, "STATS")["open"]["degraded"] == 1
    assert reread(box, c["ref"])["left"] == 1 and listed(box) == {c["ref"]}
    assert "1 read in full, 0 not" in box.ctl("degraded", "reread", "--all").stdout
    assert not listed(box) and ask(box, "STATS")["open"]["degraded"] == 0
    bodies = box.db.rows("select body from messages where complaint_id = %s and direction = 'in' order by received_at", c["id"])
    assert all("more" in row["body"] for row in bodies[1:]), bodies


@pytest.mark.parametrize("way", ["line", "json", "form", "sms"])
def test_the_other_channels(box, way):
    """Their customer stands within, so nobody could be told that the complaint is there."""
    mark = letters.mark()
    email = f"{mark}@shop.example"
    complaint = {"text": f"{WORDS} {mark}", "customer": {"name": "Ann", "email": email, "external_id": mark}, "remedy_sought": "My money"}
    box.mail(letters.mail("Before", letters.mark()))
    hang(box)
    if way == "line":
        assert ask(box, "SUBMIT", "intake", key=mark, **complaint)["outcome"] == "new"
    elif way == "json":
        assert box.web(complaint, mark).status == 201
    elif way == "form":
        assert box.web_form(complaint, [("bill", b"%PDF-1.4", "bill.pdf", "application/pdf")], mark).status == 201
    else:
        assert box.sms(clients.sms_params(complaint["text"], "+8613900005678"))[0] == 200
    before = box.db.row("select * from complaints order by received_at desc limit 1")
    assert before["degraded"] and before["category"] == "unclassified" and before["remedy_sought"] is None
    done = reread(box, before["ref"])
    assert done["changed"] and done["rules"] == "applied" and done["attachments"] == (way == "form"), done
    after = box.db.row("select * from complaints where ref = %s", before["ref"])
    assert (after["category"], after["body"], after["degraded"], after["channel"]) == ("billing", complaint["text"], False, before["channel"])
    if way == "sms":
        assert after["customer_phone"] == before["customer_phone"] == "+8613900005678"
    else:
        assert (after["customer_name"], after["customer_email"], after["remedy_sought"]) == ("Ann", email, "My money")
        assert box.db.value("select customer_id from customer_handles where handle = %s", f"mail:{email}") == after["customer_id"]
        wait_for(lambda: [m for m in box.mails(email) if before["ref"] in m["Subject"] or before["ref"] in m.get_content()], 30, "its acknowledgement")
    acks = "select count(*) from notifications where complaint_id = %s and purpose = 'acknowledgement'"
    assert box.db.value(acks, before["id"]) == 1
    twice = {"line": lambda: ask(box, "SUBMIT", "intake", key=mark, **complaint), "json": lambda: box.web(complaint, mark).json}
    if way in twice:  # the same again is the same
        assert twice[way]()["ref"] == before["ref"]


def test_who_may_and_clear_errors(box):
    mark = letters.mark()
    before, message = degrade(box, with_photo(mark)[0])
    assert reread(box, before["ref"], "intake") == "forbidden"
    assert reread(box, "C-0000-0000-0012") == "not-found"
    assert reread(box, before["ref"], message="0198f3a2-1111-7222-8333-444455556666") == "not-found"
    assert reread(box, before["ref"], message="7") == "bad-argument"
    assert reread(box, before["ref"], if_seq=999) == "conflict"
    with Line(box.line_port, CODES["agent-shop"]) as line:
        assert line.request("REREAD", ref=before["ref"])[1]["code"] == "not-found"
    assert box.db.value("select degraded from complaints where ref = %s", before["ref"])
    with Line(box.line_port, CODES["agent-care"]) as line:
        assert line.request("REREAD", ref=before["ref"])[0] == "OK"
    whole = letters.mark()
    assert box.mail(letters.mail("Whole", whole))[0] == 250
    assert reread(box, box.complaint_of(whole)["ref"]) == "conflict"


def test_many_at_once_and_a_worker_that_dies(box):
    """Two for the same message: one does it, the other is told. While a worker hangs they wait, up to a limit that is told and counted."""
    mark = letters.mark()
    before, message = degrade(box, with_photo(mark)[0])
    box.mail(letters.mail("Before", letters.mark()))
    codes = []

    def one():
        answer = reread(box, before["ref"])
        codes.append(answer if isinstance(answer, str) else "OK")

    threads = [threading.Thread(target=one) for _ in range(4)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert sorted(codes) == ["OK", "conflict", "conflict", "conflict"], codes
    assert len(events(box, before["id"], "reread")) == 1
    before, message = degrade(box, with_photo(letters.mark())[0])
    box.mail(letters.mail("Before", letters.mark()))
    busy = box.metric('complaintd_rereads_total{result="busy"}')
    hang(box)
    with box.line("agent") as line:
        for _ in range(30):
            line.send("REREAD", {"ref": before["ref"]})
        line.send("PING")
        answers = [line.answer() for _ in range(31)]
    assert answers[30][0] == "OK"
    # the first of them met the hanging worker, which changes nothing; the next one a new worker
    assert answers[0][1]["changed"] is False and answers[0][1]["degraded"] == "decoding took too long", answers[0]
    assert answers[1][1]["changed"] is True
    full = [a for a in answers[20:30] if a[0] == "ERR" and a[1]["code"] == "busy" and a[1]["retry"]]
    assert len(full) == 10 and box.metric('complaintd_rereads_total{result="busy"}') == busy + 10
    assert {a[1]["code"] for a in answers[2:20]} == {"conflict"}


def test_a_worker_dies_of_it_once(box):
    before, message = degrade(box, with_photo(letters.mark())[0])
    box.mail(letters.mail("Before", letters.mark()))
    deaths = box.metric("complaintd_worker_deaths_total")
    (worker,) = hang(box)
    with box.line("agent") as line:
        line.send("REREAD", {"ref": before["ref"]})
        wait_for(lambda: box.metric("complaintd_intake_in_flight") == 1, 10, "it is being read")
        os.kill(worker, signal.SIGKILL)
        word, body, _ = line.answer()
    assert word == "OK" and body["changed"], body  # another one read it
    assert box.metric("complaintd_worker_deaths_total") == deaths + 1
    assert len(events(box, before["id"], "reread")) == 1 and box.metric("complaintd_intake_in_flight") == 0


def test_the_daemon_is_killed_meanwhile(make_box):
    box = make_box(overlay=overlay(deadline="8s"))
    mark = letters.mark()
    before, message = degrade(box, with_photo(mark)[0])
    kept = original(box, message)
    box.mail(letters.mail("Before", letters.mark()))
    hang(box)
    with box.line("agent") as line:
        line.send("REREAD", {"ref": before["ref"]})
        wait_for(lambda: box.metric("complaintd_intake_in_flight") == 1, 10, "it is being read")
        box.kill_daemon()
        with pytest.raises(ConnectionError):
            line.answer()
    box.restart()
    after = box.db.row("select * from complaints where ref = %s", before["ref"])
    assert after["degraded"] and after["body"] == before["body"] and not events(box, before["id"], "reread")
    assert reread(box, before["ref"])["changed"] and original(box, message) == kept
    model_check(box.db, [])


def test_complaintctl(make_box):
    box = make_box(overlay=overlay())
    refs = [degrade(box, with_photo(letters.mark())[0])[0]["ref"] for _ in range(3)]
    odd = letters.mark()
    raw = f"From: {odd}@shop.example\r\nSubject: {odd}\r\nContent-Type: text/plain; charset=x-made-up\r\n\r\ncaf".encode() + b"\xe9\r\n"
    assert box.mail(raw, f"{odd}@shop.example")[0] == 250
    box.complaint_of(odd)

    def said(*words, status=0):
        done = box.ctl(*words, check=False)
        assert done.returncode == status, (words, done)
        return done.stdout if status == 0 else done.stderr

    assert all(r in said("degraded") for r in refs) and all(r in said("degraded", "list") for r in refs)
    text = said("degraded", "reread", refs[0])
    assert text.startswith(f"{refs[0]}: read in full") and "1 attachment; category billing" in text
    assert "was read in full" in said("degraded", "reread", refs[0], status=1)
    assert "unknown character set" in said("degraded", "reread", box.complaint_of(odd)["ref"])
    said("degraded", "reread", status=2)
    said("degraded", "reread", refs[1], "--all", status=2)
    said("degraded", "reread", "--all", "--message", "x", status=2)
    said("degraded", refs[1], status=2)
    page = json.loads(said("--json", "degraded", "reread", "--all", "--limit", "2"))
    assert (page["read"], page["degraded"]) == (1, 1) and page["next"] and page["rows"][1]["ref"] == refs[2], page
    text = said("degraded", "reread", "--all", "--after", page["next"])
    assert refs[1] in text and "1 read in full, 0 not" in text
    assert box.db.value("select count(*) from complaints where degraded") == 1
    kinds = {e["actor"] for e in box.db.rows("select actor from events where kind = 'reread'")}
    assert len(kinds) == 1 and kinds.pop().startswith("@uid")


def test_a_limit_that_was_too_small(make_box):
    """A mail that needs longer than its worker is given is stored degraded; with a larger limit it is read, all of it."""
    box = make_box(overlay=overlay(deadline="50ms"))
    mark = letters.mark()
    raw = (
        f"From: <{mark}@shop.example>\r\nSubject: Invoice {mark}\r\nMIME-Version: 1.0\r\nContent-Type: text/html; charset=utf-8\r\n\r\n".encode()
        + f"<p>{WORDS}</p>\r\n".encode()
        + b"<p>hello <b>refund</b> table</p>\r\n" * 100000
    )
    assert box.mail(raw, f"{mark}@shop.example")[0] == 250
    before = box.db.row("select * from complaints order by received_at desc limit 1")
    assert before["degraded"] and before["decision"]["degraded"] == "decoding took too long"
    kept = original(box, before["id"])
    assert reread(box, before["ref"])["degraded"] == "decoding took too long"
    config = configuration(box)
    config["triage"]["deadline"] = "20s"
    write(box, config)
    box.kill_daemon(signal.SIGTERM)
    box.restart()
    done = reread(box, before["ref"])
    assert done["changed"] and done["rules"] == "applied" and done["category"] == "billing" and done["text_length"] > 1000000, done
    after = box.db.row("select * from complaints where ref = %s", before["ref"])
    assert after["body"].startswith(WORDS) and "<p>" not in after["body"] and original(box, after["id"]) == kept
    assert [e["result"] for e in events(box, after["id"], "reread")] == ["degraded", "whole"]
    assert ask(box, "VERIFY", ref=before["ref"])["ok"]
