"""The mail server among clients that mean it ill: no descriptor left, idle crowds, floods, harvesting, texts without end. With the
release build, because processor time and memory are asserted, and with no client trusted."""
import os
import re
import resource
import smtplib
import socket
import time

import pytest

import clients
import letters
from box import Box, release_build
from conftest import assert_sound, finish
from model import wait_for
from test_reload import configuration, last_reload, memory, reload


@pytest.fixture(scope="module")
def wild_box():
    box = Box(build=release_build(), overlay={"trusted_clients": [], "mail": {"max_connections": 3000}})
    yield box
    finish(box)


@pytest.fixture
def wild(wild_box):
    yield wild_box
    wait_for(lambda: wild_box.metric("complaintd_smtp_connections") == 0, 30, "sessions of this test gone")
    assert_sound(wild_box)


def address(n):
    return f"127.{1 + n // 250 % 250}.{n // 62500}.{1 + n % 250}"


def connect(box, source):
    return socket.create_connection(("127.0.0.1", box.smtp_port), timeout=30, source_address=(source, 0))


def honest(box, source="127.0.0.9"):
    """One mail from a client that behaves: the answer's code and how long it took."""
    began = time.monotonic()
    with smtplib.SMTP("127.0.0.1", box.smtp_port, timeout=60, source_address=(source, 0)) as smtp:
        code, _ = clients.mail_on(smtp, letters.mail("The bill is wrong", letters.mark()), "honest@x.example")
    return code, time.monotonic() - began


def processor(box):
    with open(f"/proc/{box.state['daemon']['pid']}/stat", encoding="ascii") as f:
        fields = f.read().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def until_closed(sock):
    data = b""
    while True:
        try:
            more = sock.recv(1 << 16)
        except ConnectionResetError:
            return data
        if not more:
            return data
        data += more


def test_14_no_descriptor_left(wild):
    """Test 14 of the forty. The limit is lowered under a running daemon, because at the start it would keep its servers under it."""
    pid = wild.state["daemon"]["pid"]
    old = resource.prlimit(pid, resource.RLIMIT_NOFILE)
    crowd = []
    with clients.RawSmtp(wild.smtp_port) as s:
        for line in ("EHLO c.example", "MAIL FROM:<a@x.example>", "RCPT TO:<care@example.com>", "DATA"):
            assert s.command(line)[0] in (250, 354)
        used = max(int(n) for n in os.listdir(f"/proc/{pid}/fd")) + 1
        try:
            resource.prlimit(pid, resource.RLIMIT_NOFILE, (used + 5, old[1]))
            lines, cpu, began = wild.log().count("\n"), processor(wild), time.monotonic()
            crowd = [connect(wild, address(n)) for n in range(100)]
            wait_for(lambda: wild.log().count("smtp.accept-paused") > 0, 10, "the limit reached")
            time.sleep(2)  # the time over which it is measured
            share = (processor(wild) - cpu) / (time.monotonic() - began)
            assert share < 0.2, f"{share:.0%} of a processor"
            assert wild.log().count("\n") - lines < 10, wild.log().splitlines()[lines:]
            s.send(letters.mail("The bill is wrong", letters.mark()) + b".\r\n")  # those who are in finish
            assert s.reply()[0] == 250
        finally:
            resource.prlimit(pid, resource.RLIMIT_NOFILE, old)
    assert honest(wild)[0] == 250
    for c in crowd:
        c.close()


def test_22_idle_connections(wild):
    """Test 22 of the forty, a thousand of them; tests/bench/idle has ten thousand."""
    count = 1000
    honest(wild)
    before = memory(wild)
    crowd = [connect(wild, address(n)) for n in range(count)]
    for c in crowd:
        assert c.recv(100).startswith(b"220 ")
    each = (memory(wild) - before) / count
    assert each < 20, f"{each:.1f} kB a connection"
    assert honest(wild)[0] == 250
    # one address has its own limit, and others have theirs
    same = [connect(wild, "127.9.9.9") for _ in range(21)]
    answers = [c.recv(100)[:3] for c in same]
    assert answers.count(b"220") == 20 and answers.count(b"421") == 1
    assert wild.metrics()['complaintd_smtp_limit_hits_total{limit="connections-per-address"}'] >= 1
    # stress: entered by the number of sessions, and left when they are gone; who brings mail gets in all the time
    c = configuration(wild)
    usual = dict(c["mail"])
    c["mail"] = {**usual, "max_connections": count + 21, "stress_timeout": "2s"}
    reload(wild, c)
    assert "mail.max_connections" in last_reload(wild)["changed"]
    assert wild.metric("complaintd_smtp_stress") == 1
    assert honest(wild)[0] == 250
    wait_for(lambda: wild.metric("complaintd_smtp_connections") == 0, 20, "idle sessions ended")
    assert wild.metric("complaintd_smtp_stress") == 0
    modes = re.findall(r"smtp\.stress mode=(\w+)", wild.log())
    assert modes == ["stress", "normal"]
    assert crowd[0].recv(100).startswith(b"421 ")
    # every connection in use: the one that has been idle longest makes room
    c["mail"] = {**usual, "max_connections": 5, "stress_at": 100}
    reload(wild, c)
    few = [connect(wild, address(n)) for n in range(5)]
    for f in few:
        assert f.recv(100).startswith(b"220 ")
    time.sleep(1.1)  # who has been idle for less than a second may stay
    assert honest(wild)[0] == 250
    assert wild.metric("complaintd_smtp_evicted_total") == 1
    c["mail"] = usual
    reload(wild, c)
    for s in crowd + same + few:
        s.close()


def ended(box):
    return [line for line in box.log().splitlines() if " smtp.ended " in line]


def test_28_floods_end_with_one_line_each(wild):
    """Test 28 of the forty."""
    cases = {
        "pipelining": (b"EHLO c\r\n", b"VRFY somebody\r\n" * 10000),
        "early-talker": (None, b"EHLO c\r\n" * 10),
        "junk": (b"EHLO c\r\n", b"RSET\r\n" * 10000),
        "errors": (b"EHLO c\r\n", b"MAIL FROM:<a@x.example>\r\n" * 10000),
        "unknown-recipients": (b"EHLO c\r\nMAIL FROM:<a@x.example>\r\n", b"RCPT TO:<somebody@example.com>\r\n" * 10000),
    }
    c = configuration(wild)
    usual = dict(c["mail"])
    c["mail"] = {**usual, "error_delay": "100ms", "max_unknown_recipients": 8, "greeting_delay": "200ms"}
    reload(wild, c)
    before, cpu = len(ended(wild)), processor(wild)
    for why, (first, flood) in cases.items():
        if why == "unknown-recipients":
            c["mail"]["max_errors"] = 100
            reload(wild, c)
        with connect(wild, "127.0.0.20") as s:
            if first:
                assert s.recv(100).startswith(b"220 ")
                for line in first.splitlines(True):
                    s.sendall(line)
                    assert s.recv(1000)[:3] == b"250"
            try:
                s.sendall(flood)
            except OSError:
                pass  # cut off in the middle of it
            until_closed(s)
        wait_for(lambda: len(ended(wild)) > before, 10, f"the end of the session: {why}")
        lines = ended(wild)[before:]
        assert len(lines) == 1 and f"why={why} " in lines[0], lines
        before += 1
    assert processor(wild) - cpu < 1
    assert wild.metric("complaintd_smtp_delayed_replies_total") > 5
    assert honest(wild)[0] == 250
    c["mail"] = usual
    reload(wild, c)


def test_23_no_end_on_smtp(wild):
    """Test 23 of the forty: what has no end costs no memory, and is answered once it has one."""
    chunk = b"x" * (1 << 20)
    cases = {
        "header line": (b"X-Long: ", chunk, 100, 552),
        "headers": (b"", b"X-Many: of them\r\n" * 60000, 17, 552),
        "body line": (b"Subject: x\r\n\r\n", chunk, 100, 552),
        "body": (b"Subject: x\r\n\r\n", (b"y" * 70 + b"\r\n") * 14000, 100, 552),
    }
    honest(wild)
    before, cpu = memory(wild), processor(wild)
    peak = 0
    for name, (first, more, times, wanted) in cases.items():
        with clients.RawSmtp(wild.smtp_port) as s:
            for line in ("EHLO c.example", "MAIL FROM:<a@x.example>", "RCPT TO:<care@example.com>", "DATA"):
                assert s.command(line)[0] in (250, 354)
            s.send(first)
            for _ in range(times):
                s.send(more)
                peak = max(peak, memory(wild))
            s.send(b"\r\n\r\n.\r\n")
            assert s.reply()[0] == wanted, name
            assert s.command("NOOP")[0] == 250
    with clients.RawSmtp(wild.smtp_port) as s:
        for _ in range(10):
            s.send(chunk)
        s.send(b"\r\n")
        assert s.reply()[0] == 500
    assert peak - before < 30 << 10, f"{(peak - before) >> 10} MB"  # mail.max_message is 25 MB
    assert processor(wild) - cpu < 5
    assert honest(wild)[0] == 250
