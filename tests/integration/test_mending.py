"""MERGE and SPLIT: what was put together or apart by mistake is mended, and every reference goes on leading to its matter."""
import threading

import clients
import letters
from model import settle, wait_for
from test_drift import reply_to
from test_threads import ids, message_of, send
from test_tokens import new, reply, stranger


def ask(box, verb, **args):
    with box.line("admin") as line:
        word, body, _ = line.request(verb, **args)
    return body if word == "OK" else body["code"]


def messages(box, ref):
    return [m["id"] for m in ask(box, "SHOW", ref=ref)["messages"]]


def complaint(box, ident):
    return box.db.row("select * from complaints where id = %s", ident)


def kinds(box, ident):
    return [e["kind"] for e in box.db.rows("select kind from events where complaint_id = %s order by seq", ident)]


def test_merge_and_what_follows(make_box):
    box = make_box()
    a, mark_a, sender_a, ack_a = new(box, "Broken kettle")
    b, mark_b, sender_b, ack_b = new(box, "The kettle leaks")
    more = reply(box, sender_a, str(ack_a["Reply-To"]))
    done = ask(box, "MERGE", ref=a["ref"], into=b["ref"])
    assert (done["ref"], done["into"], done["status"], done["outcome"], done["messages"]) == (a["ref"], b["ref"], "closed", "duplicate", 2)
    row = complaint(box, a["id"])
    assert (row["status"], row["outcome"], row["merged_into"], row["duplicate_of"]) == ("closed", "duplicate", b["id"], b["id"])
    assert kinds(box, a["id"])[-1] == "merged-into" and kinds(box, b["id"])[-1] == "merged"
    # the old reference shows the other complaint, for ever
    shown = ask(box, "SHOW", ref=a["ref"].lower())
    assert shown["ref"] == b["ref"] and {m["id"] for m in shown["messages"]} == {str(a["id"]), str(b["id"]), str(more["id"])}
    assert {"ref": a["ref"], "kind": "merged"} in shown["links"]
    assert len([n for n in shown["notifications"] if n["purpose"] == "acknowledgement"]) == 2
    # new mail to either thread goes to it: by token, by thread key, by reference
    for sender, to, extra, subject in (
        (stranger(), str(ack_a["Reply-To"]), (), "Re: x"),
        (sender_a, "care@example.com", reply_to(f"{mark_a}@shop.example"), "Re: x"),
        (sender_a, "care@example.com", (), f"About {a['ref']}"),
        (sender_b, "care@example.com", reply_to(f"{mark_b}@shop.example"), "Re: x"),
        (stranger(), "care@example.com", [("In-Reply-To", ack_a["Message-ID"].strip())], "Re: x"),
    ):
        assert reply(box, sender, to, subject, extra)["complaint_id"] == b["id"], (to, extra, subject)
    assert reply(box, stranger(), "care@example.com", extra=reply_to(f"{mark_a}@shop.example"))["complaint_id"] != b["id"]
    # actions by the old reference are actions on the other
    assert ask(box, "ACK", ref=a["ref"])["ref"] == b["ref"]
    # its clocks stand
    assert not box.db.rows("select 1 from steps where complaint_id = %s and stopped_at is null and fired_at is null", a["id"])
    before = box.db.value("select count(*) from notifications where complaint_id = %s", a["id"])
    box.advance("20d")
    assert box.db.value("select count(*) from notifications where complaint_id = %s", a["id"]) == before
    # the same mail again is answered as it was, and adds its desk where the matter is
    raw = letters.mail("Broken kettle", f"text {mark_a}", sender=f"C <{sender_a}>", message_id=f"{mark_a}@shop.example")
    assert box.mail(raw, sender_a)[0] == 250


def test_what_cannot_be_merged(box):
    a, b, c = new(box)[0]["ref"], new(box)[0]["ref"], new(box)[0]["ref"]
    assert ask(box, "MERGE", ref=a, into=a) == "conflict"
    assert ask(box, "MERGE", ref=a, into="C-0000-0000-0012") == "not-found"
    assert ask(box, "MERGE", ref=a, into=b)["into"] == b
    assert ask(box, "MERGE", ref=b, into=a) == "conflict", "a circle"
    assert ask(box, "MERGE", ref=a, into=b) == "conflict", "twice"
    assert ask(box, "MERGE", ref=b, into=c)["messages"] == 2  # a chain ends in one step
    assert {ask(box, "SHOW", ref=r)["ref"] for r in (a, b, c)} == {c}
    assert f"asked for        {a}, which was merged" in box.ctl("show", a).stdout and "asked for" not in box.ctl("show", c).stdout
    assert ask(box, "MERGE", ref=c, into=a) == "conflict"
    assert box.db.value("select count(*) from complaintd.ref_aliases r join complaints x on x.id = r.complaint_id where r.ref in (%s, %s)"
                        " and x.ref = %s", a, b, c) == 2
    with box.line("intake") as line:
        assert line.request("MERGE", ref=a, into=b)[1]["code"] == "forbidden"


def test_split_undoes_merge(make_box):
    box = make_box()
    a, mark_a, sender_a, ack_a = new(box, "Broken kettle")
    b, _, _, ack_b = new(box, "Rude driver")
    c = new(box, "Lost parcel")
    more = reply(box, sender_a, str(ack_a["Reply-To"]))
    ask(box, "MERGE", ref=a["ref"], into=b["ref"])
    since = reply(box, sender_a, str(ack_a["Reply-To"]))
    ask(box, "MERGE", ref=b["ref"], into=c[0]["ref"])
    done = ask(box, "SPLIT", ref=c[0]["ref"], message=str(a["id"]))
    assert (done["ref"], done["from"], done["status"], done["messages"]) == (a["ref"], c[0]["ref"], "open", 2)
    assert set(messages(box, a["ref"])) == {str(a["id"]), str(more["id"])}
    assert set(messages(box, b["ref"])) == {str(x) for x in (b["id"], c[0]["id"], since["id"])}
    row = complaint(box, a["id"])
    assert (row["status"], row["outcome"], row["merged_into"], row["closed_at"]) == ("open", None, None, None)
    assert reply(box, stranger(), str(ack_a["Reply-To"]))["complaint_id"] == a["id"]
    assert reply(box, stranger(), str(ack_b["Reply-To"]))["complaint_id"] == c[0]["id"]
    assert box.db.value("select count(*) from notifications where complaint_id = %s and purpose = 'acknowledgement'", a["id"]) == 1
    box.advance("20d")
    assert complaint(box, a["id"])["escalation_level"] > 1, "its clocks run again"


def test_split_a_message_off(make_box):
    box = make_box()
    first, second, sender = ids()
    one, two, three, four, five = (letters.mark() for _ in range(5))
    send(box, one, sender, first, (), "Broken kettle")
    old = box.complaint_of(one)
    send(box, two, sender, second, reply_to(first), "Rude driver")
    send(box, three, sender, None, reply_to(second), "Re: Rude driver")
    settle(box.db)
    mails = len(box.mails(sender))
    off = message_of(box, two)
    done = ask(box, "SPLIT", ref=old["ref"], message=str(off["id"]), category="service-attitude", team="service")
    assert (done["from"], done["status"], done["messages"], done["team"], done["category"]) == (old["ref"], "new", 1, "service", "service-attitude")
    apart = complaint(box, off["id"])
    assert apart["ref"] == done["ref"] and apart["subject"] == "Rude driver" and apart["customer_email"] == sender
    assert apart["received_at"] == off["received_at"] and apart["customer_id"] == old["customer_id"]
    assert message_of(box, three)["complaint_id"] == old["id"], "what came later stays unless it is asked for"
    assert box.db.value("select complaint_id from receipts where id = %s", off["id"]) == off["id"]
    # told to the customer, with a reference of its own; timed as the other
    settle(box.db)
    wait_for(lambda: len(box.mails(sender)) == mails + 1, 30, "the acknowledgement")
    assert done["ref"] in str(box.mails(sender)[-1]["Subject"])
    kinds_of = "select array_agg(kind || ' ' || (due_at - %s)::text order by kind) from deadlines where complaint_id = %s"
    assert box.db.value(kinds_of, old["received_at"], old["id"]) == box.db.value(kinds_of, apart["received_at"], apart["id"])
    assert kinds(box, apart["id"])[:2] == ["received", "split-from"] and "split" in kinds(box, old["id"])
    assert {"ref": old["ref"], "kind": "split-from"} in ask(box, "SHOW", ref=done["ref"])["links"]
    # answers to it follow it; answers to the others do not
    send(box, four, sender, None, reply_to(second), "Re: Rude driver")
    send(box, five, sender, None, reply_to(first), "Re: Broken kettle")
    assert message_of(box, four)["complaint_id"] == apart["id"] and message_of(box, five)["complaint_id"] == old["id"]
    # merged back, it is as before but for its history
    ask(box, "MERGE", ref=done["ref"], into=old["ref"])
    assert len(messages(box, old["ref"])) == 5
    box.advance("20d")


def test_split_with_what_followed(box):
    first, second, sender = ids()
    marks = [letters.mark() for _ in range(4)]
    send(box, marks[0], sender, first, (), "Broken kettle")
    for m in marks[1:]:
        send(box, m, sender, None, reply_to(first), "Re: Broken kettle")
    old = box.complaint_of(marks[0])
    off = message_of(box, marks[2])
    done = ask(box, "SPLIT", ref=old["ref"], message=str(off["id"]), later=True)
    assert done["messages"] == 2
    assert message_of(box, marks[3])["complaint_id"] == off["id"] and message_of(box, marks[1])["complaint_id"] == old["id"]


def test_both_by_complaintctl(box):
    a, b = new(box)[0], new(box)[0]
    merged = box.ctl("merge", a["ref"], b["ref"])
    assert merged.returncode == 0 and "duplicate" in merged.stdout
    shown = box.ctl("show", a["ref"]).stdout
    assert b["ref"] in shown and str(a["id"]) in shown, "the message's id, for split"
    assert box.ctl("merge", a["ref"], b["ref"], check=False).returncode == 1
    split = box.ctl("split", b["ref"], str(a["id"]), "--later")
    assert split.returncode == 0 and a["ref"] in split.stdout
    assert box.db.value("select status from complaints where id = %s", a["id"]) == "open"


def test_what_cannot_be_split(box):
    first, _, sender = ids()
    one, two = letters.mark(), letters.mark()
    send(box, one, sender, first)
    c, other = box.complaint_of(one), new(box)[0]
    assert ask(box, "SPLIT", ref=c["ref"], message=str(c["id"])) == "conflict", "the message that opened it"
    assert ask(box, "SPLIT", ref=c["ref"], message=str(other["id"])) == "not-found", "another complaint's"
    assert ask(box, "SPLIT", ref=c["ref"], message="00000000-0000-7000-8000-000000000000") == "not-found"
    assert ask(box, "SPLIT", ref=c["ref"], message="x") == "bad-argument"
    send(box, two, "robot@shop.example", None, [*reply_to(first), ("Auto-Submitted", "auto-replied")], "Automatic reply")
    machine = message_of(box, two)
    assert machine["complaint_id"] == c["id"]
    assert ask(box, "SPLIT", ref=c["ref"], message=str(machine["id"])) == "conflict", "nobody wrote it"


def test_a_message_that_must_not_be_answered_is_split_off_in_silence(box):
    first, _, sender = ids()
    one, two = letters.mark(), letters.mark()
    send(box, one, sender, first)
    c = box.complaint_of(one)
    send(box, two, "billing@staff.example", None, reply_to(first), "A matter of our own")
    done = ask(box, "SPLIT", ref=c["ref"], message=str(message_of(box, two)["id"]))
    row = box.db.row("select n.state, n.last_error from notifications n where n.complaint_id = %s and purpose = 'acknowledgement'", done["id"])
    assert row["state"] == "suppressed" and "team" in row["last_error"]


def test_notifications_of_a_merged_complaint(make_box):
    """What waits for our people is not sent any more; what the customer is owed is."""
    box = make_box()
    box.inject(mail="451 4.3.0 later", sms=503, webhook=503)
    marks, refs = [letters.mark(), letters.mark()], []
    for m in marks:
        send(box, m, f"{m}@shop.example")
        refs.append(box.complaint_of(m)["ref"])
    waiting = "select purpose, state, transport from notifications where complaint_id = (select id from complaints where ref = %s)"
    wait_for(lambda: box.db.rows(waiting + " and attempts > 0", refs[0]), 30)
    settle_once(box)
    ask(box, "MERGE", ref=refs[0], into=refs[1])
    rows = box.db.rows(waiting, refs[0])
    assert {r["state"] for r in rows if r["purpose"] != "acknowledgement"} <= {"suppressed", "sent", "sending"}
    box.inject()
    box.advance("1h")
    wait_for(lambda: box.mails(f"{marks[0]}@shop.example"), 60, "the acknowledgement")
    assert refs[0] in str(box.mails(f"{marks[0]}@shop.example")[0]["Subject"])


def settle_once(box):
    wait_for(lambda: box.db.value("select count(*) from notifications where state = 'sending'") == 0, 30)


def test_merge_and_split_against_replies_under_way(make_box):
    """Replies to both complaints while they are merged, split and merged the other way round: each is stored once, with one that stands."""
    box = make_box()
    pairs = [(new(box, "Broken kettle"), new(box, "Rude driver")) for _ in range(3)]
    marks, faults, stop = [], [], threading.Event()

    def replies(i):
        n = 0
        while not stop.is_set() or n < 10:
            c, mark, sender, ack = pairs[n % len(pairs)][i % 2]
            m, n = letters.mark(), n + 1
            extra = reply_to(f"{mark}@shop.example") if n % 2 else ()
            to = "care@example.com" if n % 2 else str(ack["Reply-To"])
            raw = letters.mail(f"Re: {n}", f"text {m}", sender=f"C <{sender}>", to=to, extra=extra)
            if clients.send_mail(box.smtp_port, raw, sender, (to,))[0] == 250:
                marks.append(m)
            else:
                faults.append("a mail was refused")

    def mend(pair):
        a, b = pair[0][0], pair[1][0]
        for _ in range(8):
            for verb, args in (("MERGE", {"ref": a["ref"], "into": b["ref"]}), ("SPLIT", {"ref": b["ref"], "message": str(a["id"]), "later": True}),
                               ("MERGE", {"ref": b["ref"], "into": a["ref"]}), ("SPLIT", {"ref": a["ref"], "message": str(b["id"])})):
                while (answer := ask(box, verb, **args)) == "busy":
                    pass
                if not isinstance(answer, dict):
                    faults.append(f"{verb} {args}: {answer}")

    writers = [threading.Thread(target=replies, args=(i,)) for i in range(4)]
    menders = [threading.Thread(target=mend, args=(p,)) for p in pairs]
    for t in writers + menders:
        t.start()
    for t in menders:
        t.join()
    stop.set()
    for t in writers:
        t.join()
    settle(box.db, 60)
    assert not faults, faults[:5]
    ours = {c[0]["id"] for p in pairs for c in p}
    found = box.db.rows("select complaint_id, substring(body from 'mark-[0-9a-f]+') as mark from messages where body ~ 'mark-'")
    assert len(found) == len(marks) + 6 and {r["complaint_id"] for r in found} <= ours, "each once, none in a complaint of its own"
    log = box.log()
    assert "sqlstate=40P01" not in log, "they lock in one order"


def test_two_who_merge_each_into_the_other(make_box):
    box = make_box()
    for _ in range(6):
        a, b = new(box)[0], new(box)[0]
        answers = []
        who = [threading.Thread(target=lambda r=r, i=i: answers.append(ask(box, "MERGE", ref=r, into=i)))
               for r, i in ((a["ref"], b["ref"]), (b["ref"], a["ref"]))]
        for t in who:
            t.start()
        for t in who:
            t.join()
        assert sorted(x if isinstance(x, str) else "done" for x in answers) in (["conflict", "done"], ["busy", "done"]), answers
