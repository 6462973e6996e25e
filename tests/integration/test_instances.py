"""Two daemons on one database: the same mail at both, a reply at one and its mail at the other, in either order, new customers at
both; the same complaint by HTTP at both."""
import concurrent.futures
import contextlib
import json
import os
import random
import signal
import socket
import types

import yaml

import letters
import processes
from clients import RawSmtp, http_request, send_mail
from model import settle, wait_for


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


@contextlib.contextmanager
def second(box):
    """Another daemon of another name; its ports."""
    ports = types.SimpleNamespace(mail=free_port(), http=free_port(), line=free_port())
    with open(box.path("complaintd.yaml"), encoding="utf-8") as f:
        config = yaml.safe_load(f)
    config["instance"] = "second"
    config["state_dir"] = box.path("state2")
    os.mkdir(config["state_dir"])
    config["mail"].update(listen=[f"127.0.0.1:{ports.mail}"], lmtp_listen=[])
    config["http"]["listen"], config["metrics"]["listen"] = [f"127.0.0.1:{ports.http}"], []
    config["line"]["listen"] = [f"127.0.0.1:{ports.line}"]
    with open(box.path("second.yaml"), "w", encoding="utf-8") as f:
        yaml.safe_dump(config, f, allow_unicode=True)
    daemon = box.spawn([os.path.join(box.build(), "complaintd"), "--config", box.path("second.yaml")], box.path("second.log"))
    try:
        wait_for(lambda: processes.http_status(f"http://127.0.0.1:{ports.http}/readyz") == 200, 60, "the second daemon")
        yield ports
    finally:
        processes.send_signal(daemon, signal.SIGTERM)
        assert processes.wait_gone([daemon], 20)


def test_conversations_at_both(make_box):
    box = make_box()
    box.killed = True  # half of the receipts were counted by the other daemon
    rng = random.Random(78)
    talks = [(letters.mark(), letters.mark(), f"c{i}@shop.example") for i in range(60)]
    with second(box) as other:
        todo = []
        for mail, reply, sender in talks:
            raw = letters.mail("A matter", f"text {mail}", sender=f"A <{sender}>", message_id=f"{mail}@shop.example")
            answer = letters.mail("Re: A matter", f"text {reply}", sender=f"A <{sender}>", message_id=f"{reply}@shop.example",
                                  extra=[("In-Reply-To", f"<{mail}@shop.example>")])
            four = [(port, sender, x) for port in (box.smtp_port, other.mail) for x in (raw, answer)]
            rng.shuffle(four)
            todo += four
        with concurrent.futures.ThreadPoolExecutor(16) as pool:
            answers = list(pool.map(lambda t: send_mail(t[0], t[2], t[1])[0], todo))
        settle(box.db, 60)
    assert answers == [250] * len(todo)
    for mail, reply, sender in talks:
        found = box.db.rows("select complaint_id from messages where message_id in (%s, %s)", f"{mail}@shop.example", f"{reply}@shop.example")
        assert len(found) == 2 and len({r["complaint_id"] for r in found}) == 1, sender
        assert len(box.mails(sender)) == 1, "one complaint, one acknowledgement"
        assert box.db.value("select count(*) from customers where %s = any(emails)", sender) == 1
    with open(box.path("second.log"), encoding="utf-8") as f:
        logs = box.log() + f.read()
    assert "sqlstate=40P01" not in logs, "they write in one order"
    assert "sqlstate=23505" in logs, "they met"


def test_33_duplicate_delivery(make_box):
    """The same mail by two ways and again after a 250 that was lost: one row. Its Message-ID again with other words: two rows, linked."""
    box = make_box()
    box.killed = True  # half of the receipts were counted by the other daemon
    mark, sender, other_sender = letters.mark(), "twice@shop.example", "other@shop.example"

    def mail(text, who, way):
        raw = letters.mail("Broken kettle", text, sender=f"T <{who}>", message_id=f"{mark}@shop.example", date="Mon, 05 Oct 2026 10:00:00 +0000")
        return f"Received: from {way}.example by mx.example; Mon, 05 Oct 2026 10:00:01 +0000\r\n".encode() + raw

    def rows(who):
        return box.db.rows("select m.id, m.complaint_id, r.outcome from messages m join receipts r on r.id = m.id where m.sender = %s", who)

    with second(box) as other, concurrent.futures.ThreadPoolExecutor(8) as pool:
        ways = [(p, mail(f"text {mark}", sender, f"way{i}"), sender) for i, p in enumerate([box.smtp_port, other.mail] * 4)]
        assert [code for code, _ in pool.map(lambda t: send_mail(*t), ways)] == [250] * 8
        for p in (box.smtp_port, other.mail):  # the client is gone before its answer, and comes again
            with RawSmtp(p) as s:
                s.command("EHLO client.example")
                for line in (f"MAIL FROM:<{sender}>", "RCPT TO:<care@example.com>", "DATA"):
                    s.command(line)
                s.send(mail(f"later {mark}", sender, "lost").decode() + "\r\n.\r\n")
            assert send_mail(p, mail(f"later {mark}", sender, "again"), sender)[0] == 250
        assert send_mail(other.mail, mail(f"stolen {mark}", other_sender, "third"), other_sender)[0] == 250
        settle(box.db, 60)
    mine, others = rows(sender), rows(other_sender)
    assert sorted(r["outcome"] for r in mine) == ["follow-up", "new"], "each content once"
    assert len({r["complaint_id"] for r in mine}) == 1, "linked by one complaint, for it is one sender"
    [stranger] = others
    assert stranger["complaint_id"] == stranger["id"]
    links = box.db.rows("select l.other_id, l.kind from complaintd.links l where l.complaint_id = %s", stranger["id"])
    assert links == [{"other_id": mine[0]["complaint_id"], "kind": "same-message-id"}]


def thread_of(rng, n):
    """The mails of a conversation as mail programs write them: each answers an earlier one and refers to all above it; some change the
    subject on the way. (Message-ID, raw) of each; its sender."""
    sender, head = f"t{rng.getrandbits(48):012x}@shop.example", letters.mark()
    mails = []
    for i in range(n):
        ident = f"{head}.{i}@shop.example"
        above = rng.choice(mails)[0:2] if mails else None
        extra = []
        if above:
            chain = above[1] + [above[0]]
            extra = [("In-Reply-To", f"<{above[0]}>"), ("References", " ".join(f"<{x}>" for x in chain))]
        subject = "Broken kettle" if not above else rng.choice(["Re: Broken kettle", "AW: Broken kettle", "Where is my refund?"])
        raw = letters.mail(subject, f"text {head} {i}", sender=f"T <{sender}>", message_id=ident, extra=extra)
        mails.append((ident, above[1] + [above[0]] if above else [], raw))
    return sender, [(ident, raw) for ident, _, raw in mails]


def test_threads_in_any_order_and_twice(make_box):
    """Every mail of a thread comes twice, at either daemon, in random order and side by side: one complaint, each mail once, one
    acknowledgement. CD_THREAD_ROUNDS: how many threads; CD_THREAD_SEED: those of another run."""
    rounds, seed = int(os.environ.get("CD_THREAD_ROUNDS", "60")), int(os.environ.get("CD_THREAD_SEED", random.randrange(1 << 30)))
    print(f"CD_THREAD_SEED={seed}")
    rng = random.Random(seed)
    box = make_box()
    box.killed = True  # half of the receipts were counted by the other daemon
    threads = [thread_of(rng, rng.randint(2, 6)) for _ in range(rounds)]
    with second(box) as other, concurrent.futures.ThreadPoolExecutor(16) as pool:
        for at in range(0, rounds, 20):
            todo = []
            for sender, mails in threads[at : at + 20]:
                twice = [(rng.choice((box.smtp_port, other.mail)), raw, sender) for _, raw in mails for _ in range(2)]
                rng.shuffle(twice)
                todo += twice
            for code in pool.map(lambda t: send_mail(*t)[0], todo):
                assert code == 250
        settle(box.db, 120)
    split = []
    for sender, mails in threads:
        found = box.db.rows("select m.id, m.complaint_id, r.outcome from messages m join receipts r on r.id = m.id where m.sender = %s"
                            " and m.direction = 'in'", sender)
        assert len(found) == len(mails), f"{sender}: {len(found)} of {len(mails)} mails are stored"
        complaints = {r["complaint_id"] for r in found}
        if len(complaints) != 1:
            split.append((sender, len(mails), len(complaints)))
        assert sum(r["outcome"] == "new" for r in found) == len(complaints)
    assert not split, f"{len(split)} of {rounds} threads became several complaints, such as {split[:5]}"
    acknowledged = box.db.rows("select recipient, count(*) as n from notifications where purpose = 'acknowledgement' group by 1")
    assert {r["recipient"]: r["n"] for r in acknowledged} == {sender: 1 for sender, _ in threads}
    with open(box.path("second.log"), encoding="utf-8") as f:
        logs = box.log() + f.read()
    assert "sqlstate=40P01" not in logs, "they write in one order"
    print(f"{rounds} threads, {sum(len(m) for _, m in threads)} mails, each twice: one complaint each")


def test_the_same_complaints_by_http_at_both(make_box):
    box = make_box(overlay={"triage": {"budget": "30s"}})
    box.killed = True  # half of the receipts were counted by the other daemon
    marks = [letters.mark() for _ in range(40)]

    def send(port, mark):
        headers = {"Authorization": "Bearer " + box.token("intake"), "Content-Type": "application/json", "Idempotency-Key": mark}
        answer = http_request(port, "POST", "/v1/complaints", json.dumps({"text": f"Charged twice {mark}"}).encode(), headers)
        return mark, answer.status, answer.json["ref"]

    with second(box) as other, concurrent.futures.ThreadPoolExecutor(16) as pool:
        todo = [(port, mark) for mark in marks for port in (box.e["HTTP_PORT"], other.http) for _ in range(2)]
        answers = list(pool.map(lambda t: send(*t), todo))
    for mark in marks:
        mine = [(status, ref) for m, status, ref in answers if m == mark]
        assert sorted(status for status, _ in mine) == [200, 200, 200, 201] and len({ref for _, ref in mine}) == 1
    assert box.db.value("select count(*) from complaints") == len(marks)
