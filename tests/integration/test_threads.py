"""Replies find their complaint by thread keys, from a participant only; order of arrival does not matter."""
import secrets

import letters
from model import wait_for


def send(box, mark, sender, message_id=None, extra=(), subject="A matter"):
    raw = letters.mail(subject, f"text {mark}", sender=f"Someone <{sender}>", message_id=message_id, extra=extra)
    assert box.mail(raw, sender)[0] == 250


def message_of(box, mark):
    wait_for(lambda: box.db.value("select count(*) from pending") == 0)
    return box.db.row(
        "select m.*, r.outcome from messages m join receipts r on r.id = m.id where m.direction = 'in' and strpos(m.body, %s) > 0",
        mark,
    )


def ids():
    return (
        f"{secrets.token_hex(8)}@shop.example",
        f"{secrets.token_hex(8)}@shop.example",
        f"c{secrets.token_hex(5)}@shop.example",
    )


def test_a_reply_by_its_sender_joins(box):
    first, second, sender = ids()
    one, two = letters.mark(), letters.mark()
    send(box, one, sender, first)
    send(box, two, sender, second, [("In-Reply-To", f"<{first}>"), ("References", f"<{first}>")], "Re: A matter")
    assert message_of(box, two)["complaint_id"] == message_of(box, one)["complaint_id"]
    assert message_of(box, two)["outcome"] == "follow-up"
    wait_for(lambda: box.mails(sender), 30)
    assert len(box.mails(sender)) == 1, "one complaint, one acknowledgement"


def test_a_reply_to_our_acknowledgement_joins(box):
    first, second, sender = ids()
    one, two = letters.mark(), letters.mark()
    send(box, one, sender, first)
    wait_for(lambda: box.mails(sender), 30, "acknowledgement")
    ours = box.mails(sender)[0]["Message-ID"].strip()
    send(box, two, sender, second, [("In-Reply-To", ours), ("References", f"<{first}> {ours}")], "Re: A matter")
    assert message_of(box, two)["complaint_id"] == message_of(box, one)["complaint_id"]


def test_a_reply_that_comes_first_is_found_by_its_original(box):
    first, second, sender = ids()
    one, two = letters.mark(), letters.mark()
    send(box, two, sender, second, [("In-Reply-To", f"<{first}>")], "Re: A matter")
    send(box, one, sender, first)
    assert message_of(box, one)["complaint_id"] == message_of(box, two)["complaint_id"]


def test_a_stranger_joins_nothing(box):
    first, second, sender = ids()
    one, two, three = letters.mark(), letters.mark(), letters.mark()
    send(box, one, sender, first)
    ref = box.complaint_of(one)["ref"]
    stranger = f"s{secrets.token_hex(5)}@elsewhere.example"
    send(box, two, stranger, second, [("In-Reply-To", f"<{first}>")], "Re: A matter")
    send(box, three, stranger, None, [], f"About {ref}")
    places = {message_of(box, m)["complaint_id"] for m in (one, two, three)}
    assert message_of(box, one)["complaint_id"] not in {message_of(box, m)["complaint_id"] for m in (two, three)}
    assert len(places) >= 2


def test_a_participant_who_writes_the_reference_joins(box):
    first, _, sender = ids()
    one, two = letters.mark(), letters.mark()
    send(box, one, sender, first)
    ref = box.complaint_of(one)["ref"]
    send(box, two, sender, None, [], f"Still waiting, my reference is {ref.lower()}")
    assert message_of(box, two)["complaint_id"] == message_of(box, one)["complaint_id"]


def test_a_mail_between_two_complaints_links_them(box):
    """The third mail of a thread, then the first, from a program that writes no References: only the second says that they are one."""
    first, second, sender = ids()
    one, two, three = letters.mark(), letters.mark(), letters.mark()
    send(box, three, sender, None, [("In-Reply-To", f"<{second}>")], "Re: A matter")
    send(box, one, sender, first)
    places = [message_of(box, m)["complaint_id"] for m in (one, three)]
    assert places[0] != places[1]
    send(box, two, sender, second, [("In-Reply-To", f"<{first}>")], "Re: A matter")
    joined = message_of(box, two)["complaint_id"]
    assert joined in places
    refs = {str(c["id"]): c["ref"] for c in box.db.rows("select id, ref from complaints where id in (%s, %s)", *places)}
    with box.line("admin") as line:
        for here, there in (places, places[::-1]):
            assert {"ref": refs[str(there)], "kind": "same-thread"} in line.ok("SHOW", ref=refs[str(here)])["links"]
        # a second mail that says the same changes nothing
        send(box, letters.mark(), sender, None, [("References", f"<{first}> <{second}>")], "Re: A matter")
        line.ok("MERGE", ref=refs[str(places[1])], into=refs[str(places[0])])
    assert message_of(box, three)["complaint_id"] == places[0]


def test_more_complaints_than_are_compared(box):
    """A digest of eleven matters: it joins one of them, and what was left out is counted."""
    sender, marks = ids()[2], [letters.mark() for _ in range(11)]
    for m in marks:
        send(box, m, sender, f"{m}@shop.example")
    places = {message_of(box, m)["complaint_id"] for m in marks}
    assert len(places) == 11
    before, last = box.metric("complaintd_thread_candidates_dropped_total"), letters.mark()
    send(box, last, sender, None, [("References", " ".join(f"<{m}@shop.example>" for m in marks))], "Re: all of them")
    assert message_of(box, last)["complaint_id"] in places
    assert box.metric("complaintd_thread_candidates_dropped_total") == before + 3


def test_who_takes_part_is_asked_once_a_complaint(make_box):
    """However many of a mail's references lead to it: it may have thousands of messages."""
    box = make_box()
    sender, one, two = ids()[2], letters.mark(), letters.mark()
    references = " ".join(f"<{secrets.token_hex(6)}@shop.example>" for _ in range(40))
    send(box, one, sender, None, [("References", references)])
    message_of(box, one)  # triaged
    assert box.db.value("select count(*) from thread_keys") == 41
    box.db.execute("create sequence public.asked")
    made = box.db.value("select pg_get_functiondef('complaintd.thread_state'::regproc)")
    box.db.execute(made.replace("begin", "begin perform nextval('public.asked');", 1).replace(" STABLE", " VOLATILE", 1))
    send(box, two, sender, None, [("References", references)])
    assert message_of(box, two)["complaint_id"] == message_of(box, one)["complaint_id"]
    assert box.db.value("select last_value from public.asked") == 1
    box.db.execute(made)
