"""Two daemons on one database: the same mail at both, a reply at one and its mail at the other, in either order, new customers at both."""
import concurrent.futures
import contextlib
import os
import random
import signal
import socket
import types

import yaml

import letters
import processes
from clients import send_mail
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
