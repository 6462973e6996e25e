"""Hostile cases that are not of one channel alone, or cost the workers behind it: tests 21, 23, 24 and 26 of the forty. Which test shows
which case: channels/mail/README.md. With the release build, because time and memory are asserted, and with no client trusted."""
import base64
import gzip
import io
import re
import select
import socket
import threading
import struct
import time
import zipfile

import pytest

import clients
import letters
from conftest import assert_sound, finish
from box import release_build
from model import wait_for
from test_abuse import address, honest
from test_reload import configuration, memory, reload
from tls_box import HANDSHAKE_S, HOST, TlsBox

DEADLINE_S = HANDSHAKE_S  # of every port here


@pytest.fixture(scope="module")
def hostile_box():
    box = TlsBox(
        build=release_build(),
        overlay={
            "trusted_clients": [],
            "http": {"request_timeout": f"{DEADLINE_S}s"},
            "mail": {"max_header": "16MB", "errors_before_delay": 1000, "max_errors": 1000},
        },
    )
    yield box
    finish(box)


@pytest.fixture
def wild(hostile_box):
    yield hostile_box
    wait_for(lambda: hostile_box.metric("complaintd_smtp_connections") == 0, 30, "sessions of this test gone")
    assert_sound(hostile_box)


# ---- 21: slowloris ----


class Trickle(threading.Thread):
    """Peers that send a byte every tenth of a second until they are closed; `lasted` has how long that took, by name."""

    def __init__(self):
        super().__init__()
        self.peers, self.lasted = [], {}

    def add(self, name, sock, data):
        sock.setblocking(False)
        self.peers.append((name, sock, iter(data), time.monotonic()))

    def alive(self, sock, byte):
        try:
            sock.send(bytes([byte]))
            return sock.recv(65536) != b""
        except BlockingIOError:
            return True
        except OSError:
            return False

    def run(self):
        end = time.monotonic() + 10 * DEADLINE_S
        while self.peers and time.monotonic() < end:
            for peer in list(self.peers):
                name, sock, data, began = peer
                if not self.alive(sock, next(data)):
                    self.lasted.setdefault(name, []).append(time.monotonic() - began)
                    self.peers.remove(peer)
                    sock.close()
            time.sleep(0.1)
        for _, sock, _, _ in self.peers:
            sock.close()


def opened(port, n, first=b""):
    """A connection from an address of its own."""
    sock = socket.create_connection(("127.0.0.1", int(port)), timeout=30, source_address=(address(n), 0))
    sock.sendall(first)
    return sock


def in_data(box, n):
    sock = opened(box.smtp_port, n)
    file = sock.makefile("rb")
    assert file.readline().startswith(b"220 ")
    for line in (b"HELO c.example\r\n", b"MAIL FROM:<a@x.example>\r\n", b"RCPT TO:<care@example.com>\r\n", b"DATA\r\n"):
        sock.sendall(line)
        assert file.readline()[:3] in (b"250", b"354")
    file.close()
    return sock


def percentile(took, p):
    return sorted(took)[min(len(took) - 1, len(took) * p // 100)] * 1000


def test_21_slowloris_on_every_port(wild, capsys):
    """Test 21 of the forty: a byte now and then keeps nothing open. Every port has a deadline in all, and an honest client's answers
    stay as quick as without them (p99 under twice that, and what a busy machine adds)."""
    c = configuration(wild)
    usual, usual_line = dict(c["mail"]), dict(c["line"])
    c["mail"] = {**usual, "command_timeout": f"{DEADLINE_S}s", "data_timeout": f"{DEADLINE_S}s"}
    c["line"] = {**usual_line, "idle_timeout": f"{DEADLINE_S}s"}
    reload(wild, c)
    alone = [honest(wild)[1] for _ in range(150)]
    endless = b"x" * 1000
    hello = b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\0" * 1000
    head = b"POST /sms/twilio/main HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n"
    slow = Trickle()
    http, line = wild.e["HTTP_PORT"], wild.line_port
    for n in range(20):
        slow.add("SMTP command", opened(wild.smtp_port, 6 * n), b"EHLO " + endless)
        slow.add("SMTP text", in_data(wild, 6 * n + 1), b"Subject: x\r\n\r\n" + endless)
        slow.add("TLS handshake", opened(wild.tls_port, 6 * n + 2), hello)
        slow.add("HTTP head", opened(http, 6 * n + 3), b"GET /healthz HTTP/1.1\r\nX: " + endless)
        slow.add("HTTP body", opened(http, 6 * n + 4, head + b"\r\n"), endless)
        slow.add("line", opened(line, 6 * n + 5), b"PING " + endless)
    slow.start()
    among = []
    while slow.is_alive():
        among.append(honest(wild)[1])
    slow.join()
    with capsys.disabled():
        worst = {name: round(max(times), 1) for name, times in slow.lasted.items()}
        print(f"\n  closed after at most (s, deadline {DEADLINE_S}): {worst}")
        for name, took in (("alone", alone), ("among", among)):
            print(f"  honest client {name}: p50 {percentile(took, 50):.1f} ms, p99 {percentile(took, 99):.1f} ms of {len(took)} mails")
    assert {name: len(times) for name, times in slow.lasted.items()} == dict.fromkeys(
        ("SMTP command", "SMTP text", "TLS handshake", "HTTP head", "HTTP body", "line"), 20)
    for name, times in slow.lasted.items():
        assert 0.8 * DEADLINE_S < min(times) and max(times) < DEADLINE_S + 3, (name, times)
    assert percentile(among, 99) < 2 * percentile(alone, 99) + 100
    assert wild.metric("complaintd_line_timeouts_total") >= 20 and wild.metric("complaintd_http_timeouts_total") >= 40
    c["mail"], c["line"] = usual, usual_line
    reload(wild, c)


# ---- 23: what has no end ----


def pour(port, first, piece, times):
    """Sends until an answer comes or the peer closes; all that was answered."""
    answer = b""
    with socket.create_connection(("127.0.0.1", int(port)), timeout=30) as sock:
        try:
            sock.sendall(first)
            for _ in range(times):
                if select.select([sock], [], [], 0)[0]:
                    break
                sock.sendall(piece)
        except OSError:
            pass
        try:
            while more := sock.recv(65536):
                answer += more
        except OSError:
            pass
    return answer


def test_23_no_end_on_http_and_line(wild):
    """Test 23 of the forty on the other ports (SMTP: test_abuse.py): bounded memory, and the right code as soon as it is certain."""
    before = memory(wild)
    post = b"POST /sms/twilio/main HTTP/1.1\r\nHost: x\r\n"
    for name, first, piece, wanted in (
        ("request line", b"GET /", b"x" * 65536, (b"431",)),
        ("header line", b"GET /healthz HTTP/1.1\r\nHost: x\r\nX: ", b"x" * 65536, (b"431",)),
        ("headers", b"GET /healthz HTTP/1.1\r\nHost: x\r\n", b"X: y\r\n" * 10000, (b"431",)),
        ("a body of 1 GB", post + b"Content-Length: 1073741824\r\n\r\n", b"x" * 65536, (b"413",)),
        ("chunks", post + b"Transfer-Encoding: chunked\r\n\r\n", b"10000\r\n" + b"x" * 65536 + b"\r\n", (b"411", b"413")),
    ):
        answer = pour(wild.e["HTTP_PORT"], first, piece, 1600)  # 100 MB of it
        assert answer.startswith(b"HTTP/1.1 ") and answer.split(b" ")[1] in wanted, (name, answer[:200])
        assert answer.count(b"HTTP/1.1 ") == 1
        assert memory(wild) - before < 8 << 10, name
    with clients.Line(wild.line_port) as line:
        for _ in range(100):
            line.send_raw(b"x" * (1 << 20))
            assert memory(wild) - before < 8 << 10
        line.send_raw(b"\nPING\n")
        word, body, _ = line.answer()
        assert word == "ERR" and body["code"] == "line-too-long"
        assert line.answer()[0] == "OK"
    assert honest(wild)[0] == 250


# ---- 24: what costs a worker ----


def folded(items, separator):
    """A field's value over many lines, a hundred items each."""
    return (separator + b"\r\n\t").join(separator.join(items[i : i + 100]) for i in range(0, len(items), 100))


def zip_in_zip():
    inner = io.BytesIO()
    with zipfile.ZipFile(inner, "w", zipfile.ZIP_DEFLATED) as z:
        for n in range(4):
            z.writestr(f"{n}", bytes(8 << 20))
    outer = io.BytesIO()
    with zipfile.ZipFile(outer, "w", zipfile.ZIP_DEFLATED) as z:
        for n in range(16):
            z.writestr(f"{n}.zip", inner.getvalue())
    return outer.getvalue()


def attached(kind, data):
    return (
        b'Content-Type: multipart/mixed; boundary="q"\r\n\r\n--q\r\n\r\nsee this\r\n--q\r\nContent-Type: ' + kind
        + b"\r\nContent-Disposition: attachment; filename=big\r\nContent-Transfer-Encoding: base64\r\n\r\n"
        + base64.encodebytes(data).replace(b"\n", b"\r\n") + b"--q--\r\n"
    )


def winmail(*attributes):
    """A TNEF stream of these (level, type, bytes)."""
    parts = [struct.pack("<BII", level, kind, len(data)) + data + struct.pack("<H", sum(data) & 0xFFFF) for level, kind, data in attributes]
    return struct.pack("<IH", 0x223E9F78, 1) + b"".join(parts)


def growing_rtf():
    """A property of compressed RTF: each two bytes become seventeen, as often as the format allows."""
    packed = struct.pack("<IIII", 0, 0xFFFFFFFF, 0x75465A4C, 0) + (b"\xff" + b"\x00\x0f" * 8) * 29000
    return struct.pack("<IIII", 1, 0x10090102, 1, len(packed)) + packed


def bombs():
    """name: (the mail behind its first fields, whether it must be marked as not decoded in full)."""
    parameters = folded([b"p%d=v" % i for i in range(50000)], b"; ")
    addresses = folded([b"a%d@b.example" % (i % 10) for i in range(1000000)], b", ")
    inside = b'Content-Type: multipart/mixed; boundary="q"\r\n\r\n--q\r\n\r\nabout this\r\n--q\r\n'
    return {
        "100 k parts": (b'Content-Type: multipart/mixed; boundary="m"\r\n\r\n' + b"--m\r\n\r\n\r\n" * 100000, True),
        "depth 5000": (
            b"".join(b'Content-Type: multipart/mixed; boundary="n%d"\r\n\r\n--n%d\r\n' % (i, i) for i in range(5000)) + b"\r\ndeep\r\n",
            True,
        ),
        "depth 5000 of messages": (b"Content-Type: message/rfc822\r\n\r\n" * 5000 + b"\r\ndeep\r\n", True),
        "50 k parameters": (b"Content-Type: text/plain; " + parameters + b"\r\n\r\ntext\r\n", True),
        "50 k parameters of a part": (inside + b"Content-Type: text/plain; " + parameters + b"\r\n\r\ntext\r\n--q--\r\n", True),
        "1 M addresses": (b"To: " + addresses + b"\r\n\r\ntext\r\n", True),
        "1 M addresses inside": (
            inside + b"Content-Type: message/rfc822\r\n\r\nFrom: a@b.example\r\nTo: " + addresses + b"\r\n\r\ntext\r\n--q--\r\n", True),
        "gzip": (attached(b"application/gzip", gzip.compress(bytes(32 << 20))), False),
        "zip in zip": (attached(b"application/zip", zip_in_zip()), False),
        "20 k members": (attached(b"application/ms-tnef", winmail(*[(2, 0x00069002, bytes(14)), (2, 0x0006800F, b"x")] * 20000)), True),
        "100 k properties": (
            attached(b"application/ms-tnef", winmail((1, 0x00069003, struct.pack("<I", 100000) + struct.pack("<II", 0x0E210003, 1) * 100000))), True),
        "RTF that grows": (attached(b"application/ms-tnef", winmail((1, 0x00069003, growing_rtf()))), False),
        "50 k lines of a calendar": (
            inside + b"Content-Type: text/calendar\r\n\r\nBEGIN:VEVENT\r\n" + b"ATTENDEE:mailto:a@b.example\r\n" * 50000 + b"--q--\r\n", True),
    }


def lag(box):
    """(ticks of the loop, of them late by more than 50 ms)."""
    values = box.metrics()
    ticks = values["complaintd_loop_lag_seconds_count"]
    return ticks, ticks - values['complaintd_loop_lag_seconds_bucket{le="0.05"}']


def worker_peak(box):
    most = 0
    for pid in box.workers("triage"):
        with open(f"/proc/{pid}/status", encoding="ascii") as f:
            most = max(most, int(re.search(r"VmHWM:\s+(\d+)", f.read())[1]) >> 10)
    return most


def test_24_what_costs_a_worker(wild, capsys):
    """Test 24 of the forty: taken and stored raw as they came, marked where they were not decoded in full; no worker dies of them, and
    the front's loop is never busy with them. Archives are not unpacked at all."""
    deaths, (ticks, late), grown = wild.metric("complaintd_worker_deaths_total"), lag(wild), memory(wild)
    sent, took = {}, {}
    for name, (tail, degraded) in bombs().items():
        mark = letters.mark()
        raw = f"From: <{mark}@shop.example>\r\nSubject: {name} {mark}\r\nMessage-ID: <{mark}@x>\r\nMIME-Version: 1.0\r\n".encode() + tail
        began = time.monotonic()
        code, text = wild.mail(raw, f"{mark}@shop.example")
        assert code == 250, f"{name}: {code} {text}"
        m = wild.message_of(mark, raw)
        took[name] = round(time.monotonic() - began, 2)
        assert m["degraded"] is degraded, name
        sent[name] = m
    for name in ("gzip", "zip in zip"):
        a = wild.db.row(
            "select a.* from attachments a join messages m on m.id = a.message_id where m.complaint_id = %s", sent[name]["complaint_id"]
        )
        assert (a["filename"], a["size_bytes"] < 1 << 20) == ("big", True)
    all_ticks, all_late = lag(wild)
    with capsys.disabled():
        print(f"\n  seconds to answer and triage: {took}")
        print(f"  workers: {worker_peak(wild)} MB at most; loop: {all_late - late:.0f} of {all_ticks - ticks:.0f} ticks late by 50 ms")
    assert wild.metric("complaintd_worker_deaths_total") == deaths
    assert all_late - late <= 1 + (all_ticks - ticks) / 50  # one is the machine's
    assert worker_peak(wild) < 384
    assert memory(wild) - grown < 100 << 10
    code, seconds = honest(wild)
    assert code == 250 and seconds < 2


# ---- 26: smuggling, to the database ----


VECTORS = {
    b"\n.\n": "bare_lf",
    b"\n.\r\n": "bare_lf",
    b"\r\n.\n": "bare_lf",
    b"\r\n.\0\r\n": "nul",
    b"\r\n\0.\r\n": "nul",
    b"\r\n..\r\n": "-",
    b"\r.\r": None,  # refused: mail.bare_cr
    b"\r\n.\r": None,
    b"\r.\r\n": None,
    b"\r\r\n..\r\n": None,
}
HIDDEN = b"MAIL FROM:<evil@x.example>\r\nRCPT TO:<care@example.com>\r\nDATA\r\nSubject: two\r\n\r\nhidden\r\n"


class InTls(clients.RawSmtp):
    def __init__(self, box):
        super().__init__(box.smtp_port)
        assert self.command("EHLO c.example")[0] == 250 and self.command("STARTTLS")[0] == 220
        self.file.close()
        self.sock = box.context().wrap_socket(self.sock, server_hostname=HOST)
        self.file = self.sock.makefile("rb")


@pytest.mark.parametrize("tls", [False, True], ids=["plain", "tls"])
def test_26_smuggling_leaves_one_message(wild, tls):
    """Test 26 of the forty, from the socket to the database: one message, its content whole, what was odd about it in the log; cut
    before, inside and behind each vector. (Every cut, and every mode: tests/unit/mail_smtp/test_smtp_smuggling.c.)"""
    for vector, note in VECTORS.items():
        with InTls(wild) if tls else clients.RawSmtp(wild.smtp_port) as s:
            assert s.command("EHLO c.example")[0] == 250
            for cut in range(len(vector) + 1):
                mark = letters.mark()
                head = f"From: <{mark}@shop.example>\r\nSubject: one {mark}\r\n\r\nbefore".encode()
                text = head + vector + HIDDEN
                s.send("MAIL FROM:<a@x.example>\r\nRCPT TO:<care@example.com>\r\nDATA\r\n")
                assert [s.reply()[0] for _ in range(3)] == [250, 250, 354]
                s.send(text[: len(head) + cut])
                s.send(text[len(head) + cut :] + b".\r\n")
                code, lines = s.reply()
                if note is None:
                    assert (code, lines[0][:9]) == (550, "550 5.5.2"), vector
                    continue
                assert code == 250, vector
                wanted = re.sub(rb"\r\n|\n", b"\r\n", text.replace(b"\r\n.", b"\r\n"))
                wild.message_of(mark, wanted)
                ident = lines[0].rsplit(" ", 1)[1]
                wait_for(lambda i=ident: f"intake.accepted id={i} " in wild.log(), 10, "its log line")
                line = next(x for x in wild.log().splitlines() if f"intake.accepted id={ident} " in x)
                assert (f" notes={note} " in line + " ") == (note != "-"), line
            assert s.command("QUIT")[0] == 221
    assert wild.db.value("select count(*) from complaints where subject = 'two'") == 0
