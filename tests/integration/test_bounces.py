"""What comes back by itself: bounces are traced to the notification that bounced and told to people once, automatic replies change nothing,
loops end, and a storm causes no mail and one alarm."""
import concurrent.futures
import os
import re
import secrets
import smtplib
import sys
import time

import pytest

import letters
from model import wait_for

sys.path.insert(0, os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "bench"))

NEW = re.compile(r"care\+n[0-9a-z]{43}@example\.com")


def address():
    return f"c{secrets.token_hex(5)}@shop.example"


def complain(box, sender, text="The parcel is late", extra=()):
    """A complaint whose acknowledgement has gone out: its row, the acknowledgement's row and the mail."""
    mark = letters.mark()
    assert box.mail(letters.mail("Late", f"{text} {mark}", sender=f"A <{sender}>", extra=extra), sender)[0] == 250
    c = box.complaint_of(mark)
    row = wait_for(lambda: [a for a in notes(box, c, "acknowledgement") if a["state"] == "sent"], 30, "acknowledgement sent")[0]
    mail = wait_for(lambda: [m for m in box.mails(sender) if c["ref"] in str(m)], 30, "acknowledgement in the sink")[0]
    return box.db.row("select * from complaints where id = %s", c["id"]), row, mail


def notes(box, c, purpose):
    return box.db.rows("select * from notifications where complaint_id = %s and purpose = %s order by created_at", c["id"], purpose)


def path_of(mail):
    return str(mail["Return-Path"]).strip("<>")


def dsn(recipient, status="5.1.1", action="failed", diagnostic="550 5.1.1 no such user", returned=None, to="care@example.com"):
    """A delivery report as Postfix writes it."""
    boundary = secrets.token_hex(8)
    back = f"Message-ID: {returned['Message-ID']}\r\nFrom: care@example.com\r\nTo: {recipient}\r\n" if returned else "Subject: x\r\n"
    return (
        f"From: MAILER-DAEMON@mx.shop.example (Mail Delivery System)\r\nTo: {to}\r\nSubject: Undelivered Mail Returned to Sender\r\n"
        f"Message-ID: <{secrets.token_hex(10)}@mx.shop.example>\r\nAuto-Submitted: auto-replied\r\nMIME-Version: 1.0\r\n"
        f'Content-Type: multipart/report; report-type=delivery-status; boundary="{boundary}"\r\n\r\n'
        f"--{boundary}\r\n\r\nYour message could not be delivered.\r\n\r\n<{recipient}>: {diagnostic}\r\n"
        f"--{boundary}\r\nContent-Type: message/delivery-status\r\n\r\nReporting-MTA: dns; mx.shop.example\r\n\r\n"
        f"Final-Recipient: rfc822; {recipient}\r\nAction: {action}\r\nStatus: {status}\r\nDiagnostic-Code: smtp; {diagnostic}\r\n\r\n"
        f"--{boundary}\r\nContent-Type: text/rfc822-headers\r\n\r\n{back}\r\n--{boundary}--\r\n"
    ).encode()


def settle(box):
    wait_for(lambda: box.db.value("select count(*) from pending") == 0, 30)


def test_a_bounce_is_traced_by_its_signed_path(make_box):
    box = make_box()
    sender = address()
    c, ack, mail = complain(box, sender)
    assert c["acknowledged_at"] and NEW.fullmatch(path_of(mail)) and mail["X-Complaintd-Hops"] == "1"
    before = box.db.value("select count(*) from complaints")
    # passed on by the customer's provider, and returned from there with nothing of the mail in it
    assert box.mail(dsn("other@elsewhere.example"), "", [path_of(mail)])[0] == 250
    settle(box)
    ack = notes(box, c, "acknowledgement")[0]
    assert ack["state"] == "failed" and ack["last_error"] == "5.1.1 550 5.1.1 no such user"
    row = box.db.row("select * from complaints where id = %s", c["id"])
    assert row["acknowledged_at"] is None and row["status"] == c["status"], "not acknowledged, and nothing else changed"
    kinds = [e["kind"] for e in box.db.rows("select kind from events where complaint_id = %s order by seq", c["id"])]
    assert kinds[-2:] == ["message-attached", "notification-bounced"]
    mark = box.db.row("select * from addresses where address = %s", "mail:" + sender)
    assert (mark["state"], mark["status"], mark["reason"], mark["bounces"]) == ("hard", "5.1.1", "user-unknown", 1)
    # a person is told, once, a while later
    tasks = notes(box, c, "undeliverable")
    assert sorted(t["transport"] for t in tasks) == ["mail", "sms", "webhook"] and {t["state"] for t in tasks} == {"pending"}
    assert box.mail(dsn(sender, returned=mail), "", [path_of(mail)])[0] == 250  # again, in other words
    settle(box)
    assert len(notes(box, c, "undeliverable")) == 3 and box.db.value("select count(*) from complaints") == before
    assert not [m for m in box.mails() if "came back" in str(m.get_body())]
    box.advance("3min")
    team = wait_for(lambda: [m for m in box.mails() if "came back" in m.get_body().get_content()], 30, "the task")
    assert len(team) == 1 and sender in team[0]["Subject"] and "5.1.1 550 5.1.1 no such user" in team[0].get_body().get_content()
    shown = box.line("agent").ok("SHOW", ref=c["ref"])
    shown = shown[0] if isinstance(shown, list) else shown
    assert [m["class"] for m in shown["messages"]] == ["person", "bounce", "bounce"]
    data = box.db.value("select data from events where complaint_id = %s and kind = 'message-attached' limit 1", c["id"])
    assert data["class"] == "bounce" and data["signals"][0] == "delivery-status"
    assert "notify.bounced" in box.log() and box.metrics()['complaintd_bounces_total{traced="yes"}'] == 2
    # the task itself comes back: that is the end of it
    assert box.mail(dsn("general@staff.example"), "", [path_of(team[0])])[0] == 250
    settle(box)
    assert {t["state"] for t in notes(box, c, "undeliverable") if t["transport"] == "mail"} == {"failed"}
    assert len(notes(box, c, "undeliverable")) == 3


def test_a_path_that_cannot_be_signed_is_null(make_box):
    long_name = "complaints-of-all-our-customers"  # with a token behind it over 64 bytes
    box = make_box(overlay={"desks": [{"name": "long", "addresses": [f"{long_name}@example.com"], "default_team": "general", "policy": "standard"}]})
    mark, sender = letters.mark(), address()
    assert box.mail(letters.mail("Late", f"late {mark}", sender=f"A <{sender}>"), sender, [f"{long_name}@example.com"])[0] == 250
    mail = wait_for(lambda: box.mails(sender), 30, "acknowledgement")[0]
    assert path_of(mail) == "" and mail["X-Complaintd-Hops"] == "1"
    # then the report's own words lead back
    assert box.mail(dsn(sender, returned=mail), "", [f"{long_name}@example.com"])[0] == 250
    assert notes(box, box.complaint_of(mark), "acknowledgement")[0]["state"] == "failed"


def test_a_bounce_is_traced_by_what_it_returns(box):
    sender = address()
    c, _, mail = complain(box, sender)
    assert box.mail(dsn(sender, "5.2.2", diagnostic="552 5.2.2 over quota", returned=mail), "")[0] == 250
    settle(box)
    assert notes(box, c, "acknowledgement")[0]["state"] == "failed"
    assert box.db.value("select state from addresses where address = %s", "mail:" + sender) == "soft", "a full mailbox is no wrong address"
    cut = box.metric("complaintd_bounces_cut_total")
    many = "".join(f"<r{i}@shop.example>: 550 5.1.1 unknown\n" for i in range(40))
    raw = letters.mail("failure notice", many, sender="MAILER-DAEMON@mx.shop.example")
    assert box.mail(raw, "")[0] == 250
    assert box.metric("complaintd_bounces_cut_total") == cut + 1


def test_forged_names_count_for_nothing(box):
    sender = address()
    c, _, mail = complain(box, sender)
    good = path_of(mail)
    wrong = good.replace("@", "0@") if len(good) < 40 else good[:-13] + ("0" if good[-13] != "0" else "1") + good[-12:]
    assert wrong != good and NEW.fullmatch(wrong)
    count = box.db.value("select count(*) from complaints")
    for raw, to in (
        (dsn(sender), wrong),
        (dsn(sender), "care@example.com"),
        (dsn(sender, returned={"Message-ID": "<ack.018f2a6b-7c00-7000-8000-000000000001@complaints.example.com>"}), "care@example.com"),
        (dsn(sender, returned={"Message-ID": "<ack." + "0" * 60 + "@complaints.example.com>"}), "care@example.com"),
    ):
        assert box.mail(raw, "", [to])[0] == 250
    settle(box)
    assert notes(box, c, "acknowledgement")[0]["state"] == "sent" and not notes(box, c, "undeliverable")
    assert box.db.value("select count(*) from complaints") == count, "and start nothing"
    assert box.db.value("select count(*) from messages where class = 'bounce' and complaint_id is null and sender like 'mailer-daemon@%%'") >= 4


def test_a_customer_cannot_report_on_the_mails_to_our_people(box):
    sender = address()
    c, _, mail = complain(box, sender)
    box.advance("1d")
    step = wait_for(lambda: [n for n in notes(box, c, "escalation") if n["state"] == "sent" and n["transport"] == "mail"], 30, "a step")[0]
    ours = [m for m in box.mails(step["recipient"]) if m["Message-ID"].startswith(f"<{step['idempotency_key']}.")][0]
    # what it is called follows from the Message-ID of the acknowledgement
    token = mail["Message-ID"].split("@")[0].split(".")[-1]
    assert ours["Message-ID"].split("@")[0] == f"<{step['idempotency_key']}.{token}"
    assert box.mail(dsn(step["recipient"], returned=ours), "")[0] == 250
    settle(box)
    assert box.db.value("select state from notifications where id = %s", step["id"]) == "sent"
    assert box.mail(dsn(step["recipient"], returned=ours), "", [path_of(ours)])[0] == 250
    settle(box)
    assert box.db.value("select state from notifications where id = %s", step["id"]) == "failed"


def test_a_delay_changes_nothing(box):
    sender = address()
    c, _, mail = complain(box, sender)
    assert box.mail(dsn(sender, "4.4.1", "delayed", "connect: Connection timed out"), "", [path_of(mail)])[0] == 250
    settle(box)
    ack = notes(box, c, "acknowledgement")[0]
    assert ack["state"] == "sent" and ack["last_error"].startswith("4.4.1 connect")
    assert box.db.value("select acknowledged_at from complaints where id = %s", c["id"])
    assert not notes(box, c, "undeliverable") and not box.db.rows("select 1 from addresses where address = %s", "mail:" + sender)
    # in words alone, of nobody by name
    for subject, text in (("Warning: could not send message for past 4 hours", "It is still in the queue."),
                          ("Zustellung verz\u00f6gert", "Wir versuchen es weiter.")):
        assert box.mail(letters.mail(subject, text, sender="MAILER-DAEMON@mx.shop.example"), "", [path_of(mail)])[0] == 250
        settle(box)
        assert notes(box, c, "acknowledgement")[0]["state"] == "sent"
    # given up at last, with the same status: that is final
    assert box.mail(dsn(sender, "4.4.1", "failed", "connect: Connection timed out"), "", [path_of(mail)])[0] == 250
    settle(box)
    assert notes(box, c, "acknowledgement")[0]["state"] == "failed" and notes(box, c, "undeliverable")


@pytest.mark.parametrize("way", ("path", "reply", "nothing"))
def test_an_automatic_reply_changes_nothing(box, way):
    sender = address()
    c, _, mail = complain(box, sender)
    agent = box.line("agent")
    agent.ok("RESOLVE", ref=c["ref"], outcome="upheld")
    before = box.db.row("select status, resolved_at, responded_at, acked_at from complaints where id = %s", c["id"])
    timers = box.db.row("select next_at, cycle, step_stopped from complaintd.timers where complaint_id = %s", c["id"])
    count = box.db.value("select count(*) from complaints")
    extra = [("Auto-Submitted", "auto-replied")] + ([("In-Reply-To", mail["Message-ID"])] if way == "reply" else [])
    raw = letters.mail("On holiday", "I am away until May.", sender=f"A <{sender}>", extra=extra)
    assert box.mail(raw, sender, [path_of(mail) if way == "path" else "care@example.com"])[0] == 250
    settle(box)
    classes = [m["class"] for m in box.db.rows("select class from messages where complaint_id = %s order by received_at", c["id"])]
    assert classes == (["person"] if way == "nothing" else ["person", "auto-reply"])
    assert box.db.row("select status, resolved_at, responded_at, acked_at from complaints where id = %s", c["id"]) == before
    assert box.db.row("select next_at, cycle, step_stopped from complaintd.timers where complaint_id = %s", c["id"]) == timers
    assert box.db.value("select count(*) from complaints") == count
    assert len(box.mails(sender)) == 1


def counted(box, address, n):
    """They are written down within seconds, whether other mail comes or not."""
    wait_for(lambda: box.db.value("select coalesce(max(round(answers)), 0) from addresses where address = %s", "mail:" + address) == n, 20, f"{n} answers are counted")


def test_the_budget_is_that_of_the_address_which_is_answered(make_box):
    """A form writes for all customers from one address, and many names may aim at one."""
    box = make_box(overlay={"loops": {"answers_per_address": 3}})

    def send(sender, reply_to):
        mark = letters.mark()
        raw = letters.mail("By form", f"Late {mark}", sender=f"Form <{sender}>", extra=[("Reply-To", reply_to)])
        assert box.mail(raw, sender)[0] == 250
        return box.complaint_of(mark)["decision"]["acknowledgement"]

    assert [send("form@shop.example", address()) for _ in range(5)] == ["pending"] * 5
    victim = address()
    said = [send(address(), victim.upper() if i == 1 else victim) for i in range(5)]
    assert said == ["pending"] * 3 + ["the address had its automatic answers for today"] * 2
    counted(box, victim, 3)
    assert send(victim, victim) == "pending", "who is new and writes himself has his own"
    assert send(victim, victim) == "the address had its automatic answers for today"
    box.advance("2d")
    assert send(address(), victim) == "pending"


def test_a_reverse_path_beside_a_desk_makes_no_machine_of_a_person(box):
    sender = address()
    c, _, mail = complain(box, sender)
    mark = letters.mark()
    raw = letters.mail("Another matter", f"The kettle burns {mark}", sender=f"A <{sender}>")
    assert box.mail(raw, sender, ["care@example.com", path_of(mail)])[0] == 250
    other = box.complaint_of(mark)
    assert other["id"] != c["id"] and other["decision"]["acknowledgement"] == "sent to a reverse-path of ours as well"
    # alone it is a machine's, whatever it looks like
    mark = letters.mark()
    assert box.mail(letters.mail("Hello", f"I am here {mark}", sender=f"A <{sender}>"), sender, [path_of(mail)])[0] == 250
    settle(box)
    row = box.db.row("select class, complaint_id from messages where strpos(body, %s) > 0", mark)
    assert row["class"] == "auto-reply" and row["complaint_id"] == c["id"]


def test_no_automatic_mail_to_an_address_that_came_back_until_it_writes(box):
    sender = address()
    _, _, mail = complain(box, sender)
    assert box.mail(dsn(sender), "", [path_of(mail)])[0] == 250
    settle(box)
    line = box.line("intake")
    told = line.ok("SUBMIT", text="The customer calls: the parcel is lost", customer={"email": sender}, channel="phone", key=secrets.token_hex(8))
    told = told[0] if isinstance(told, list) else told
    c = box.db.row("select * from complaints where ref = %s", told["ref"])
    ack = notes(box, c, "acknowledgement")[0]
    assert ack["state"] == "suppressed" and "came back" in ack["last_error"] and "came back" in c["decision"]["acknowledgement"]
    assert len(notes(box, c, "undeliverable")) == 3, "people are told at once"
    again, _, _ = complain(box, sender, "I write from there myself")
    assert again["acknowledged_at"]
    mark = box.db.row("select * from addresses where address = %s", "mail:" + sender)
    assert mark["state"] is None and mark["bounces"] == 1


def test_a_budget_of_answers_for_each_address(make_box):
    box = make_box(overlay={"loops": {"answers_per_address": 3}})
    sender = address()
    for i in range(7):
        raw = letters.mail(f"Late {i}", f"Parcel {i} is late {letters.mark()}", sender=f"A <{sender}>")
        assert box.mail(raw, sender)[0] == 250
        settle(box)
    rows = box.db.rows("select state, last_error from notifications where purpose = 'acknowledgement' order by created_at")
    # the first is a stranger's and costs nothing to count; then three
    assert [r["state"] == "suppressed" for r in rows] == [False] * 4 + [True] * 3
    assert "for today" in rows[-1]["last_error"] and box.db.value("select count(*) from complaints") == 7
    assert box.metrics()['complaintd_acknowledgements_withheld_total{reason="budget"}'] == 3
    counted(box, sender, 3)
    box.advance("9h")  # a day gives three: nine hours one
    for i in range(2):
        assert box.mail(letters.mail(f"Later {i}", f"Still nothing {letters.mark()}", sender=f"A <{sender}>"), sender)[0] == 250
        settle(box)
    rows = box.db.rows("select state from notifications where purpose = 'acknowledgement' order by created_at")
    assert [r["state"] == "suppressed" for r in rows[-2:]] == [False, True]


def test_hops_are_counted_and_end_a_loop(box):
    sender = address()
    _, _, mail = complain(box, sender, extra=[("X-Complaintd-Hops", "2")])
    assert mail["X-Complaintd-Hops"] == "3"
    mark = letters.mark()
    raw = letters.mail("Late", f"round and round {mark}", sender=f"A <{address()}>", extra=[("X-Complaintd-Hops", "3")])
    assert box.mail(raw, sender)[0] == 250
    c = box.complaint_of(mark)
    ack = notes(box, c, "acknowledgement")[0]
    assert ack["state"] == "suppressed" and "to and fro" in ack["last_error"]
    assert box.metrics()['complaintd_acknowledgements_withheld_total{reason="hops"}'] >= 1


def test_32_loops_end(box):
    """reliability 32: our own address, our own mail, too many Received, a report to us; none is answered, a genuine complaint is kept."""
    out = len(box.mails())
    own = letters.mail("Round", "ours again", sender="Care <care@example.com>", extra=[("X-Complaintd-Instance", "sandbox")])
    assert box.mail(own, "care@example.com")[0] == 250
    mark = letters.mark()
    assert box.mail(letters.mail("From our own address", f"I complain {mark}", sender="Care <care@example.com>"), "x@shop.example")[0] == 250
    c = box.complaint_of(mark)
    assert notes(box, c, "acknowledgement")[0]["state"] == "suppressed"
    looped = b"".join(b"Received: from a by b; Mon, 5 Jan 2026 10:00:00 +0000\r\n" for _ in range(60)) + letters.mail("Loop", "x")
    assert box.mail(looped)[0] == 554
    assert box.mail(dsn("nobody@shop.example"), "")[0] == 250
    settle(box)
    time.sleep(1.5)
    assert len([m for m in box.mails()[out:] if not str(m["To"]).endswith("@staff.example")]) == 0


STORM = 5000


def test_a_storm_of_bounces_causes_no_mail_and_one_alarm(make_box):
    box = make_box()
    sent = [complain(box, address()) for _ in range(4)]
    wait_for(lambda: box.db.value("select count(*) from notifications where state in ('pending', 'sending')") == 0, 30, "nothing on its way")
    out, complaints = len(box.mails()), box.db.value("select count(*) from complaints")
    texts, hooks = len(box.sent_sms()), len(box.webhooks())

    def batch(part):
        with smtplib.SMTP("127.0.0.1", box.smtp_port, timeout=120) as s:
            s.ehlo()
            for i in range(STORM // 4):
                _, ack, mail = sent[(part + i) % len(sent)]
                raw = dsn(ack["recipient"], returned=mail)
                to = [path_of(mail)] if i % 3 else ["care@example.com"]
                s.send(f"MAIL FROM:<>\r\nRCPT TO:<{to[0]}>\r\nDATA\r\n".encode())
                assert [s.getreply()[0] for _ in range(3)] == [250, 250, 354]
                s.send(raw + b".\r\n")
                assert s.getreply()[0] == 250

    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        list(pool.map(batch, range(4)))
    settle(box)
    assert box.db.value("select count(*) from messages where class = 'bounce'") == STORM, "all are stored"
    assert box.db.value("select count(*) from complaints") == complaints
    assert all(notes(box, c, "acknowledgement")[0]["state"] == "failed" for c, _, _ in sent)
    wait_for(lambda: box.metric("complaintd_storm") == 1 and box.metric("complaintd_storms_total") == 1, 30, "the alarm")
    box.advance("3min")  # what was not kept back would be due by now
    wait_for(lambda: not box.db.value("select count(*) from notifications where purpose = 'undeliverable' and state <> 'suppressed'"), 30)
    time.sleep(2)
    told = [n for c, _, _ in sent for n in notes(box, c, "undeliverable")]
    assert len(told) == 3 * len(sent) and all("kept back" in n["last_error"] for n in told)
    assert (len(box.mails()), len(box.sent_sms()), len(box.webhooks())) == (out, texts, hooks), "no mail, no text, no webhook"
    assert len(re.findall(r"event=loops\.storm |loops\.storm ", box.log())) == 1
    # it ends by itself, and then one that comes back is told again
    box.advance("20min")
    wait_for(lambda: box.metric("complaintd_storm") == 0, 30, "the end of the storm")
    assert len(re.findall(r"loops\.storm-over", box.log())) == 1
    c, ack, mail = complain(box, address())
    assert box.mail(dsn(ack["recipient"]), "", [path_of(mail)])[0] == 250
    settle(box)
    box.advance("3min")
    wait_for(lambda: [n for n in notes(box, c, "undeliverable") if n["state"] == "sent"], 30, "the task")


RESPONDERS = {
    # answers whatever it gets, to the reverse-path, and says of itself nothing
    "naive": "formail -r -A 'From: {me}' | sed '$a I am on holiday.'",
    # the same without a word of what it answers
    "forgetful": "formail -r -I 'In-Reply-To:' -I 'References:' -I 'Subject: Holiday' -A 'From: {me}' | sed '$a I am on holiday, call my office.'",
    # as RFC 3834 asks for
    "polite": "formail -r -A 'From: {me}' -A 'Auto-Submitted: auto-replied' | sed '$a I am on holiday.'",
}


class Responders:
    """Postfix with procmail's formail behind pipe(8) for each address of its own, and our server for example.com."""

    def __init__(self, targets, folder, box):
        users = {f"{name}@away.example": text for name, text in RESPONDERS.items()}

        class Away(targets.Postfix):
            def run(self, verb):
                if verb == "start":
                    self.settle()
                super().run(verb)

            def settle(self):
                script = os.path.join(self.conf, "answer")
                cases = "\n".join(f'{u}) {t.format(me=u)} ;;' for u, t in users.items())
                with open(script, "w", encoding="utf-8") as f:
                    f.write(f'#!/bin/sh\ncase "$2" in\n{cases}\nesac | msmtp --host=127.0.0.1 --port={self.port} --from="" -t\n')
                os.chmod(script, 0o755)
                with open(os.path.join(self.conf, "main.cf"), "a", encoding="utf-8") as f:
                    f.write(f"relay_domains = example.com, away.example\ntransport_maps = texthash:{self.conf}/transport\n")
                    f.write("smtp_dns_support_level = disabled\nsmtp_tls_security_level = none\n")
                with open(os.path.join(self.conf, "transport"), "w", encoding="utf-8") as f:
                    f.write(f"example.com smtp:[127.0.0.1]:{box.smtp_port}\naway.example away:\n")
                with open(os.path.join(self.conf, "master.cf"), "a", encoding="utf-8") as f:
                    f.write("smtp unix - - n - - smtp\n")
                    f.write(f"away unix - n n - - pipe\n  flags=R user=nobody argv={script} ${{sender}} ${{recipient}}\n")

        for i in range(3):  # its port is free when it is chosen, and may be taken by the time it starts
            try:
                self.postfix = Away(f"{folder}{i}")
                return
            except targets.Wrong:
                if i == 2:
                    raise

    def close(self):
        self.postfix.close()


def test_a_loop_with_an_auto_responder_ends_after_one_answer(make_box, open_folder):
    import targets

    missing = [p for p in ("/usr/bin/formail", "/usr/bin/msmtp") if not os.access(p, os.X_OK)]
    if not targets.Postfix.there() or missing:
        pytest.skip(f"Postfix, formail and msmtp are not all installed ({missing}), or this is not root")
    box = make_box()
    away = Responders(targets, os.path.join(open_folder, "postfix"), box)
    carried = 0
    try:
        for name in RESPONDERS:
            who = f"{name}@away.example"
            mark = letters.mark()
            with smtplib.SMTP("127.0.0.1", away.postfix.port) as s:
                s.sendmail(who, ["care@example.com"], letters.mail(f"Late {mark}", f"nothing came {mark}", sender=f"A <{who}>"))
            wait_for(lambda m=mark: box.db.value("select count(*) from complaints where strpos(subject, %s) > 0", m) == 1, 30, "the complaint")
            # what our relay took goes on to Postfix as it is, until nothing moves any more: its answer is there, and nothing for a while
            quiet, latest, answers = time.monotonic() + 8, time.monotonic() + 90, "select count(*) from messages where sender = %s"
            while time.monotonic() < quiet or (box.db.value(answers, who) < 2 and time.monotonic() < latest):
                for m in box.mails(who)[carried:]:
                    carried += 1
                    quiet = time.monotonic() + 8
                    with smtplib.SMTP("127.0.0.1", away.postfix.port) as s:
                        sender = path_of(m)
                        del m["Return-Path"], m["Delivered-To"]
                        s.sendmail(sender, [who], m.as_bytes())
                time.sleep(0.3)
            carried = 0
            assert len(box.mails(who)) == 1, f"{name}: one answer"
            got = box.db.rows("select class, complaint_id from messages where sender = %s order by received_at", who)
            assert [m["class"] for m in got] == ["person", "auto-reply"], f"{name}: its answer came, and is known for what it is"
            assert got[0]["complaint_id"] == got[1]["complaint_id"]
    finally:
        away.close()
    assert box.db.value("select count(*) from complaints") == len(RESPONDERS)


def test_two_instances_raise_one_alarm(make_box):
    from test_instances import second

    box = make_box(overlay={"loops": {"storm_mails": 20}})
    box.killed = True  # half of the receipts were counted by the other daemon
    c, ack, mail = complain(box, address())
    with second(box) as other:

        def send(i):
            with smtplib.SMTP("127.0.0.1", (box.smtp_port, other.mail)[i % 2], timeout=60) as s:
                s.sendmail("", [path_of(mail)], dsn(ack["recipient"], returned=mail))

        with concurrent.futures.ThreadPoolExecutor(8) as pool:
            list(pool.map(send, range(120)))
        settle(box)
        wait_for(lambda: box.metric("complaintd_storm") == 1, 30, "the storm is known here")
        time.sleep(12)  # and both have asked since
        assert box.db.value("select opened from complaintd.breakers") == 1
        assert box.db.value("select count(*) from messages where class = 'bounce' and complaint_id = %s", c["id"]) == 120
        assert len(notes(box, c, "undeliverable")) == 3, "one task for each way of the team, whoever stored the bounce"
    with open(box.path("second.log"), encoding="utf-8") as f:
        logs = box.log() + f.read()
    assert len(re.findall(r"loops\.storm ", logs)) == 1
