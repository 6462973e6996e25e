"""Real clients, called as their users call them, and what they sent found in the database byte by byte. swaks, msmtp and Python's
smtplib here; smtplib in TLS: test_tls.py; LMTP by smtplib, and Postfix as the server in front, relaying by SMTP and LMTP:
test_lmtp.py. A client that is not installed is skipped and says so."""
import base64
import email.message
import email.policy
import hashlib
import re
import secrets
import shutil
import smtplib
import subprocess

import pytest

import certs
import clients
import conftest
import letters
from box import Box, release_build
from tls_box import HOST, TlsBox

SENDER = "client@shop.example"


@pytest.fixture(scope="module")
def module_box():
    box = TlsBox()
    yield box
    conftest.finish(box)


@pytest.fixture
def box(module_box):
    yield module_box
    conftest.assert_sound(module_box)


def letter(mark):
    """With what a client has to get right: a line of one dot, one that begins with dots, 8-bit text."""
    return letters.mail(f"By a real client {mark}", f"Das Gerät brennt. {mark}\n.\n..dots\n.one\nnot the end", sender=f"Ann <{SENDER}>")


# ---- swaks ----


WAYS = {
    "plain": (lambda b: ["--port", str(b.smtp_port)], b"with ESMTP id "),
    "starttls": (lambda b: ["--port", str(b.smtp_port), "--tls"], b"with ESMTPS id "),
    "implicit-tls": (lambda b: ["--port", str(b.tls_port), "--tls-on-connect"], b"with ESMTPS id "),
    "lmtp-tcp": (lambda b: ["--port", str(b.lmtp_port), "--protocol", "LMTP"], b"with LMTP id "),
    "lmtp-socket": (lambda b: ["--socket", b.e["LMTP_SOCKET"], "--protocol", "LMTP"], b"with LMTP id "),
}


@pytest.mark.skipif(not shutil.which("swaks"), reason="swaks is not installed")
@pytest.mark.parametrize("way", WAYS)
def test_swaks(box, tmp_path, way):
    """(swaks knows no SMTPUTF8: smtplib does that below.)"""
    mark = letters.mark()
    options, trace_word = WAYS[way]
    raw = letter(mark)
    (tmp_path / "mail").write_bytes(raw.removesuffix(b"\r\n"))  # it adds one
    where = [] if way == "lmtp-socket" else ["--server", "127.0.0.1"]
    tls = ["--tls-verify", "--tls-ca-path", box.trust_file] if "tls" in way else []
    done = subprocess.run(
        ["swaks", *where, *options(box), *tls, "--from", SENDER, "--to", "care@example.com", "--helo", "swaks.example",
         "--data", f"@{tmp_path}/mail"],
        capture_output=True, text=True, timeout=60, check=False)
    if "requires Net::SSLeay" in done.stdout + done.stderr:
        pytest.skip("swaks has no Net::SSLeay")
    assert done.returncode == 0, done.stdout + done.stderr
    trace = box.message_of(mark, raw)["trace"]
    assert trace_word in trace and b"Received: from swaks.example (" in trace
    assert (b"(using TLSv1.3/TLS_" in trace) == ("tls" in way)
    assert ("TLS started with cipher TLSv1.3" in done.stdout) == ("tls" in way)


# ---- msmtp ----


def msmtp(box, raw, *options):
    return subprocess.run(
        ["msmtp", "--host=127.0.0.1", "--domain=msmtp.example", f"--from={SENDER}", "--auth=off", "--timeout=30", *options,
         "care@example.com"],
        input=raw.replace(b"\r\n", b"\n"), capture_output=True, timeout=60, check=False)


@pytest.mark.skipif(not shutil.which("msmtp"), reason="msmtp is not installed")
def test_msmtp(box, tmp_path):
    """In the clear, with STARTTLS and with TLS at once; the certificate must be signed by whom it trusts, and for the name it asked for."""
    checked = ["--tls=on", f"--tls-trust-file={box.trust_file}", f"--tls-host-override={HOST}"]
    ways = {
        b"with ESMTP id ": [[f"--port={box.smtp_port}", "--tls=off"]],
        b"with ESMTPS id ": [
            [f"--port={box.smtp_port}", "--tls-starttls=on", *checked],
            [f"--port={box.tls_port}", "--tls-starttls=off", *checked],
        ],
    }
    for word, calls in ways.items():
        for options in calls:
            mark = letters.mark()
            raw = letter(mark)
            done = msmtp(box, raw, *options)
            assert done.returncode == 0, done.stderr
            trace = box.message_of(mark, raw)["trace"]
            assert word in trace and b"Received: from msmtp.example (" in trace
    other = tmp_path / "other.pem"
    other.write_text(certs.Authority().pem(), encoding="ascii")
    receipts = box.db.value("select count(*) from receipts")
    for wrong in (
        ["--tls=on", "--tls-starttls=on", f"--tls-trust-file={other}", f"--tls-host-override={HOST}"],
        ["--tls=on", "--tls-starttls=on", f"--tls-trust-file={box.trust_file}", "--tls-host-override=elsewhere.example"],
    ):
        done = msmtp(box, letter(letters.mark()), f"--port={box.smtp_port}", *wrong)
        assert done.returncode != 0 and b"certificate" in done.stderr, done.stderr
    assert box.db.value("select count(*) from receipts") == receipts


# ---- smtplib ----


def test_smtplib_smtputf8(box):
    """An address, a subject and a text outside ASCII, by what the library makes of a message with them."""
    mark = letters.mark()
    m = email.message.EmailMessage(policy=email.policy.SMTPUTF8)
    m["From"], m["To"], m["Subject"] = "王小明 <王小明@例子.公司>", "care@example.com", f"快递延误 {mark}"
    m["Message-ID"] = f"<{mark}@client.example>"
    m.set_content(f"我的包裹延误了一个星期。{mark}", cte="8bit")
    with smtplib.SMTP("127.0.0.1", box.smtp_port, local_hostname="client.example", timeout=30) as smtp:
        assert smtp.send_message(m) == {}
    trace, c = box.message_of(mark, m.as_bytes())["trace"], box.complaint_of(mark)
    assert b"with UTF8SMTP id " in trace and "Return-Path: <王小明@例子.公司>".encode() in trace
    assert (c["customer_email"], c["subject"]) == ("王小明@例子.公司", f"快递延误 {mark}")


# ---- 25 MB ----


def peak(pid):
    with open(f"/proc/{pid}/status", encoding="ascii") as f:
        return int(re.search(r"VmHWM:\s+(\d+)", f.read())[1]) >> 10


def test_a_mail_of_25_mb(capsys):
    """A picture of which the mail just stays under mail.max_message: taken, stored as sent, attachment and all; one byte over is refused.
    In the optimized build, for the memory."""
    limit, mark = 25 << 20, letters.mark()
    edge = "edge-" + secrets.token_hex(8)
    head = letters.mail(f"Large {mark}", f"See the picture. {mark}").replace(
        b"Content-Type: text/plain; charset=utf-8\r\n",
        f'Content-Type: multipart/mixed; boundary="{edge}"\r\n\r\n--{edge}\r\nContent-Type: text/plain; charset=utf-8\r\n'.encode())
    head += f'--{edge}\r\nContent-Type: image/png; name="p.png"\r\nContent-Transfer-Encoding: base64\r\n\r\n'.encode()
    tail = f"--{edge}--\r\n".encode()
    picture = secrets.token_bytes((limit - len(head) - len(tail)) // 78 * 57)  # 57 bytes a line of 76 and CR LF
    raw = head + base64.encodebytes(picture).replace(b"\n", b"\r\n") + tail
    assert limit - 78 < len(raw) <= limit
    box = Box(build=release_build())
    try:
        front = box.state["daemon"]["pid"]
        assert box.mail(letters.mail("Before", letters.mark()))[0] == 250
        before = peak(front)
        with smtplib.SMTP("127.0.0.1", box.smtp_port, local_hostname="client.example", timeout=120) as smtp:
            assert smtp.sendmail(SENDER, ["care@example.com"], raw) == {}  # says SIZE
            assert clients.mail_on(smtp, raw + b"x" * (limit - len(raw) - 1) + b"\r\n", SENDER)[0] == 552
        with capsys.disabled():
            print(f"\n  {len(raw)} bytes: the front's peak memory was {before} MB before and {peak(front)} MB after it")
        assert peak(front) - before < 6 * 25, "a few copies at most"
        m = box.message_of(mark, raw)
        assert m["degraded"] is False
        a = box.db.row("select a.* from attachments a join messages m on m.id = a.message_id where m.complaint_id = %s", m["complaint_id"])
        assert (a["size_bytes"], bytes(a["sha256"])) == (len(picture), hashlib.sha256(picture).digest())
        conftest.assert_sound(box)
    finally:
        conftest.finish(box)
