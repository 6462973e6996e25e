"""A bad message never costs more than itself."""
import secrets
import socket
import threading

import clients
import letters
from box import release_build
from model import wait_for


def test_undecodable_mails_are_kept(box):
    random = secrets.SystemRandom()
    deaths = box.metric("complaintd_worker_deaths_total")
    cases = {
        "no header": b"\r\njust a body\r\n",
        "no body": b"Subject: nothing\r\n\r\n",
        "empty": b"\r\n",
        "high bytes": b"Subject: x\r\n\r\n" + bytes(b for b in range(128, 256)) + b"\r\n",
        "endless boundary": b"Content-Type: multipart/mixed; boundary="
        + b"b" * 500
        + b"\r\n\r\n--"
        + b"b" * 500
        + b"\r\n\r\nx\r\n",
        "open multipart": b'MIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary="q"\r\n\r\n--q\r\n\r\nnever closed\r\n',
        "nested": b"".join(
            b'Content-Type: multipart/mixed; boundary="n%d"\r\n\r\n--n%d\r\n' % (i, i) for i in range(300)
        )
        + b"\r\ndeep\r\n",
        "many parts": b'Content-Type: multipart/mixed; boundary="m"\r\n\r\n' + b"--m\r\n\r\n\r\n" * 20000,
        "bad base64": b"Content-Transfer-Encoding: base64\r\n\r\n@@@@====!!!!\r\n",
        "bad charset": b"Content-Type: text/plain; charset=ibm037\r\n\r\nhello\r\n",
        "bad words": b"Subject: =?utf-8?B?/////?= =?nope?Q?x?= =?utf-8?X?y?=\r\n\r\nx\r\n",
        "long line": b"Subject: x\r\n\r\n" + b"y" * 60000 + b"\r\n",
        "many headers": b"".join(b"X-%d: y\r\n" % i for i in range(900)) + b"\r\nx\r\n",
        "html bomb": b"Content-Type: text/html\r\n\r\n" + b"<div>" * 10000 + b"deep" + b"\r\n",
    }
    for name, tail in cases.items():
        mark = letters.mark()
        raw = b"From: <" + mark.encode() + b"@shop.example>\r\nMessage-ID: <" + mark.encode() + b"@x>\r\n" + tail
        if name in ("no header", "empty"):
            raw = tail
        code, text = box.mail(raw, f"{mark}@shop.example")
        assert code == 250, f"{name}: {code} {text}"
    for _ in range(20):  # noise
        noise = (
            bytes(random.randrange(256) for _ in range(random.randrange(10, 3000)))
            .replace(b"\r", b"")
            .replace(b"\n", b"")
            .replace(b"\0", b"")
        )
        assert (
            box.mail(b"Message-ID: <" + secrets.token_hex(8).encode() + b"@n>\r\n" + clients.crlf(noise) + b"\r\n")[0]
            == 250
        )
    wait_for(lambda: box.db.value("select count(*) from pending") == 0, 60)
    assert box.metric("complaintd_worker_deaths_total") == deaths


PLAIN = b"Content-Type: text/plain; charset="
SAYS_UTF8 = PLAIN + b"utf-8\r\nContent-Transfer-Encoding: 8bit\r\n\r\n"
TEXT = b"the text begins "
# name: (fields and text behind From, Subject and Message-ID, whether it must be marked as not decoded in full). Characters that
# cannot be read are marked; what a broken transfer encoding or field leaves out is not known, so it is read as far as it goes.
ODD_TEXTS = {
    "unknown charset": (PLAIN + b"x-made-up\r\n\r\n" + TEXT + b"caf\xe9\r\n", True),
    "charset without a name": (PLAIN + b'""\r\n\r\n' + TEXT + b"caf\xe9\r\n", False),
    "charset of 2000 letters": (PLAIN + b"c" * 2000 + b"\r\n\r\n" + TEXT + b"caf\xe9\r\n", True),
    "charset with odd bytes": (PLAIN + b'"\xff\x00;utf"\r\n\r\n' + TEXT + b"caf\xe9\r\n", False),
    "invalid UTF-8": (SAYS_UTF8 + TEXT + b"\xff\xfe \xc3 \xe4\xb8\r\n", True),
    "overlong UTF-8": (SAYS_UTF8 + TEXT + b"\xc0\xaf \xe0\x80\xaf \xf0\x80\x80\xaf \xc0\x80\r\n", True),
    "surrogates and beyond": (SAYS_UTF8 + TEXT + b"\xed\xa0\x80 \xf4\x90\x80\x80 \xf8\x88\x80\x80\x80\r\n", True),
    "not what it says": (PLAIN + b"us-ascii\r\n\r\n" + TEXT + b"\x93caf\xe9\x94\r\n", False),
    "GB 18030 cut": (PLAIN + b"gb18030\r\nContent-Transfer-Encoding: 8bit\r\n\r\n" + TEXT + b"\xbf\xec\xb5\xdd\x81\r\n", True),
    "ISO-2022-JP open": (PLAIN + b"iso-2022-jp\r\n\r\n" + TEXT + b"\x1b$B\x46\x7c\x4b\r\n", True),
    "UTF-16 odd": (PLAIN + b"utf-16\r\nContent-Transfer-Encoding: base64\r\n\r\n//50AGgAZQAgAHQ=\r\n", True),
    "UTF-7": (PLAIN + b"utf-7\r\n\r\n" + TEXT + b"+AGEAYg- +///-\r\n", True),
    "NUL bytes": (SAYS_UTF8 + TEXT + b"\0\0 nul\0\r\n", False),
    "NUL in a field": (b"X-Odd: a\0b\r\n" + SAYS_UTF8 + TEXT + b"\r\n", False),
    "NUL in base64": (PLAIN + b"utf-8\r\nContent-Transfer-Encoding: base64\r\n\r\ndGhlIHRleHQgYmVnaW5zIABudWwAAA==\r\n", False),
    "RTL and zero width": (SAYS_UTF8 + TEXT + "\u202eexe.gnp\u202c \u200b\ufeff\u2066x\u2069\r\n".encode(), False),
    "controls": (SAYS_UTF8 + TEXT + bytes(b for b in range(1, 32) if b not in (10, 13)) + b"\x7f\r\n", False),
    "broken base64": (PLAIN + b"utf-8\r\nContent-Transfer-Encoding: base64\r\n\r\n@@dGhl=IHRleHQ*\r\n=A=\r\n", False),
    "broken quoted-printable": (PLAIN + b"utf-8\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\n" + TEXT + b"=ZZ =C3 =\r\n=", True),
    "unknown encoding": (PLAIN + b"utf-8\r\nContent-Transfer-Encoding: x-made-up\r\n\r\n" + TEXT + b"\r\n", False),
    "file name": (
        b'Content-Type: multipart/mixed; boundary="q"\r\n\r\n--q\r\n\r\n' + TEXT + b"\r\n--q\r\nContent-Type: image/png\r\n"
        b"Content-Disposition: attachment; filename*=x-made-up''%00%ff..%2f%2e%2e%2fetc%0a\r\n\r\nx\r\n--q--\r\n", False),
    "encoded words": (
        b"To: =?utf-8?B?/////?= <\xff@\xfe>, =?nope?Q?=00=FF?= <care@example.com>\r\nDate: =?utf-8?B?AAAA?=\r\n"
        b"References: <\xff\xfe\0@x> =?utf-8?B?AAAA?=\r\n" + SAYS_UTF8 + TEXT + b"\r\n", False),
}


def test_25_odd_texts_are_stored_as_they_came(box):
    """Test 25 of the forty: stored bytes identical by hash, what was not readable marked, and no error of the database reaches anyone."""
    values, log = box.metrics(), box.log().count("\n")
    wrong = ("complaintd_store_poison_rows_total", "complaintd_store_batch_retries_total", "complaintd_worker_deaths_total")
    for name, (tail, degraded) in ODD_TEXTS.items():
        mark = letters.mark()
        raw = f"From: <{mark}@shop.example>\r\nSubject: odd {mark}\r\nMessage-ID: <{mark}@x>\r\nMIME-Version: 1.0\r\n".encode()
        raw += tail if tail.endswith(b"\r\n") else tail + b"\r\n"
        code, text = box.mail(raw, f"{mark}@shop.example")
        assert code == 250, f"{name}: {code} {text}"
        m = box.message_of(mark, raw)
        assert m["degraded"] is degraded, name
        c = box.db.row("select subject, body from complaints where id = %s", m["complaint_id"])
        assert c["subject"] == f"odd {mark}", name
        assert TEXT.decode().strip() in c["body"] or TEXT not in tail, (name, c["body"])
    now = box.metrics()
    assert {w: now[w] - values[w] for w in wrong} == dict.fromkeys(wrong, 0)
    assert not [line for line in box.log().splitlines()[log:] if "sqlstate" in line]


def test_noise_on_every_port(box):
    random = secrets.SystemRandom()
    for port in (box.smtp_port, box.line_port, int(box.e["HTTP_PORT"])):
        for _ in range(15):
            with socket.create_connection(("127.0.0.1", port), timeout=20) as s:
                try:
                    s.sendall(bytes(random.randrange(256) for _ in range(random.randrange(1, 5000))) + b"\r\n")
                    s.shutdown(socket.SHUT_WR)
                    while s.recv(65536):
                        pass
                except OSError:
                    pass
    mark = letters.mark()
    assert box.mail(letters.mail("Still here", mark))[0] == 250
    box.complaint_of(mark)


def test_clients_that_vanish_at_every_step(box):
    mark = letters.mark()
    steps = [
        b"EHLO c.example\r\n",
        b"MAIL FROM:<a@b.example>\r\n",
        b"RCPT TO:<care@example.com>\r\n",
        b"DATA\r\n",
        letters.mail("Half", "half a mail " + mark),
        b"\r\n.\r",
    ]
    for n in range(1, len(steps) + 1):
        with clients.RawSmtp(box.smtp_port) as s:
            for step in steps[: n - 1]:
                s.send(step)
                if step.endswith(b"\n") and not step.startswith(b"From"):
                    s.reply()
            s.send(steps[n - 1][:-1])
    assert box.mail(letters.mail("After", letters.mark()))[0] == 250
    assert box.db.value("select count(*) from messages where strpos(coalesce(body, ''), %s) > 0", mark) == 0


def http(box, data, read=True):
    with socket.create_connection(("127.0.0.1", int(box.e["HTTP_PORT"])), timeout=20) as s:
        s.sendall(data)
        answer = b""
        while read:
            part = s.recv(65536)
            if not part:
                break
            answer += part
        return answer


def test_odd_http_framing_is_refused(box):
    for data in (
        b"POST /sms/twilio/main HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello!",
        b"POST /sms/twilio/main HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"POST /sms/twilio/main HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
        b"POST /sms/twilio/main HTTP/1.1\r\nHost: x\r\n\r\n",
        b"POST /sms/twilio/main HTTP/1.1\nHost: x\nContent-Length: 0\n\n",
        b"POST /sms/twilio/main HTTP/1.1\r\nHost: x\r\nContent-Length: 9999999\r\n\r\n",
    ):
        answer = http(box, data)
        assert answer == b"" or answer.split(b" ")[1][:1] == b"4", (data, answer[:100])
        assert answer.count(b"HTTP/1.") <= 1


def test_limits_are_reached_and_counted(make_box):
    box = make_box(
        overlay={
            "trusted_clients": [],
            "mail": {"max_connections_per_address": 3, "max_errors": 4},
            "line": {"max_connections": 3},
        }
    )
    held = [clients.RawSmtp(box.smtp_port) for _ in range(3)]
    extra = clients.RawSmtp(box.smtp_port, greet=False)
    code, _ = extra.reply()
    assert code in (421, 0)
    assert box.metric("complaintd_smtp_refused_total") >= 1
    for s in [extra] + held[1:]:
        s.close()
    codes = []
    for _ in range(10):
        code, _ = held[0].command("BOGUS")
        codes.append(code)
        if code in (0, 421):
            break
    assert codes[-1] in (0, 421) and len(codes) <= 6, codes
    assert box.metric("complaintd_smtp_error_limit_total") >= 1
    lines = [clients.Line(box.line_port) for _ in range(3)]
    for line in lines:
        assert line.request("PING")[0] == "OK"
    over = clients.Line(box.line_port)
    try:
        word, body, _ = over.request("PING")
        assert word == "ERR" and body["retry"] is True
    except OSError:
        pass
    assert box.metric("complaintd_line_refused_total") >= 1
    for line in lines:
        line.close()


def test_triage_workers_are_locked_in(make_box):
    """In the release build, where the filter kills: no socket, no file, no privileges gained."""
    box = make_box(build=release_build())
    mark = letters.mark()
    assert box.mail(letters.mail("First", mark))[0] == 250
    box.complaint_of(mark)

    def status(pid):
        with open(f"/proc/{pid}/status", encoding="utf-8") as f:
            return dict(line.rstrip("\n").split(":\t", 1) for line in f if ":\t" in line)

    pids = box.workers("triage")
    assert pids
    for pid in pids:
        wait_for(lambda: status(pid)["Seccomp"] == "2", 10, "the filter")
        assert status(pid)["NoNewPrivs"] == "1"
        with open(f"/proc/{pid}/limits", encoding="utf-8") as f:
            limits = {line[:25].strip(): line[26:].split()[0] for line in f}
        assert limits["Max address space"] != "unlimited"


def test_a_limit_of_memory_costs_one_message(make_box):
    """A mail that a worker cannot take within its limits is kept, degraded, and the next one is decoded."""
    box = make_box(build=release_build(), overlay={"triage": {"memory": "192MB"}})
    mark = letters.mark()
    raw = (
        b"From: big@shop.example\r\nMessage-ID: <" + mark.encode() + b"@x>\r\nSubject: big " + mark.encode() + b"\r\n"
        b'MIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary="m"\r\n\r\n' + b"--m\r\n\r\n\r\n" * 1500000
    )
    code, _ = box.mail(raw, "big@shop.example")
    assert code == 250
    other = letters.mark()
    assert box.mail(letters.mail("Small", other))[0] == 250
    assert box.complaint_of(other)["degraded"] is False
    wait_for(lambda: box.db.value("select count(*) from pending") == 0, 60)
    assert (
        box.db.value(
            "select count(*) from messages where message_id = %s or strpos(encode(substr(raw, 1, 2000), 'escape'), %s) > 0",
            f"{mark}@x",
            mark,
        )
        >= 1
    )


def test_many_connections_at_once(box):
    marks, failures = [letters.mark() for _ in range(60)], []

    def one(mark):
        try:
            code, text = box.mail(
                letters.mail("Burst", mark, sender=f"A <{mark}@shop.example>"), f"{mark}@shop.example"
            )
            if code != 250:
                failures.append((code, text))
        except OSError as e:
            failures.append(e)

    threads = [threading.Thread(target=one, args=(m,)) for m in marks]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert not failures
    for m in marks:
        box.complaint_of(m)
