"""Sending: retries with back-off, dead letters, and that nothing automatic is answered (RFC 3834)."""
import secrets

import pytest

import clients
import letters
from model import settle, wait_for


def address():
    return f"c{secrets.token_hex(5)}@shop.example"


def number():
    return "+86139" + "".join(secrets.choice("0123456789") for _ in range(8))


def complain(box, sender, extra=(), envelope=None, message_id=None):
    mark = letters.mark()
    raw = letters.mail(
        "Late", f"The parcel is late {mark}", sender=f"A <{sender}>", extra=extra, message_id=message_id
    )
    assert box.mail(raw, sender if envelope is None else envelope)[0] == 250
    wait_for(lambda: box.db.value("select count(*) from pending") == 0)
    return mark


def acks(box, recipient):
    return box.db.rows("select * from notifications where purpose = 'acknowledgement' and recipient = %s", recipient)


def test_a_refusal_for_now_is_tried_again_with_back_off(make_box):
    box = make_box()
    box.inject(mail="451 4.3.0 try later")
    sender = address()
    complain(box, sender)
    first = wait_for(
        lambda: [a for a in acks(box, sender) if a["attempts"] >= 1 and a["state"] == "pending"], 30, "first attempt"
    )[0]
    assert "451" in first["last_error"]
    waits = []
    for _ in range(2):
        row = acks(box, sender)[0]
        before = row["attempts"]
        waits.append((row["next_attempt_at"] - box.db.value("select complaintd.now()")).total_seconds())
        box.advance(f"{int(waits[-1]) + 2}s")
        wait_for(lambda: acks(box, sender)[0]["attempts"] > before, 30, "next attempt")
        wait_for(lambda: acks(box, sender)[0]["state"] != "sending", 30)
        if acks(box, sender)[0]["state"] == "dead":
            break
    assert waits == sorted(waits) and waits[0] > 5, f"waits grow: {waits}"
    if acks(box, sender)[0]["state"] == "pending":
        box.inject()
        box.advance("2h")
        wait_for(lambda: acks(box, sender)[0]["state"] == "sent", 30)
        assert len(box.mails(sender)) == 1


def test_a_refusal_for_ever_is_not_tried_again(make_box):
    box = make_box()
    sender = address()
    box.inject(mail_to={sender: "550 5.1.1 no such user"})
    complain(box, sender)
    row = wait_for(lambda: [a for a in acks(box, sender) if a["state"] == "failed"], 30)[0]
    assert row["attempts"] == 1 and "550" in row["last_error"]
    other = address()
    complain(box, other)
    wait_for(lambda: box.mails(other), 30, "another recipient is not held up")


@pytest.mark.parametrize("failure", [503, 429, 0])
def test_sms_and_webhook_failures_end_dead_and_are_seen(make_box, failure):
    box = make_box()
    box.inject(sms=failure, webhook=failure)
    sender = number()
    assert box.sms(clients.sms_params("The kettle caught fire and burnt my hand", sender))[0] // 100 == 2
    box.advance("6d")
    # the ladder goes on daily; acknowledgements have five days, escalations eight attempts
    over = "created_at < complaintd.now() - interval '12 h'"
    wait_for(
        lambda: not box.db.value(
            f"select count(*) from notifications where state in ('pending', 'sending', 'unknown') and {over}"
        ),
        60,
    )
    rows = box.db.rows(f"select * from notifications where transport in ('sms', 'webhook') and {over}")
    assert rows and {r["transport"] for r in rows} == {"sms", "webhook"}
    assert {r["state"] for r in rows} <= {"dead", "expired"}, [
        (r["transport"], r["state"], r["attempts"]) for r in rows
    ]
    assert all(r["last_error"] for r in rows)
    assert box.sent_sms() == [] and box.webhooks() == []
    assert box.metric("complaintd_notifications_total") > 0


def test_a_sink_that_comes_back_gets_everything_once(make_box):
    box = make_box()
    box.inject(mail="421 4.3.2 going down", sms=503)
    mails, phones = [address() for _ in range(20)], [number() for _ in range(10)]
    for sender in mails:
        complain(box, sender)
    for sender in phones:
        assert box.sms(clients.sms_params(f"Wrong bill {letters.mark()}", sender))[0] // 100 == 2
    wait_for(lambda: box.db.value("select count(*) from notifications where attempts > 0 and purpose = 'acknowledgement'") == 30, 60)
    box.inject()
    box.advance("10min")
    settle(box.db)
    assert [len(box.mails(a)) for a in mails] == [1] * 20
    assert [len(box.sent_sms(p)) for p in phones] == [1] * 10


AUTOMATIC = {
    "auto-replied": [("Auto-Submitted", "auto-replied")],
    "generated": [("Auto-Submitted", "auto-generated")],
    "list": [("List-Id", "<news.shop.example>")],
    "bulk": [("Precedence", "bulk")],
    "junk": [("Precedence", "junk")],
}


@pytest.mark.parametrize("kind", AUTOMATIC)
def test_nothing_automatic_is_answered(box, kind):
    sender = address()
    mark = complain(box, sender, AUTOMATIC[kind])
    assert (
        box.db.value("select count(*) from messages where strpos(coalesce(body, ''), %s) > 0", mark) == 1
    ), "kept all the same"
    settle(box.db)
    assert not [a for a in acks(box, sender) if a["state"] not in ("suppressed",)]
    assert box.mails(sender) == []


@pytest.mark.parametrize("who", ["", "MAILER-DAEMON@shop.example"])
def test_no_answer_to_nobody(box, who):
    sender = address() if not who else who.lower()
    mark = complain(box, sender, envelope=who)
    assert box.db.value("select count(*) from messages where strpos(coalesce(body, ''), %s) > 0", mark) == 1
    settle(box.db)
    assert box.mails(sender) == [] and box.mails(who) == []


def test_auto_submitted_no_is_a_person(box):
    sender = address()
    complain(box, sender, [("Auto-Submitted", "no")])
    wait_for(lambda: box.mails(sender), 30, "acknowledgement")


def test_our_own_acknowledgement_coming_back_is_not_answered(box):
    sender = address()
    complain(box, sender)
    ours = wait_for(lambda: box.mails(sender), 30)[0]
    before = box.db.value("select count(*) from complaints")
    for name in ("Return-Path", "Delivered-To"):
        del ours[name]
    assert box.mail(clients.crlf(ours.as_bytes()), "")[0] == 250
    settle(box.db)
    assert box.db.value("select count(*) from complaints") == before
    assert len(box.mails(sender)) == 1
