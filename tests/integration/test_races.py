"""Things that come at the same moment, or that look alike: twins of a key, copies for several desks, long threads, a silent database."""
import json
import os
import secrets
import signal
import threading
import time

import pytest

import letters
from model import settle, wait_for
from test_threads import message_of, send

TWO_DESKS = {
    "desks": [
        {"name": "care", "addresses": ["care@example.com"]},
        {"name": "shop", "addresses": ["shop@example.com"], "default_team": "general", "policy": "standard"},
        {"name": "web", "addresses": ["web@example.com"], "default_team": "general", "policy": "standard"},
    ]
}


def test_a_reused_key_is_refused_for_every_copy(box):
    """Two equal requests under a key that the ledger has for other content: neither is told that it was taken."""
    key = secrets.token_hex(8)
    with box.line() as line:
        word, first, _ = line.request("SUBMIT", key=key, text="The first content of this key")
        assert word == "OK"
        other = json.dumps({"key": key, "text": "Quite another content of this key"})
        line.send_raw(f"SUBMIT {other}\nSUBMIT {other}\n".encode())
        for _ in range(2):
            word, body, _ = line.answer()
            assert (word, body["code"]) == ("ERR", "key-reused"), body
    assert box.db.value("select count(*) from messages where body like 'Quite another%%'") == 0


def test_copies_for_other_desks_add_them(make_box):
    box = make_box(overlay=TWO_DESKS)
    mark, sender = letters.mark(), "copies@shop.example"
    raw = letters.mail("For several desks", f"text {mark}", sender=f"A <{sender}>", message_id=f"{mark}@shop.example")
    answers = []
    def one(to):
        answers.append(box.mail(raw, sender, (to,))[0])
    threads = [threading.Thread(target=one, args=(f"{d}@example.com",)) for d in ("care", "shop")]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert answers == [250, 250]
    assert box.mail(raw, sender, ("care@example.com", "web@example.com", "shop@example.com"))[0] == 250
    c = box.complaint_of(mark)
    assert sorted(box.db.value("select desks from complaints where id = %s", c["id"])) == ["care", "shop", "web"]
    assert box.db.value("select count(*) from complaints where subject = 'For several desks'") == 1


def test_a_long_thread_of_many_complaints_costs_only_itself(box):
    """A mail that refers to twenty complaints of others is a new one, and does not make its neighbours wait."""
    ids = [f"{secrets.token_hex(6)}@shop.example" for _ in range(20)]
    for i, message_id in enumerate(ids):
        send(box, letters.mark(), f"someone{i}@shop.example", message_id)
    retries = box.metric("complaintd_store_batch_retries_total")
    mark = letters.mark()
    references = " ".join(f"<{i}>" for i in ids)
    send(box, mark, "colleague@other.example", f"{secrets.token_hex(6)}@other.example", [("References", references)])
    assert message_of(box, mark)["outcome"] == "new"
    assert box.metric("complaintd_store_batch_retries_total") == retries
    assert "CD001" not in box.log()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may stop the database's processes")
def test_a_silent_database_is_noticed(make_box):
    """The connections stand, but nobody answers: senders are told to try again, and all is well when it wakes."""
    box = make_box()
    send(box, letters.mark(), "before@shop.example")
    pids = [r["pid"] for r in box.db.rows("select pid from pg_stat_activity where application_name = 'complaintd'")]
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)
    try:
        mark = letters.mark()
        raw = letters.mail("Silence", f"text {mark}", sender="A <during@shop.example>", message_id=f"{mark}@shop.example")
        code, text = box.mail(raw, "during@shop.example")
        assert code // 100 == 4, (code, text)
    finally:
        for pid in pids:
            try:
                os.kill(pid, signal.SIGCONT)
            except ProcessLookupError:
                pass
    wait_for(lambda: box.mail(raw, "during@shop.example")[0] == 250, 30, "taken after the database woke")
    assert box.db.value("select count(*) from messages where message_id = %s", f"{mark}@shop.example") == 1


def test_slow_relay_and_short_lease_send_once(make_box):
    """Sending takes longer than the lease: a living sender keeps its rows."""
    box = make_box(overlay={"notify": {"lease": "5s"}, "mail": {"workers": 1}})
    box.inject(mail_delay=1.0)
    marks = [letters.mark() for _ in range(12)]
    for m in marks:
        send(box, m, f"{m}@shop.example")
    settle(box.db, 90)
    got = [str(m["Delivered-To"]) for m in box.mails()]
    assert sorted(a for a in got if a.startswith("mark-")) == sorted(f"{m}@shop.example" for m in marks)


def test_a_transaction_that_builds_on_one_that_fails(make_box):
    """The first of two transactions on their way fails; the second holds the reply to its complaint, and a mail of its new customer."""
    box = make_box()
    first, sender = letters.mark(), "builder@shop.example"
    box.db.execute("create sequence public.tries")
    box.db.execute(f"""create function public.fail_once() returns trigger language plpgsql as $$ begin
        if new.key like '%{first}%' and nextval('public.tries') = 1 then
            perform pg_sleep(1);
            raise 'for the test' using errcode = 'CD001';
        end if;
        return new;
    end $$""")
    box.db.execute("create trigger fail_once before insert on complaintd.receipts for each row execute function public.fail_once()")
    marks = [first, letters.mark(), letters.mark()]
    extra = {0: (), 1: [("In-Reply-To", f"<{first}@shop.example>")], 2: ()}
    raws = [letters.mail("Built", f"text {m}", sender=f"A <{sender}>", message_id=f"{m}@shop.example", extra=extra[i])
            for i, m in enumerate(marks)]
    answers = [None] * 3
    def one(i):
        answers[i] = box.mail(raws[i], sender)[0]
    threads = [threading.Thread(target=one, args=(i,)) for i in range(3)]
    threads[0].start()
    wait_for(lambda: box.db.value("select count(*) from pg_stat_activity where wait_event = 'PgSleep'") == 1, 10, "the first one sleeps")
    for t in threads[1:]:
        t.start()
    for t in threads:
        t.join()
    assert answers == [250] * 3
    assert box.db.value("select last_value from public.tries") >= 2
    # whichever of mail and reply is decided first the second time has the complaint, as with two instances
    assert sorted(message_of(box, m)["outcome"] for m in marks[:2]) == ["follow-up", "new"]
    assert message_of(box, marks[2])["outcome"] == "new"
    assert message_of(box, marks[0])["complaint_id"] == message_of(box, marks[1])["complaint_id"]
    assert box.db.value("select count(*) from customers where %s = any(emails)", sender) == 1
    assert box.metric("complaintd_store_batch_races_total") >= 1
    box.db.execute("drop trigger fail_once on complaintd.receipts")


def test_a_copy_for_another_desk_waits_for_triage(make_box):
    """While the first copy waits as pending there is no complaint that the desk could be added to."""
    box = make_box(overlay={**TWO_DESKS, "triage": {"workers": 1, "budget": "200ms", "deadline": "3s"}})
    send(box, letters.mark(), "before@shop.example")
    (worker,) = box.workers("triage")
    os.kill(worker, signal.SIGSTOP)
    mark, sender = letters.mark(), "later@shop.example"
    raw = letters.mail("For two desks", f"text {mark}", sender=f"A <{sender}>", message_id=f"{mark}@shop.example")
    assert box.mail(raw, sender)[0] == 250
    assert box.db.value("select outcome from receipts where key = %s", f"{mark}@shop.example") == "pending"
    assert box.mail(raw, sender)[0] == 250, "the same again is nothing new"
    assert box.mail(raw, sender, ("shop@example.com",))[0] == 451
    wait_for(lambda: box.db.value("select count(*) from pending") == 0, 30, "triaged")
    assert box.mail(raw, sender, ("shop@example.com",))[0] == 250
    assert sorted(box.db.value("select desks from complaints where id = %s", box.complaint_of(mark)["id"])) == ["care", "shop"]


@pytest.mark.parametrize("lost", [False, True])
def test_a_reply_on_the_heels_of_its_mail_fails_nothing(make_box, lost):
    """Two transactions on their way: the second relies on the thread keys and the customer that the first one writes, and stays the second
    when both are sent again."""
    box = make_box()
    first, second, sender = letters.mark(), letters.mark(), "heels@shop.example"
    box.db.execute("create sequence public.tries")
    box.db.execute(f"""create function public.slow() returns trigger language plpgsql as $$ begin
        if new.key like '%{first}%' and nextval('public.tries') = 1 then perform pg_sleep(1); end if;
        return new;
    end $$""")
    box.db.execute("create trigger slow before insert on complaintd.receipts for each row execute function public.slow()")
    threads = [threading.Thread(target=send, args=(box, first, sender, f"{first}@shop.example")),
               threading.Thread(target=send, args=(box, second, sender, f"{second}@shop.example", [("In-Reply-To", f"<{first}@shop.example>")]))]
    threads[0].start()
    wait_for(lambda: box.db.value("select count(*) from pg_stat_activity where wait_event = 'PgSleep'") == 1, 10, "the first one sleeps")
    threads[1].start()
    if lost:
        time.sleep(0.5)  # the second is on its way
        box.db.rows("select pg_terminate_backend(pid) from pg_stat_activity where wait_event = 'PgSleep'")
    for t in threads:
        t.join()
    assert message_of(box, second)["complaint_id"] == message_of(box, first)["complaint_id"]
    assert message_of(box, second)["outcome"] == "follow-up"
    assert box.metric("complaintd_store_batch_races_total") == 0
    assert box.db.value("select last_value from public.tries") == 1 + lost
    box.db.execute("drop trigger slow on complaintd.receipts")
