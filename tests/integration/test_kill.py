"""kill -9 while clients of all three channels send, and send again what was not acknowledged: nothing that was acknowledged is
missing, nothing is there twice. CD_KILL_SEED repeats a run's moments."""
import os
import random
import secrets
import signal
import threading
import time

import pytest

import clients
import letters
import processes
from model import model_check, settle, wait_for

LEASE = {"notify": {"lease": "10s"}}  # a sender that was killed keeps its rows that long
ROUNDS = int(os.environ.get("CD_KILL_ROUNDS", "5"))


class Load:
    """Clients of the three channels; each sends one complaint after the other, and the same again until it is acknowledged."""

    def __init__(self, box, each=2, pause=0.01):
        self.box = box
        self.acked, self.resent, self.refused = {}, 0, []
        self.lock = threading.Lock()
        self.stopping = threading.Event()
        self.pause = pause
        self.threads = [
            threading.Thread(target=self.client, args=(send,))
            for send in (self.by_mail, self.by_sms, self.by_line)
            for _ in range(each)
        ]
        for t in self.threads:
            t.start()

    def client(self, send):
        while not self.stopping.is_set():
            mark = letters.mark()
            message = None
            while True:
                try:
                    verdict, message = send(mark, message)
                except OSError:
                    verdict = None  # the connection broke: whether it was taken is unknown
                if verdict is True:
                    with self.lock:
                        self.acked[mark] = send.__name__
                    break
                with self.lock:
                    self.resent += 1
                    if verdict is not None:
                        self.refused.append(verdict)
                if self.stopping.is_set() and self.resent > 100000:
                    return
                time.sleep(0.05)
            time.sleep(self.pause)

    def by_mail(self, mark, message):
        sender = f"{mark}@shop.example"
        message = message or letters.mail(
            "Late parcel",
            f"My parcel is late again. {mark}",
            sender=f"A <{sender}>",
            message_id=f"{mark}@client.example",
            date="Sun, 22 Nov 2026 10:00:00 +0000",
        )
        code, text = self.box.mail(message, sender)
        return (True if code == 250 else (code, text)), message

    def by_sms(self, mark, message):
        sid = "SM" + (mark[5:] * 2)
        message = message or clients.sms_params(
            f"Wrong bill again {mark}", "+86139" + str(int(mark[5:13], 16))[-8:].zfill(8), sid
        )
        status, text = self.box.sms(message)
        return (True if status // 100 == 2 else (status, text)), message

    def by_line(self, mark, message):
        message = message or {"key": mark, "channel": "phone", "text": f"The router is broken {mark}"}
        with self.box.line() as line:
            word, body, _ = line.request("SUBMIT", **message)
        return (True if word == "OK" else (word, body)), message

    def stop(self):
        self.stopping.set()
        for t in self.threads:
            t.join(120)
        assert not any(
            t.is_alive() for t in self.threads
        ), f"clients still wait for an answer; last refusals: {self.refused[-3:]}"
        channels = set(self.acked.values())
        assert channels == {"by_mail", "by_sms", "by_line"}, f"only {channels} got anything acknowledged"
        final = [
            r
            for r in self.refused
            if r[0] in range(500, 503)
            or r[0] in range(504, 600)
            or r[0] in range(400, 420)
            or (r[0] == "ERR" and not r[1].get("retry"))
        ]
        assert not final, f"refused for good: {final[:3]}"


@pytest.fixture
def moments(capsys):
    seed = int(os.environ.get("CD_KILL_SEED") or secrets.randbelow(10**6))
    with capsys.disabled():
        print(f"\n  CD_KILL_SEED={seed}")
    return random.Random(seed)


def report(capsys, box, load, compared):
    with capsys.disabled():
        print(
            f"  {compared} acknowledged, {load.resent} sent again, {len(load.refused)} of them told to; "
            f"{box.db.value('select count(*) from complaints')} complaints, 0 missing, 0 twice"
        )


def everyone_was_answered(box, acked, at_most_once):
    """Each mail complaint has one acknowledgement notification; what reached the customer twice carries the same Message-ID."""
    settle(box.db, 120)
    by_recipient = {}
    for m in box.mails():
        by_recipient.setdefault(str(m["Delivered-To"]), []).append(m["Message-ID"])
    wanted = {f"{mark}@shop.example" for mark, how in acked.items() if how == "by_mail"}
    missing = [a for a in wanted if a not in by_recipient]
    assert not missing, f"{len(missing)} of {len(wanted)} got no acknowledgement: {missing[:3]}"
    for address in wanted:
        assert len(set(by_recipient[address])) == 1, f"{address} got different acknowledgements"
        if at_most_once:
            assert len(by_recipient[address]) == 1


def test_front(make_box, moments, capsys):
    box = make_box(overlay=LEASE)
    load = Load(box)
    for _ in range(ROUNDS):
        time.sleep(moments.uniform(0.5, 2.5))
        assert box.daemon_alive()
        box.kill_daemon()
        box.restart()
    time.sleep(1)
    load.stop()
    compared = model_check(box.db, load.acked)
    box.advance("10min")  # leases of the dead run out by the real clock; retries by the service clock
    wait_for(
        lambda: box.db.value("select count(*) from notifications where state = 'sending'") == 0,
        180,
        "leases of the dead",
    )
    box.advance("10min")
    everyone_was_answered(box, load.acked, at_most_once=False)
    report(capsys, box, load, model_check(box.db, load.acked) or compared)


def test_database(make_box, moments, capsys):
    """The server is stopped as by a power cut: what it had committed is what was acknowledged, or more."""
    box = make_box(overlay=LEASE)
    load = Load(box)
    for _ in range(ROUNDS):
        time.sleep(moments.uniform(0.5, 2.5))
        box.stop_postgres(signal.SIGQUIT)
        box.start_postgres()
    wait_for(box.ready, 30, "ready again")
    time.sleep(1)
    load.stop()
    compared = model_check(box.db, load.acked)
    wait_for(lambda: box.db.value("select count(*) from notifications where state = 'sending'") == 0, 60, "leases")
    box.advance("10min")
    everyone_was_answered(box, load.acked, at_most_once=False)
    report(capsys, box, load, compared)


@pytest.mark.parametrize("kind", ["triage", "mail"])
def test_worker(make_box, moments, kind, capsys):
    box = make_box(overlay=LEASE)
    load = Load(box)
    deaths = 0
    for _ in range(ROUNDS):
        time.sleep(moments.uniform(0.3, 1.5))
        pids = wait_for(lambda: box.workers(kind), 20, f"a {kind} worker")
        os.kill(moments.choice(pids), signal.SIGKILL)
        deaths += 1
        wait_for(lambda: box.metric("complaintd_worker_deaths_total") >= deaths, 20, "the death is counted")
    wait_for(lambda: box.workers(kind), 20, f"a new {kind} worker")
    time.sleep(1)
    load.stop()
    compared = model_check(box.db, load.acked)
    assert box.metric("complaintd_worker_deaths_total") == deaths
    assert processes.alive(box.state["daemon"]), "the front outlives its workers"
    box.advance("10min")
    everyone_was_answered(box, load.acked, at_most_once=kind == "triage")
    report(capsys, box, load, model_check(box.db, load.acked) or compared)
