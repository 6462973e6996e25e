"""Our own mail against relays that fail (Postfix's smtp-sink), several relays of which one is away, and mail workers that crash,
hang or cannot be started: what becomes of a notification, and that it ends with an alarm and not in a circle."""
import ctypes
import os
import resource
import secrets
import shutil
import signal
import socket
import subprocess
import time

import pytest

import letters
from box import release_build
from model import settle, wait_for
from test_reload import configuration, reload

SMTP_SINK = shutil.which("smtp-sink", path="/usr/sbin:/usr/bin")


def address():
    return f"c{secrets.token_hex(5)}@shop.example"


def complain(box, sender, text="The parcel is late"):
    mark = letters.mark()
    assert box.mail(letters.mail("Late", f"{text} {mark}", sender=f"A <{sender}>"), sender)[0] == 250
    wait_for(lambda: box.db.value("select count(*) from pending") == 0)
    return box.complaint_of(mark)


def ack(box, sender):
    return box.db.row("select * from notifications where purpose = 'acknowledgement' and recipient = %s", sender)


def tried(box, sender):
    """The acknowledgement once its first attempt has an outcome."""
    return wait_for(lambda: [a for a in [ack(box, sender)] if a["attempts"] and a["state"] != "sending"], 40, f"outcome for {sender}")[0]


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


class Sink:
    """Postfix's smtp-sink with these options."""

    def __init__(self, port, *options):
        user = ["-u", "nobody"] if os.getuid() == 0 else []
        self.process = subprocess.Popen([SMTP_SINK, "-4", *user, *options, f"127.0.0.1:{port}", "20"], stderr=subprocess.DEVNULL)
        wait_for(lambda: self.listens(port), 10, "smtp-sink")

    @staticmethod
    def listens(port):
        with socket.socket() as s:
            return s.connect_ex(("127.0.0.1", port)) == 0

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.terminate()
        self.process.wait(10)


# smtp-sink's options, and the state that a notification must be in after one attempt
CASES = (
    [("-q", step, "pending") for step in ("CONNECT", "EHLO", "MAIL", "RCPT", "DATA")]
    + [("-Q", step, "pending") for step in ("CONNECT", "EHLO", "MAIL", "RCPT", "DATA", ".")]
    + [("-r", step, "pending") for step in ("CONNECT", "EHLO", "MAIL", "RCPT", "DATA", ".")]
    + [("-f", step, "failed") for step in ("MAIL", "RCPT", "DATA", ".")]
    + [("-f", "CONNECT", "pending"), ("-H", "1", "sent")]
    # gone, or a 550, behind the 354: no text was asked for, or some of it is under way
    + [("-q", ".", "pending unknown"), ("-A", "0", "pending unknown failed")]
    + [(option, "QUIT", "sent") for option in ("-q", "-Q", "-r", "-f")]
)


@pytest.mark.skipif(not SMTP_SINK, reason="smtp-sink (package postfix) is not installed")
def test_36_postfix_sink_at_each_step(make_box):
    box = make_box(overlay={"mail": {"workers": 1, "send_timeout": "10s"}})
    c = configuration(box)
    wrong = []
    for option, value, state in CASES:
        port = free_port()
        with Sink(port, option, value):
            c["mail"]["relay"]["port"] = port
            reload(box, c)
            sender, start = address(), time.monotonic()
            complain(box, sender)
            row = tried(box, sender)
            if row["state"] not in state.split() or row["attempts"] != 1 or time.monotonic() - start > 15:
                wrong.append((option, value, row["state"], row["last_error"], round(time.monotonic() - start, 1)))
    assert not wrong


def test_a_relay_that_is_down_costs_no_attempt(make_box):
    box = make_box()
    c = configuration(box)
    dead, good = free_port(), c["mail"].pop("relay")
    c["mail"].update(relays=[{"host": "127.0.0.1", "port": dead}, good], relay_down_after=2, relay_retry="1s")
    reload(box, c)
    up, mails = f'complaintd_mail_relay_up{{relay="127.0.0.1:{dead}"}}', 'complaintd_mail_relay_mails_total{relay="127.0.0.1:%d"}'
    for _ in range(4):
        sender = address()
        complain(box, sender)
        row = tried(box, sender)
        assert (row["state"], row["attempts"]) == ("sent", 1) and len(box.mails(sender)) == 1
    assert box.log().count(" mail.relay-down ") == 1 and box.metrics()[up] == 0
    assert box.metrics()[mails % good["port"]] >= 4
    assert box.metric("complaintd_mail_out_elsewhere_total") >= 2
    if not SMTP_SINK:
        return
    with Sink(dead):

        def back():
            complain(box, address())
            time.sleep(0.3)
            return box.metrics()[up] == 1

        wait_for(back, 30, "the relay to be tried again")
        sender = address()
        complain(box, sender)
        assert tried(box, sender)["state"] == "sent"
        assert box.mails(sender) == [], "the first of the list has it again"
    assert box.log().count(" mail.relay-back ") == 1 and box.log().count(" mail.relay-down ") == 1


TRIES = 3


@pytest.mark.parametrize("fault", ["segfault", "hang"])
def test_37_a_mail_worker_that_fails_each_time(make_box, fault):
    """The same notification, its worker gone in the middle of each attempt: so many attempts, then dead, with an alarm."""
    box = make_box(
        build=release_build(),  # where the signal ends it, and no sanitizer reports it
        overlay={
            "mail": {"workers": 1, "send_timeout": "9s"},
            "notify": {"max_attempts": TRIES, "retry_base": "1s", "retry_max": "2s"},
        }
    )
    box.inject(mail_delay=20)
    c = complain(box, address(), "The kettle caught fire in my kitchen, my hand is burnt.")

    which = "from notifications where complaint_id = %s and purpose = 'escalation' and transport = 'mail' order by created_at, id limit 1"
    first = wait_for(lambda: box.db.rows("select id " + which, c["id"]), 30, "the escalation")[0]["id"]

    def row():
        return box.db.row("select * from notifications where id = %s", first)

    for n in range(1, TRIES + 1):
        wait_for(lambda: row()["attempts"] == n and row()["state"] == "sending", 30, f"attempt {n}")
        end, hurt = time.monotonic() + 40, set()
        while row()["state"] == "sending" and row()["attempts"] == n:  # the next worker too, when it goes to that one
            assert time.monotonic() < end, f"no outcome of attempt {n}"
            for worker in set(box.workers("mail")) - hurt:
                os.kill(worker, signal.SIGSEGV if fault == "segfault" else signal.SIGSTOP)
                hurt.add(worker)
            time.sleep(0.2)
        assert hurt
    last = wait_for(lambda: [r for r in [row()] if r["state"] == "dead"], 30, "the end of it")[0]
    assert last["attempts"] == TRIES and "worker" in last["last_error"]
    alarm = [line for line in box.log().splitlines() if " notify.failed " in line and str(last["id"]) in line]
    assert len(alarm) == 1 and " error " in alarm[0] and "state=dead" in alarm[0]
    assert box.metrics()['complaintd_notifications_total{outcome="dead"}'] >= 1
    name = "complaintd_worker_crashes_total" if fault == "segfault" else "complaintd_worker_timeouts_total"
    assert box.metric(name) >= TRIES
    box.inject()
    sender = address()
    complain(box, sender)
    wait_for(lambda: box.mails(sender), 40, "the service goes on")


def test_37_a_mail_worker_that_cannot_be_started(make_box):
    box = make_box(overlay={"mail": {"workers": 1}})
    pid = box.state["daemon"]["pid"]
    complain(box, address())
    settle(box.db)
    soft, hard = resource.prlimit(pid, resource.RLIMIT_NOFILE)
    resource.prlimit(pid, resource.RLIMIT_NOFILE, (5, hard))  # what is open stays open; nothing new can be
    try:
        for worker in box.workers("mail"):
            os.kill(worker, signal.SIGKILL)
        wait_for(lambda: box.log().count(" worker.start ") >= 2, 30, "attempts to start it")
        time.sleep(3)
        assert box.log().count(" worker.start ") < 12, "with growing pauses"
        assert not box.workers("mail") and box.daemon_alive()
    finally:
        resource.prlimit(pid, resource.RLIMIT_NOFILE, (soft, hard))
    wait_for(lambda: box.workers("mail"), 30, "a worker again")
    sender = address()
    complain(box, sender)
    wait_for(lambda: box.mails(sender), 40, "the acknowledgement")
    assert ack(box, sender)["attempts"] == 1


def test_a_batch_is_one_dialogue_with_an_outcome_each(make_box):
    """What waits goes in one session; who is refused there costs the others nothing."""
    box = make_box(overlay={"mail": {"workers": 1}, "notify": {"paused": True}})
    refused = [address() for _ in range(3)]
    others = [address() for _ in range(30)]
    box.inject(mail_to={a: "550 5.1.1 no such user" for a in refused})
    for sender in others[:15] + refused + others[15:]:
        complain(box, sender)
    c = configuration(box)
    c["notify"]["paused"] = False
    reload(box, c)
    settle(box.db)
    assert {ack(box, a)["state"] for a in refused} == {"failed"}
    assert {ack(box, a)["state"] for a in others} == {"sent"}
    assert all(len(box.mails(a)) == 1 for a in others)
    assert box.metric("complaintd_mail_relay_sessions_total") <= 3


def descriptor_of(pid, fd):
    """A copy of another process's descriptor (pidfd_getfd(2)), or None."""
    pidfd = os.pidfd_open(pid)
    try:
        copy = ctypes.CDLL(None, use_errno=True).syscall(438, pidfd, fd, 0)
    finally:
        os.close(pidfd)
    return copy if copy >= 0 else None


def tcp_nodelay(pid):
    """TCP_NODELAY of each TCP socket of the process."""
    found = []
    for fd in os.listdir(f"/proc/{pid}/fd"):
        copy = descriptor_of(pid, int(fd)) if os.readlink(f"/proc/{pid}/fd/{fd}").startswith("socket:") else None
        if copy is None:
            continue
        with socket.socket(fileno=copy) as s:
            if s.family in (socket.AF_INET, socket.AF_INET6):
                found.append(s.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY))
    return found


@pytest.mark.skipif(os.getuid() != 0, reason="another process's socket is looked at, which root may")
def test_the_rest_of_a_text_does_not_wait_for_an_acknowledgement_of_what_came_before(make_box):
    """libesmtp writes in pieces of 2 kB; with Nagle's algorithm every longer mail took 40 ms."""
    box = make_box(overlay={"mail": {"workers": 1}})
    c = configuration(box)
    with socket.create_server(("127.0.0.1", 0)) as relay:
        c["mail"]["relay"]["port"] = relay.getsockname()[1]
        reload(box, c)
        complain(box, address())
        relay.settimeout(30)
        with relay.accept()[0] as session:
            session.sendall(b"220 relay\r\n")
            assert session.recv(100).startswith(b"EHLO")
            assert [on for pid in box.workers("mail") for on in tcp_nodelay(pid)] == [1]
