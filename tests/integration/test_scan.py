"""Mail checked by others: real clamd and rspamd, an Authentication-Results field of a server in front, and checkers that fail in every way.
Whatever they say or do, each mail is answered 250 within the budgets, is stored once, and its clocks run."""
import json
import os
import signal
import smtplib
import threading
import time

import pytest

import letters
from model import model_check, wait_for
from scanners import HARMFUL, UNWANTED, Clamd, Odd, Rspamd, http
from test_reload import configuration, reload

AUTH = "Authentication-Results"
CLEAN = json.dumps({"action": "no action", "score": 0.1, "is_skipped": False, "symbols": {"R_SPF_ALLOW": {}, "R_DKIM_ALLOW": {}}}).encode()


@pytest.fixture
def closing():
    made = []
    yield made
    for x in made:
        x.stop()


@pytest.fixture
def clamd(tmp_path, closing):
    (tmp_path / "clamd").mkdir()
    closing.append(Clamd(str(tmp_path / "clamd")))
    return closing[-1]


@pytest.fixture
def rspamd(tmp_path, closing):
    (tmp_path / "rspamd").mkdir()
    closing.append(Rspamd(str(tmp_path / "rspamd")))
    return closing[-1]


def odd(closing, kind):
    closing.append(Odd(kind))
    return closing[-1]


def send(box, text="All is well.", sender="customer@shop.example", extra=(), seconds=5.0, sign=bytes, envelope_from=None):
    mark = letters.mark()
    raw = sign(letters.mail(f"A complaint {mark}", f"{text} {mark}", sender=f"Ann <{sender}>", extra=extra))
    begun = time.monotonic()
    box.mail(raw, sender=envelope_from or sender)
    took = time.monotonic() - begun
    assert took < seconds, f"answered after {took} s"
    c = box.complaint_of(mark)
    return {**c, "took": took, **scan_of(box, c["id"])}


def scan_of(box, message):
    row = box.db.row("select verdict, detail, attempts, next_attempt_at from scans where message_id = %s", message)
    return {"verdict": row["verdict"], "detail": json.loads(row["detail"]), "attempts": row["attempts"], "again": row["next_attempt_at"]}


def acknowledgement(box, c):
    return box.db.row("select state, last_error from notifications where complaint_id = %s and purpose = 'acknowledgement'", c["id"])


def ctl(box, *args):
    return box.ctl(*args).stdout


def clocks_run(box, c):
    return box.db.value("select resolve_due is not null and first_response_due is not null from timers where complaint_id = %s", c["id"])


def asked(box, checker, outcome):
    return box.metrics()[f'complaintd_scan_asked_total{{checker="{checker}",outcome="{outcome}"}}']


def test_off_costs_nothing(box):
    mark = letters.mark()
    box.mail(letters.mail(f"Off {mark}", HARMFUL, extra=[(AUTH, "mx.example.com; dmarc=fail")]))
    c = box.complaint_of(mark)
    assert c["scan"] is None and box.db.value("select count(*) from scans") == 0
    assert "scan" not in c["decision"]
    assert box.metric("complaintd_scans_total") == 0


def test_clamd_finds_what_its_signatures_know(make_box, clamd):
    box = make_box(overlay={"scan": {"clamd": {"address": [clamd.address], "max_size": "900kB"}}})
    good = send(box)
    assert (good["verdict"], good["scan"]) == ("clean", "clean")
    assert acknowledgement(box, good)["state"] != "suppressed"

    bad = send(box, f"Look: {HARMFUL}.", sender="b@shop.example")
    assert bad["verdict"] == "quarantined" and bad["detail"]["clamd"]["text"].startswith("Test.Harmful")
    assert acknowledgement(box, bad) == {"state": "suppressed", "last_error": "the mail is quarantined: a checker says that it is harmful"}
    assert clocks_run(box, bad) and bad["decision"]["scan"]["verdict"] == "quarantined"
    assert bad["decision"]["acknowledgement"].startswith("the mail is quarantined")

    unwanted = send(box, UNWANTED, sender="c@shop.example")
    assert unwanted["verdict"] == "suspect" and acknowledgement(box, unwanted)["state"] == "suppressed"

    large = send(box, "x" * 76 + "\n" + ("long " * 15 + "\n") * 13000, sender="d@shop.example")
    assert large["verdict"] == "unscanned" and large["detail"]["clamd"]["outcome"] == "too-large" and large["again"] is None
    assert acknowledgement(box, large)["state"] != "suppressed", "nobody said anything against it"

    # people find them
    rows = ctl(box, "list", "--scan", "quarantined")
    assert bad["ref"] in rows and good["ref"] not in rows and unwanted["ref"] not in rows
    assert unwanted["ref"] in ctl(box, "list", "--scan", "suspect")
    shown = json.loads(ctl(box, "show", bad["ref"], "--json"))
    assert shown["scan"] == "quarantined" and shown["messages"][0]["scan"]["clamd"]["outcome"] == "answered"
    explained = json.loads(ctl(box, "explain", bad["ref"], "--json"))
    assert explained["scan"] == "quarantined" and explained["decision"]["scan"]["clamd"]["text"].startswith("Test.Harmful")
    stats = json.loads(ctl(box, "stats", "--json"))
    assert stats["open"]["by_scan"] == {"quarantined": 1, "suspect": 1, "unscanned": 1}

    assert box.db.rows("set local role complaintd_reader; select scan from complaints where ref = %s", bad["ref"]) == [{"scan": "quarantined"}]
    assert good["ref"] in ctl(box, "list", "--scan", "clean")

    # a further mail of a complaint: the worst counts
    mark = letters.mark()
    box.mail(letters.mail(f"Re: {good['ref']} {mark}", f"{HARMFUL} {mark}"))
    wait_for(lambda: box.db.value("select scan from complaints where id = %s", good["id"]) == "quarantined", 20, "the worst of two")
    assert 'scan.verdict id=' in box.log()


def test_what_is_quarantined_is_not_quoted_to_the_team(make_box, clamd):
    box = make_box(overlay={"scan": {"clamd": {"address": [clamd.address]}}})
    good, bad = send(box, "Please read THIS-QUOTE."), send(box, f"{HARMFUL} THAT-QUOTE", sender="b@shop.example")
    box.advance("30d")

    def told(c):
        return [m.get_content() for m in box.mails() if m["Delivered-To"].endswith("@staff.example") and c["ref"] in m["Subject"]]

    wait_for(lambda: told(good) and told(bad), 60, "both were escalated")
    assert any("THIS-QUOTE" in text for text in told(good))
    assert all("THAT-QUOTE" not in text and "(quarantined: not shown outside the system)" in text for text in told(bad))


def test_rspamd_says_spam_and_who_the_sender_is(make_box, rspamd):
    box = make_box(overlay={"scan": {"rspamd": {"url": rspamd.url, "timeout": "10s", "max_size": "20kB"}}})
    honest, strict, silent = (f"ann@{name}.example" for name in ("honest", "strict", "silent"))
    good = send(box, sender=honest)
    assert good["verdict"] == "clean" and good["detail"]["rspamd"]["text"] == "no action"
    assert good["detail"]["sender"] == {"by": "rspamd", "spf": "pass", "dkim": "none", "dmarc": "pass", "arc": "none", "proven": True}
    assert acknowledgement(box, good)["state"] != "suppressed"
    # what it was told of the envelope
    mail_from, ip, helo, queue_id, recipients = rspamd.told()[0]
    assert (mail_from, ip, recipients) == (honest, "127.0.0.1", "1") and helo != "-"
    assert queue_id == str(good["id"])

    # a signature over what came, which nothing of ours may have touched
    signed = send(box, sender=honest, envelope_from=silent, sign=rspamd.signer.sign)
    assert signed["detail"]["sender"] == {"by": "rspamd", "spf": "none", "dkim": "pass", "dmarc": "pass", "arc": "none", "proven": True}
    broken = send(box, sender=honest, envelope_from=silent, sign=lambda raw: rspamd.signer.sign(raw) + b"PS: more\r\n")
    assert broken["verdict"] == "suspect" and broken["detail"]["sender"]["dkim"] == "fail" and broken["detail"]["sender"]["dmarc"] == "fail"

    forged = send(box, sender=strict)
    assert forged["verdict"] == "suspect" and forged["detail"]["sender"]["spf"] == "fail" and clocks_run(box, forged)
    assert acknowledgement(box, forged)["last_error"] == "the sender may be forged: DMARC failed"

    unproven = send(box, sender=silent)
    assert unproven["verdict"] == "clean" and unproven["detail"]["sender"]["proven"] is False
    assert acknowledgement(box, unproven)["last_error"] == "the sender is not proven: neither SPF nor DKIM passed"

    spam = send(box, sender=honest, extra=[("X-Test", "spam")])
    assert spam["verdict"] == "suspect" and spam["detail"]["rspamd"]["text"] == "add header"
    assert "TEST_SPAM" in spam["detail"]["rspamd"]["symbols"]
    assert acknowledgement(box, spam)["last_error"] == "a checker says that the mail is suspect"

    worst = send(box, sender=honest, extra=[("X-Test", "harmful")])
    assert worst["verdict"] == "quarantined" and clocks_run(box, worst), "reject is no refusal here"

    large = send(box, "word " * 5000, sender=strict)
    assert large["verdict"] == "unscanned" and large["detail"]["rspamd"]["outcome"] == "too-large" and large["again"] is None
    assert asked(box, "rspamd", "answered") == 7 and asked(box, "rspamd", "too-large") == 1

    # by LMTP the peer is a server of ours: its address proves and disproves nothing
    mark = letters.mark()
    with smtplib.LMTP(box.e["LMTP_SOCKET"]) as s:
        s.sendmail(strict, ["care@example.com"], letters.mail(f"By LMTP {mark}", mark, sender=f"Ann <{strict}>"))
    assert box.complaint_of(mark)["scan"] is not None
    assert rspamd.told()[-1][1:3] == ["-", "-"]


def test_both_at_a_time_and_the_worse_counts(make_box, rspamd, clamd):
    box = make_box(overlay={"scan": {"rspamd": {"url": rspamd.url, "timeout": "10s"}, "clamd": {"address": [clamd.address]}}})
    c = send(box, HARMFUL, sender="ann@honest.example")
    assert c["verdict"] == "quarantined" and c["detail"]["rspamd"]["text"] == "no action"
    c = send(box, sender="ann@honest.example", extra=[("X-Test", "spam")])
    assert c["verdict"] == "suspect" and c["detail"]["clamd"]["verdict"] == "clean"


def test_results_of_a_server_in_front_are_believed_from_it_alone(make_box):
    trusted = {"trusted_authserv_ids": ["mx.example.com"]}
    box = make_box(overlay={"scan": trusted})
    forged = [("Received", "from x by mx.example.com with ESMTP id 1"), (AUTH, "mx.example.com (ours) 1; spf=fail smtp.mailfrom=x; dmarc=fail")]

    def lmtp(extra, sender="a@shop.example", subject="By LMTP"):
        mark = letters.mark()
        with smtplib.LMTP(box.e["LMTP_SOCKET"]) as s:
            s.sendmail(sender, ["care@example.com"], letters.mail(f"{subject} {mark}", mark, sender=f"A <{sender}>", extra=extra))
        return box.complaint_of(mark)

    c = lmtp(forged)
    assert c["scan"] == "suspect" and scan_of(box, c["id"])["detail"]["sender"]["by"] == "mx.example.com"
    assert acknowledgement(box, c)["last_error"] == "the sender may be forged: DMARC failed"
    proven = lmtp([(AUTH, 'mx.example.com; dkim=pass header.d="shop.example"; spf=softfail; dmarc=pass')], "b@shop.example")
    assert proven["scan"] == "clean" and acknowledgement(box, proven)["state"] != "suppressed"
    # nor does who is not proven add to a complaint by a reference that he overheard, as its customer or as one of our people
    for liar in ("b@shop.example", "general@staff.example"):
        other = lmtp([(AUTH, "mx.example.com; dmarc=fail")], liar, f"About {proven['ref']}")
        assert other["id"] != proven["id"] and other["decision"]["thread"][0]["verdict"] == "sender takes no part in it"
    with smtplib.LMTP(box.e["LMTP_SOCKET"]) as s:
        raw = letters.mail(f"Again {proven['ref']}", "Well?", sender="A <b@shop.example>", extra=[(AUTH, "mx.example.com; dmarc=pass")])
        s.sendmail("b@shop.example", ["care@example.com"], raw)
    assert box.db.value("select count(*) from messages where complaint_id = %s", proven["id"]) == 2
    unproven = lmtp([(AUTH, "MX.example.com; spf=softfail; dkim=none")], "c@shop.example")
    assert acknowledgement(box, unproven)["last_error"] == "the sender is not proven: neither SPF nor DKIM passed"
    for nobody in ([(AUTH, "mx.other.example; dmarc=fail")], [(AUTH, "mx.example.com; dmarc=fail (")], []):
        assert lmtp(nobody, "d@shop.example")["scan"] is None
    # below the Received field of the server before ours stands what anybody may have written
    below = [("Received", "from y by mx.example.com"), ("Received", "from z by y"), (AUTH, "mx.example.com; dmarc=pass; spf=pass")]
    assert lmtp(below, "e@shop.example")["scan"] is None

    # a client of SMTP is no server of ours …
    mark = letters.mark()
    box.mail(letters.mail(f"By SMTP {mark}", mark, extra=forged), sender="f@shop.example")
    assert box.complaint_of(mark)["scan"] is None
    # … until we say so
    c = configuration(box)
    c["scan"] = {**trusted, "authserv_from": ["127.0.0.0/8"]}
    reload(box, c)
    assert send(box, sender="g@shop.example", extra=forged)["verdict"] == "suspect"


@pytest.mark.parametrize("kind", ["rspamd", "clamd"])
def test_checkers_that_fail_cost_their_budget_and_nothing_else(make_box, closing, kind):
    checker = odd(closing, kind)
    where = {"rspamd": {"url": checker.url, "timeout": "700ms"}} if kind == "rspamd" else {"clamd": {"address": [checker.address], "timeout": "700ms"}}
    box = make_box(overlay={"scan": {**where, "rescan": "1h"}})
    good, ways = (http(CLEAN), [
        (http(b"oh no", "500 Internal Server Error"), "odd"), (http(b"<html>"), "odd"), (http(b"[" * 30000), "odd"), (http(b"{}"), "odd"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 500\r\n\r\n" + CLEAN[:20], "down"), (b"", "down"), (b"\xff\x00garbage\r\n\r\n", "down"), (None, "slow"),
        (http(json.dumps({"action": "no action", "score": 1, "symbols": {f"S{i}": {} for i in range(20000)}}).encode()), "odd"),
    ]) if kind == "rspamd" else (b"stream: OK\0", [
        (b"stream: OK", "down"), (b"UNKNOWN COMMAND\0", "odd"), (b"x" * 10000, "odd"), (b"", "down"), (None, "slow"),
        (b"instream: Can't allocate memory ERROR\0", "odd"), (b"\0", "odd"),
    ])
    for i, (behaviour, outcome) in enumerate(ways):
        checker.behaviour = behaviour
        c = send(box, sender=f"bad{i}@shop.example", seconds=3)
        assert c["verdict"] == "unscanned" and c["again"] is not None and clocks_run(box, c)
        assert c["detail"][kind]["outcome"] == outcome, (behaviour and behaviour[:40], c["detail"])
        assert acknowledgement(box, c)["state"] != "suppressed", "a dead checker keeps no answer back"
        checker.behaviour = good
        assert send(box, sender=f"good{i}@shop.example", seconds=3)["verdict"] == "clean"
    checker.stop()
    time.sleep(0.1)
    c = send(box, sender="down@shop.example")
    assert c["verdict"] == "unscanned" and c["detail"][kind]["outcome"] == "down"


def test_one_that_stays_dead_is_left_alone_and_noticed_when_it_is_back(make_box, clamd):
    box = make_box(overlay={"scan": {"clamd": {"address": [clamd.address], "timeout": "800ms"}, "rescan": "500ms"}})
    assert send(box)["verdict"] == "clean"
    clamd.freeze()
    cases = [send(box, HARMFUL if i == 3 else "fine", sender=f"c{i}@shop.example") for i in range(8)]
    assert {c["verdict"] for c in cases} == {"unscanned"}
    slow = [c["took"] > 0.7 for c in cases]
    assert all(slow[:2]) and sum(slow) <= 6, "it costs its budget until it is left alone; those checked again count as well"
    assert min(c["took"] for c in cases) < 0.5, [c["took"] for c in cases]
    assert asked(box, "clamd", "paused") >= 1 and box.metrics()['complaintd_scan_paused{checker="clamd"}'] == 1
    wait_for(lambda: box.metrics()["complaintd_rescan_left"] == 8 or asked(box, "clamd", "slow") > 5, 10, "they are counted")
    clamd.freeze(False)
    ids = [str(c["id"]) for c in cases]
    left = lambda: box.db.value("select count(*) from scans where verdict = 'unscanned' and message_id = any(%s::uuid[])", ids)  # noqa: E731
    wait_for(lambda: left() == 0, 60, "all of them are checked again")
    assert scan_of(box, cases[3]["id"])["verdict"] == "quarantined" and scan_of(box, cases[2]["id"])["verdict"] == "clean"
    assert box.db.value("select count(*) from scans where next_attempt_at is not null") == 0
    events = box.db.row("select kind, data from events where complaint_id = %s and kind = 'message-scanned'", cases[3]["id"])
    assert events["data"] == {"message": str(cases[3]["id"]), "from": "unscanned", "to": "quarantined"}
    assert "scan.paused checker=clamd" in box.log() and "scan.back checker=clamd" in box.log()
    assert box.metrics()['complaintd_scan_paused{checker="clamd"}'] == 0
    wait_for(lambda: box.metrics()["complaintd_rescan_left"] == 0, 10, "none is left")


def test_checkers_that_come_and_go_under_load(make_box, clamd, rspamd):
    """Four clients for some seconds, while one checker is killed and started and the other is frozen and thawed: every 250 is a message,
    every message is looked at in the end, and what is harmful is found."""
    box = make_box(overlay={"scan": {"clamd": {"address": [clamd.address], "timeout": "500ms"},
                                     "rspamd": {"url": rspamd.url, "timeout": "500ms"}, "rescan": "300ms"}})
    acked, slowest, ends = [], [], time.monotonic() + 12

    def client(number):
        while time.monotonic() < ends:
            with smtplib.SMTP("127.0.0.1", box.smtp_port, timeout=30) as s:
                for _ in range(5):
                    mark = letters.mark()
                    text = HARMFUL if len(acked) % 10 == 0 else "fine"
                    who = f"c{number}@honest.example"
                    begun = time.monotonic()
                    s.sendmail(who, ["care@example.com"], letters.mail(f"Load {mark}", f"{text} {mark}", sender=f"C <{who}>"))
                    slowest.append(time.monotonic() - begun)
                    acked.append(mark)

    threads = [threading.Thread(target=client, args=(i,)) for i in range(4)]
    for t in threads:
        t.start()
    for round_ in range(3):
        time.sleep(1)
        rspamd.freeze()
        clamd.process.kill()
        clamd.process.wait(10)
        time.sleep(1.5)
        rspamd.freeze(False)
        clamd.start()
    for t in threads:
        t.join()
    assert len(acked) > 20 and max(slowest) < 5, (len(acked), max(slowest))
    model_check(box.db, acked)
    assert box.db.value("select count(*) from scans") == len(acked)
    wait_for(lambda: box.db.value("select count(*) from scans where next_attempt_at is not null") == 0, 90, "all are looked at in the end")
    assert box.db.value("select count(*) from scans where verdict = 'unscanned'") == 0
    wrong = ("select count(*) from scans s join messages m on m.id = s.message_id"
             " where (s.verdict = 'quarantined') <> (strpos(m.body, %s) > 0)")
    assert box.db.value(wrong, HARMFUL) == 0
    assert box.metric("complaintd_scan_paused") == 0
    again = box.metrics()['complaintd_rescans_total{result="verdict"}']
    print(f"{len(acked)} mails, slowest {max(slowest):.2f} s, {again:.0f} checked again")


def test_a_rescan_gives_up_at_last_and_holds_an_acknowledgement_back(make_box, closing):
    checker = odd(closing, "clamd")
    checker.behaviour = b"something ERROR\0"
    box = make_box(overlay={"scan": {"clamd": {"address": [checker.address]}, "rescan": "100ms"}, "notify": {"paused": True}})
    c = send(box)
    assert c["verdict"] == "unscanned" and acknowledgement(box, c)["state"] == "pending"
    checker.behaviour = b"stream: Late.Finding FOUND\0"
    wait_for(lambda: scan_of(box, c["id"])["verdict"] == "quarantined", 30, "the second look")
    assert acknowledgement(box, c)["state"] == "suppressed"
    assert box.db.value("select acknowledge_due is null from timers where complaint_id = %s", c["id"]), "not owed any more"

    checker.behaviour = b"something ERROR\0"
    c = send(box, sender="b@shop.example")
    box.db.execute("update scans set attempts = 9, next_attempt_at = clock_timestamp() where message_id = %s", c["id"])
    wait_for(lambda: scan_of(box, c["id"])["again"] is None, 30, "the tenth attempt is the last")
    assert scan_of(box, c["id"])["verdict"] == "unscanned" and "scan.given-up id=" in box.log()
    assert box.metrics()['complaintd_rescans_total{result="given-up"}'] == 1


def test_too_many_at_a_time_go_on_unscanned_within_the_sum_of_budgets(make_box, closing):
    checker = odd(closing, "clamd")
    checker.behaviour = None
    box = make_box(overlay={"scan": {"clamd": {"address": [checker.address], "timeout": "1s"}, "rspamd": {"timeout": "1s"}, "in_flight": 2,
                                     "rescan": "1h"}})
    marks = [letters.mark() for _ in range(12)]
    sessions = [smtplib.SMTP("127.0.0.1", box.smtp_port, timeout=30) for _ in marks]
    for s, m in zip(sessions, marks):
        s.ehlo("client.example")
        s.mail("customer@shop.example")
        s.rcpt("care@example.com")
        s.putcmd("data")
        assert s.getreply()[0] == 354
    begun = time.monotonic()
    for s, m in zip(sessions, marks):
        s.send(letters.mail(f"Many {m}", m).replace(b"\r\n.", b"\r\n..") + b"\r\n.\r\n")
    for s in sessions:
        assert s.getreply()[0] == 250
        s.close()
    assert time.monotonic() - begun < 4
    assert box.db.value("select count(*) from scans where verdict = 'unscanned'") == 12
    assert asked(box, "clamd", "busy") >= 6 and box.metrics()["complaintd_scan_waiting"] == 0


def test_a_reload_switches_it_on_and_off(make_box, clamd):
    box = make_box()
    c = configuration(box)
    mark = letters.mark()
    box.mail(letters.mail(f"Before {mark}", HARMFUL))
    assert box.complaint_of(mark)["scan"] is None
    reload(box, {**c, "scan": {"clamd": {"address": [clamd.address]}}})
    assert send(box, HARMFUL, sender="b@shop.example")["verdict"] == "quarantined"
    reload(box, c)
    mark = letters.mark()
    box.mail(letters.mail(f"After {mark}", HARMFUL), sender="c@shop.example")
    assert box.complaint_of(mark)["scan"] is None
    reload(box, {**c, "scan": {"rspamd": {"url": "http://scan.example:1"}}}, result=1)
    assert "neither http:// to this host nor https://" in box.log()


def open_mail(box, raw):
    """A session whose mail is sent and not answered."""
    s = smtplib.SMTP("127.0.0.1", box.smtp_port, timeout=60)
    s.ehlo("client.example")
    s.mail("customer@shop.example")
    s.rcpt("care@example.com")
    s.putcmd("data")
    assert s.getreply()[0] == 354
    s.send(raw + b"\r\n.\r\n")
    return s


def test_what_was_stored_raw_is_checked_when_it_is_decoded(make_box, clamd):
    box = make_box(overlay={"scan": {"clamd": {"address": [clamd.address]}}, "triage": {"budget": "300ms", "deadline": "3s"}})
    workers = wait_for(lambda: box.workers("triage"), 20, "triage workers")
    time.sleep(2)
    for pid in workers:
        os.kill(pid, signal.SIGSTOP)
    mark = letters.mark()
    box.mail(letters.mail(f"Raw {mark}", f"{HARMFUL} {mark}"))
    assert box.db.value("select count(*) from pending") == 1 and box.db.value("select count(*) from scans") == 0
    c = box.db.row("select id from receipts")
    wait_for(lambda: box.db.value("select count(*) from pending") == 0, 60, "it is triaged")
    assert box.db.value("select scan from complaints where id = %s", c["id"]) == "quarantined"


def test_rules_that_change_while_a_mail_is_checked(make_box, closing):
    """It goes back to the workers of now, and is not asked about twice; the same mail again meanwhile waits for it."""
    checker = odd(closing, "clamd")
    checker.behaviour = None
    scan = {"clamd": {"address": [checker.address], "timeout": "8s"}, "rescan": "1h"}
    box = make_box(overlay={"scan": scan})
    mark = letters.mark()
    raw = letters.mail(f"Between {mark}", mark)
    first = open_mail(box, raw)
    wait_for(lambda: checker.asked, 20, "it is being checked")
    second = open_mail(box, raw)
    c = configuration(box)
    c["triage"] = {**c.get("triage", {}), "match_bytes": "16kB"}
    reload(box, c)
    answers = [s.getreply() for s in (first, second)]
    assert [code for code, _ in answers] == [250, 250]
    for s in (first, second):
        s.close()
    assert checker.asked == 1 and box.complaint_of(mark)["scan"] == "unscanned"
    model_check(box.db, [mark])


def test_a_stop_while_checkers_are_slow_loses_nothing(make_box, closing):
    checker = odd(closing, "clamd")
    checker.behaviour = None
    box = make_box(overlay={"scan": {"clamd": {"address": [checker.address], "timeout": "50s"}}})
    mark = letters.mark()
    raw = letters.mail(f"Stopped {mark}", mark)
    s = open_mail(box, raw)
    wait_for(lambda: checker.asked, 20, "it is being checked")
    os.kill(box.state["daemon"]["pid"], signal.SIGTERM)
    wait_for(lambda: "front.draining" in box.log(), 20, "the drain")
    box.kill_daemon(signal.SIGTERM)  # the second one: at once
    assert s.getreply()[0] in (421, 451)
    s.close()
    assert not box.sanitizer_reports()
    checker.behaviour = b"stream: OK\0"
    box.start_daemon()
    assert box.db.value("select count(*) from complaints") == 0
    box.mail(raw)
    assert box.complaint_of(mark)["scan"] == "clean"
