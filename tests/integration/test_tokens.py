"""Tokens in what goes out bring the answers back: from any address, after a rotation of keys, never when they are forged."""
import re
import secrets

import clients
import letters
from model import settle, wait_for
from test_reload import configuration, reload
from test_threads import message_of

TOKEN = r"c[0-9a-z]{29}"


def new(box, subject="A matter", sender=None):
    """A complaint, and its acknowledgement as its customer has it."""
    sender = sender or f"c{secrets.token_hex(5)}@shop.example"
    mark = letters.mark()
    assert box.mail(letters.mail(subject, f"text {mark}", sender=f"C <{sender}>", message_id=f"{mark}@shop.example"), sender)[0] == 250
    wait_for(lambda: box.mails(sender), 30, "the acknowledgement")
    return box.complaint_of(mark), mark, sender, box.mails(sender)[-1]


def reply(box, sender, to, subject="Re: something", extra=()):
    mark = letters.mark()
    raw = letters.mail(subject, f"text {mark}", sender=f"R <{sender}>", to=to, extra=extra)
    assert box.mail(raw, sender, (to,))[0] == 250
    return message_of(box, mark)


def stranger():
    return f"s{secrets.token_hex(5)}@elsewhere.example"


def why(box, complaint, message):
    with box.line("admin") as line:
        said = line.ok("EXPLAIN", ref=complaint["ref"])
    return next(m["thread"] for m in said["messages"] if m["message"] == str(message["id"]))


def test_the_round_trip(box):
    c, mark, sender, ack = new(box)
    answer_to = str(ack["Reply-To"])
    assert re.fullmatch(rf"care\+{TOKEN}@example\.com", answer_to), answer_to
    assert re.fullmatch(rf"<ack\.{c['id']}\.{TOKEN}@complaints\.example\.com>", ack["Message-ID"].strip())
    assert ack["In-Reply-To"].strip() == ack["References"].strip() == f"<{mark}@shop.example>"
    joined = reply(box, sender, answer_to.upper())  # systems on the way may change the case
    assert (joined["complaint_id"], joined["outcome"]) == (c["id"], "follow-up")
    [said] = why(box, c, joined)
    assert (said["evidence"], said["score"], said["verdict"], said["ref"]) == ("token-in-address", 100, "joined", c["ref"])
    assert "sender" not in said


def test_whoever_has_the_token_joins_and_is_known_for_a_stranger(box):
    c, _, _, ack = new(box)
    before = box.metric("complaintd_thread_strangers_total")
    by_address = reply(box, stranger(), str(ack["Reply-To"]))
    by_id = reply(box, stranger(), "care@example.com", extra=[("References", f"<x@y.example> {ack['Message-ID'].strip()}")])
    for message, evidence in ((by_address, "token-in-address"), (by_id, "token-in-message-id")):
        assert message["complaint_id"] == c["id"]
        [said] = why(box, c, message)
        assert (said["evidence"], said["sender"]) == (evidence, "unknown")
    assert box.metric("complaintd_thread_strangers_total") == before + 2
    settle(box.db)
    assert not box.mails(by_address["sender"]), "who joins is told nothing"
    text, data = c["id"], box.db.value("select string_agg(data::text, ' ') from events where complaint_id = %s", c["id"])
    assert by_address["sender"] not in data and by_id["sender"] not in data, f"personal data in the events of {text}"


def test_a_forged_token_counts_for_nothing(box):
    c, _, _, ack = new(box)
    token = re.search(TOKEN, str(ack["Reply-To"]))[0]
    before = box.metric("complaintd_thread_tokens_false_total")
    forged = token[:-1] + ("0" if token[-1] != "0" else "1")
    other_key = token[0] + "z" + token[2:]
    for i, (to, extra) in enumerate(((f"care+{forged}@example.com", ()), (f"care+{other_key}@example.com", ()),
                                     ("care@example.com", [("In-Reply-To", f"<ack.{secrets.token_hex(4)}.{forged}@complaints.example.com>")]))):
        message = reply(box, stranger(), to, extra=extra)
        assert message["complaint_id"] == message["id"] and message["outcome"] == "new", to
        assert box.metric("complaintd_thread_tokens_false_total") == before + i + 1
    thread = box.db.value("select decision -> 'thread' from complaints where id = %s", message["id"])
    assert thread == [{"evidence": "token-in-message-id", "verdict": "no key of ours signed it"}]


def test_more_tokens_than_are_looked_at(box):
    """A flood of them costs a bounded number of signatures, and hides none that stands in front."""
    c, _, _, ack = new(box)
    token = re.search(TOKEN, str(ack["Reply-To"]))[0]
    forged = token[:-1] + ("0" if token[-1] != "0" else "1")
    before = box.metric("complaintd_thread_tokens_skipped_total")
    ids = " ".join(f"<{i}.{forged}.{forged}@x.example>" for i in range(60))
    message = reply(box, stranger(), str(ack["Reply-To"]), extra=[("References", ids)])
    assert message["complaint_id"] == c["id"]
    assert box.metric("complaintd_thread_tokens_skipped_total") == before + 1


def test_our_ids_without_a_token_are_still_known(box):
    c, _, sender, _ = new(box)
    old = [("In-Reply-To", f"<ack.{c['id']}@complaints.example.com>")]
    assert reply(box, sender, "care@example.com", extra=old)["complaint_id"] == c["id"]
    assert reply(box, stranger(), "care@example.com", extra=old)["complaint_id"] != c["id"]


def test_what_staff_get_is_one_thread_and_their_answers_are_attached(make_box):
    box = make_box()
    c, _, sender, _ = new(box)
    wait_for(lambda: box.mails("general@staff.example"), 30, "the team's mail")
    box.advance("10d")
    settle(box.db)
    mails = box.mails("general@staff.example") + box.mails("supervisor@staff.example")
    assert len(mails) >= 2
    root = f"<case.{c['id']}@complaints.example.com>"
    assert {m["References"].strip() for m in mails} == {m["In-Reply-To"].strip() for m in mails} == {root}
    assert len({m["Message-ID"] for m in mails}) == len(mails)
    assert all(re.fullmatch(rf"care\+{TOKEN}@example\.com", str(m["Reply-To"])) for m in mails)
    # by the reply address, by the Message-ID alone, by the name of the complaint alone
    for to, extra in ((str(mails[0]["Reply-To"]), ()), ("care@example.com", [("In-Reply-To", mails[0]["Message-ID"].strip())]),
                      ("care@example.com", [("References", root)])):
        message = reply(box, "general@staff.example", to, "Re: I look after it", extra)
        assert (message["complaint_id"], message["outcome"]) == (c["id"], "follow-up")
        event = box.db.row("select kind, actor from events where complaint_id = %s and id = %s", c["id"], message["id"])
        assert event == {"kind": "message-attached", "actor": "staff"}
    assert box.db.value("select status from complaints where id = %s", c["id"]) == "new"


def with_keys(box, *ids):
    c = configuration(box)
    c["threads"] = {"keys": [{"id": i, "secret": f"a secret of sixteen bytes and more: {i}"} for i in ids]}
    reload(box, c)


def test_keys_are_rotated_by_a_reload(make_box):
    box = make_box()
    first = new(box)
    assert re.search(TOKEN, str(first[3]["Reply-To"]))[0][1] == "0", "the database's own key"
    with_keys(box, "a")
    second = new(box)
    with_keys(box, "b", "a")
    third = new(box)
    keys = [re.search(TOKEN, str(x[3]["Reply-To"]))[0][1] for x in (first, second, third)]
    assert keys == ["0", "a", "b"]
    for c, _, _, ack in (first, second, third):
        assert reply(box, stranger(), str(ack["Reply-To"]))["complaint_id"] == c["id"]
        assert reply(box, stranger(), "care@example.com", extra=[("In-Reply-To", ack["Message-ID"].strip())])["complaint_id"] == c["id"]
    with_keys(box, "b")  # the one that was taken out proves nothing any more
    assert reply(box, stranger(), str(second[3]["Reply-To"]))["complaint_id"] != second[0]["id"]
    assert reply(box, stranger(), str(third[3]["Reply-To"]))["complaint_id"] == third[0]["id"]


def test_a_mail_tried_again_is_the_same_after_a_rotation(make_box):
    """What was tried once may have arrived, for all we know: it goes out again under the Message-ID of the first time."""
    box = make_box()
    with_keys(box, "a")
    mark, sender = letters.mark(), f"c{secrets.token_hex(5)}@shop.example"
    box.inject(mail_to={sender: "451 4.3.0 later"})
    assert box.mail(letters.mail("A matter", f"text {mark}", sender=f"C <{sender}>"), sender)[0] == 250
    acknowledgement = "select attempts, state, signed_with from complaintd.notifications where recipient = %s"
    wait_for(lambda: box.db.rows(acknowledgement, sender)[0]["attempts"] > 0, 60, "a first attempt")
    wait_for(lambda: box.db.row(acknowledgement, sender)["state"] == "pending", 60)
    with_keys(box, "b", "a")
    box.inject()
    box.advance("1h")
    wait_for(lambda: box.mails(sender), 60, "the acknowledgement")
    [mail] = box.mails(sender)
    assert {re.search(TOKEN, str(mail[h]))[0][1] for h in ("Reply-To", "Message-ID")} == {"a"}
    settle(box.db)
    assert box.db.row(acknowledgement, sender)["signed_with"] == "a"


def test_an_address_that_has_no_room_for_a_token(make_box):
    long = "care" + "x" * 50
    box = make_box(overlay={"desks": [{"name": "care", "addresses": [f"{long}@example.com"]}]})
    mark, sender = letters.mark(), f"c{secrets.token_hex(5)}@shop.example"
    to = f"{long}@example.com"
    assert box.mail(letters.mail("A matter", f"text {mark}", sender=f"C <{sender}>", to=to), sender, (to,))[0] == 250
    wait_for(lambda: box.mails(sender), 30, "the acknowledgement")
    ack = box.mails(sender)[0]
    assert str(ack["Reply-To"]) == to and re.search(TOKEN, ack["Message-ID"])


def test_sms_and_line_go_by_the_reference(box):
    """They have no tokens; a text with the shape of one is only a text."""
    c, _, _, ack = new(box)
    token = re.search(TOKEN, str(ack["Reply-To"]))[0]
    mark = letters.mark()
    assert box.sms(clients.sms_params(f"about {token} {mark}", "+8613800138077"))[0] == 200
    assert message_of(box, mark)["complaint_id"] != c["id"]
