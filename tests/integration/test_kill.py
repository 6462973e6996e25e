"""kill -9 while clients of all channels send, and send again what was not acknowledged: nothing that was acknowledged is
missing, nothing is there twice, and its bytes are those that were sent. CD_KILL_ROUNDS: how often each kind of process is
killed; CD_KILL_SEED repeats a run's moments."""
import json
import os
import random
import secrets
import signal
import threading
import time
import urllib.parse

import pytest

import clients
import letters
import processes
from model import digest, mail_digest, model_check, settle, wait_for

LEASE = {"notify": {"lease": "10s"}}  # a sender that was killed keeps its rows that long
ROUNDS = int(os.environ.get("CD_KILL_ROUNDS", "20"))
BETWEEN = (0.1, 0.9)  # seconds


class Load:
    """Clients of all channels; each sends one complaint after the other, and the same again until it is acknowledged.
    `acked`: marker -> what tools/model-check wants to know of it."""

    def __init__(self, box, each=2, pause=0.01):
        self.box = box
        self.acked, self.resent, self.refused = {}, 0, []
        self.lock = threading.Lock()
        self.stopping = threading.Event()
        self.pause = pause
        self.threads = [
            threading.Thread(target=self.client, args=(send,), daemon=True)
            for send in (self.by_mail, self.by_sms, self.by_line, self.by_web)
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
                        self.acked[mark] = {"marker": mark, **self.entry(send, mark, message)}
                    break
                with self.lock:
                    self.resent += 1
                    if verdict is not None:
                        self.refused.append(verdict)
                if "daemon" not in self.box.state:
                    return  # the sandbox was stopped: the test failed and called no stop()
                time.sleep(0.05)
            time.sleep(self.pause)

    def entry(self, send, mark, message):
        if send == self.by_mail:
            return {"channel": "mail", "key": f"{mark}@client.example", "sha256": mail_digest(message)}
        if send == self.by_sms:
            return {
                "channel": "sms",
                "key": "twilio:" + message["MessageSid"],
                "sha256": digest(urllib.parse.urlencode(message).encode()),
            }
        if send == self.by_web:
            return {"channel": "web", "key": mark, "sha256": digest(message[0])}
        return {
            "channel": "line",
            "key": mark,
            "sha256": digest(json.dumps(message, ensure_ascii=False).encode()),
        }

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

    def by_web(self, mark, message):
        complaint = json.dumps({"channel": "web", "text": f"The router is broken {mark}"}).encode()
        message = message or (
            clients.form([("complaint", complaint), ("photo", letters.png(), "a.png", "image/png")], mark)
            if mark[-1] in "02468ace"
            else (complaint, "application/json")
        )
        answer = self.box.web(body=message[0], kind=message[1], key=mark)
        return (True if answer.status // 100 == 2 else (answer.status, answer.raw)), message

    def stop(self):
        self.stopping.set()
        for t in self.threads:
            t.join(120)
        assert not any(
            t.is_alive() for t in self.threads
        ), f"clients still wait for an answer; last refusals: {self.refused[-3:]}"
        channels = {e["channel"] for e in self.acked.values()}
        assert channels == {"mail", "sms", "line", "web"}, f"only {channels} got anything acknowledged"
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


def report(capsys, load, kills, started, counts):
    with capsys.disabled():
        print(
            f"  {kills} kills in {time.monotonic() - started:.0f} s; {counts['acknowledged']} acknowledged, {load.resent} sent again, "
            f"{len(load.refused)} of them told to; {counts['messages']} stored, 0 missing, 0 twice; "
            f"{counts['received mails']} mails out, {counts['received again under the same key']} of them again"
        )


def everyone_was_answered(box, acked, at_most_once):
    """Each mail complaint has one acknowledgement notification; what reached the customer twice carries the same Message-ID.
    Then the model check, with all that was sent. Returns its counts."""
    settle(box.db, 120)
    by_recipient = {}
    for m in box.mails():
        by_recipient.setdefault(str(m["Delivered-To"]), []).append(m["Message-ID"])
    wanted = {f"{mark}@shop.example" for mark, entry in acked.items() if entry["channel"] == "mail"}
    missing = [a for a in wanted if a not in by_recipient]
    assert not missing, f"{len(missing)} of {len(wanted)} got no acknowledgement: {missing[:3]}"
    for address in wanted:
        assert len(set(by_recipient[address])) == 1, f"{address} got different acknowledgements"
        if at_most_once:
            assert len(by_recipient[address]) == 1
    return model_check(box.db, acked, sent=box.path("outbox"), grace=30)


def test_front(make_box, moments, capsys):
    box = make_box(overlay=LEASE)
    load, started = Load(box), time.monotonic()
    for _ in range(ROUNDS):
        time.sleep(moments.uniform(*BETWEEN))
        assert box.daemon_alive()
        box.kill_daemon()
        box.restart()
    time.sleep(1)
    load.stop()
    model_check(box.db, load.acked)
    leases_run_out(box)
    counts = everyone_was_answered(box, load.acked, at_most_once=False)
    report(capsys, load, ROUNDS, started, counts)


def leases_run_out(box):
    """Leases of the dead run out by the real clock; retries by the service clock."""
    wait_for(
        lambda: box.db.value("select count(*) from notifications where state = 'sending'") == 0,
        180,
        "leases of the dead",
    )
    box.advance("10min")
    wait_for(
        lambda: box.db.value("select count(*) from notifications where state = 'sending'") == 0,
        180,
        "what came due",
    )


def test_database(make_box, moments, capsys):
    """The server is stopped as by a power cut: what it had committed is what was acknowledged, or more."""
    box = make_box(overlay=LEASE)
    load, started, kills = Load(box), time.monotonic(), max(1, ROUNDS // 4)
    for _ in range(kills):
        time.sleep(moments.uniform(0.5, 2.5))
        box.stop_postgres(signal.SIGQUIT)
        box.start_postgres()
    wait_for(box.ready, 30, "ready again")
    time.sleep(1)
    load.stop()
    model_check(box.db, load.acked)
    leases_run_out(box)
    counts = everyone_was_answered(box, load.acked, at_most_once=False)
    report(capsys, load, kills, started, counts)


@pytest.mark.parametrize("kind", ["triage", "mail"])
def test_worker(make_box, moments, kind, capsys):
    box = make_box(overlay=LEASE)
    load, started = Load(box), time.monotonic()
    for deaths in range(1, ROUNDS + 1):
        time.sleep(moments.uniform(*BETWEEN))
        pids = wait_for(lambda: box.workers(kind), 20, f"a {kind} worker")
        os.kill(moments.choice(pids), signal.SIGKILL)
        wait_for(lambda: box.metric("complaintd_worker_deaths_total") >= deaths, 20, "the death is counted")
    wait_for(lambda: box.workers(kind), 20, f"a new {kind} worker")
    time.sleep(1)
    load.stop()
    model_check(box.db, load.acked)
    assert box.metric("complaintd_worker_deaths_total") == ROUNDS
    assert processes.alive(box.state["daemon"]), "the front outlives its workers"
    leases_run_out(box)
    counts = everyone_was_answered(box, load.acked, at_most_once=kind == "triage")
    report(capsys, load, ROUNDS, started, counts)
