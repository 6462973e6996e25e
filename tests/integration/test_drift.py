"""A new matter that is sent as a reply to an old one becomes a complaint of its own, linked with it; a thread's own mails never do."""
import re
import secrets

import letters
from model import settle
from test_reload import configuration, reload
from test_reopen import resolve
from test_threads import ids, message_of, send
from test_tokens import new, reply, why


def reply_to(message_id):
    return [("In-Reply-To", f"<{message_id}>"), ("References", f"<{message_id}>")]


def test_a_new_matter_in_an_old_thread_is_not_buried(make_box):
    box = make_box()
    first, second, sender = ids()
    one, two, three, four = (letters.mark() for _ in range(4))
    send(box, one, sender, first, (), "Broken kettle")
    old = box.complaint_of(one)
    # another subject, but in the same days: a thread stays together
    send(box, two, sender, None, reply_to(first), "Where is my refund?")
    assert message_of(box, two)["complaint_id"] == old["id"]
    box.advance("60d")
    send(box, three, sender, second, reply_to(first), "Rude driver yesterday")
    new_matter = message_of(box, three)
    assert (new_matter["complaint_id"], new_matter["outcome"]) == (new_matter["id"], "new")
    with box.line("admin") as line:
        said = line.ok("EXPLAIN", ref=box.complaint_of(three)["ref"])
    assert said["links"] == [{"ref": old["ref"], "kind": "new-matter"}]
    [tried] = said["decision"]["thread"]
    assert (tried["ref"], tried["evidence"], tried["verdict"], tried["drift"]) == (old["ref"], "in-reply-to", "another matter", 100)
    assert tried["points"]["evidence"] == 80 and tried["points"]["drift"] == -40 and tried["score"] == sum(tried["points"].values()) < 40
    assert box.metric("complaintd_thread_new_matters_total") == 1
    settle(box.db)
    assert [c for c in (old["ref"], said["ref"]) if any(c in str(m["Subject"]) for m in box.mails(sender))] == [old["ref"], said["ref"]]
    # what answers the new matter belongs to it, though it refers to the old one as well
    send(box, four, sender, None, [("In-Reply-To", f"<{second}>"), ("References", f"<{first}> <{second}>")], "Re: Rude driver yesterday")
    assert message_of(box, four)["complaint_id"] == new_matter["id"]
    joined, other = why(box, said, message_of(box, four))
    assert (joined["verdict"], joined["ref"]) == ("joined", said["ref"])
    assert (other["verdict"], other["ref"]) == ("another matter", old["ref"])
    # and the same matter, late, still belongs to the old one
    five = letters.mark()
    send(box, five, sender, None, reply_to(first), "回复: Broken KETTLE")
    assert message_of(box, five)["complaint_id"] == old["id"]
    text = box.ctl("explain", said["ref"]).stdout
    assert "another matter" in text and "new-matter" in text and re.search(r"in-reply-to +\d+ +80 -\d+ age -40 drift", text), text


def test_a_token_bears_more_and_a_resolved_complaint_less(make_box):
    box = make_box()
    open_one, done_one = new(box, "Broken kettle"), new(box, "Broken kettle")
    resolve(box, done_one[0]["ref"])
    box.advance("30d")
    joins = reply(box, open_one[2], str(open_one[3]["Reply-To"]), "Rude driver yesterday")
    assert joins["complaint_id"] == open_one[0]["id"]
    apart = reply(box, done_one[2], str(done_one[3]["Reply-To"]), "Rude driver yesterday")
    assert apart["complaint_id"] == apart["id"]
    assert box.db.value("select status from complaints where id = %s", done_one[0]["id"]) == "resolved"
    # the subject of our own mail names the complaint
    again = reply(box, done_one[2], str(done_one[3]["Reply-To"]), f"Re: {done_one[3]['Subject']}")
    assert again["complaint_id"] == done_one[0]["id"]
    assert box.db.value("select status from complaints where id = %s", done_one[0]["id"]) == "open"


def test_the_weights_follow_a_reload(make_box):
    box = make_box()
    first, _, sender = ids()
    one, two, three = (letters.mark() for _ in range(3))
    send(box, one, sender, first, (), "Broken kettle")
    c = configuration(box)
    c["threads"] = {"fresh": "0s", "drift": 41}
    reload(box, c)
    send(box, two, sender, None, reply_to(first), "Rude driver yesterday")
    assert message_of(box, two)["complaint_id"] != box.complaint_of(one)["id"]
    c["threads"] = {"fresh": "0s", "drift": 100, "join_at": 0}
    reload(box, c)
    four, another, other = ids()[0], letters.mark(), f"c{secrets.token_hex(5)}@shop.example"
    send(box, another, other, four, (), "Broken kettle")
    send(box, three, other, None, reply_to(four), "Broken glass")
    assert message_of(box, three)["complaint_id"] == box.complaint_of(another)["id"]


def test_old_mail_that_comes_late_stays_with_its_thread(make_box):
    """Mails of one thread, in any order, each with another subject: what counts is when they came, not what their Date says."""
    box = make_box()
    a, b, sender = ids()
    one, two, three = (letters.mark() for _ in range(3))
    raw = letters.mail("Third words", f"text {three}", sender=f"C <{sender}>", date="Mon, 01 Jan 2024 00:00:00 +0000",
                       extra=[("In-Reply-To", f"<{b}>"), ("References", f"<{a}> <{b}>")])
    assert box.mail(raw, sender)[0] == 250
    send(box, two, sender, b, reply_to(a), "Second matter")
    send(box, one, sender, a, (), "Broken kettle")
    assert len({message_of(box, m)["complaint_id"] for m in (one, two, three)}) == 1
