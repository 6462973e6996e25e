"""trusted_clients lifts what SMTP allows one address and one session; HTTP and the line protocol have totals only, so there is
nothing to lift: an address that is not trusted uses them as one that is. 127.0.0.1 is trusted here, 127.0.0.2 is not."""
import smtplib
import socket

import pytest

import clients
import letters

CAPS = {"max_connections_per_address": 2, "max_errors": 3, "max_junk_commands": 3, "max_mails_per_session": 1}
TRUSTED, STRANGER = "127.0.0.1", "127.0.0.2"
MANY = 12


@pytest.fixture(scope="module")
def overlay():
    return {"trusted_clients": [TRUSTED], "mail": CAPS}


class Smtp(clients.RawSmtp):
    def __init__(self, port, source, greet=True):
        self.sock = socket.create_connection(("127.0.0.1", port), timeout=30, source_address=(source, 0))
        self.file = self.sock.makefile("rb")
        self.greeting = self.reply()[0] if greet else None


def last_code(smtp, command, times):
    """The answer that ended it, or the last of `times`."""
    code = 0
    for _ in range(times):
        code, _ = smtp.command(command)
        if code in (0, 421):
            break
    return code


def second_mail(port, source):
    """The answer to a second MAIL in one session."""
    with smtplib.SMTP("127.0.0.1", port, timeout=30, source_address=(source, 0)) as smtp:
        assert clients.mail_on(smtp, letters.mail("Twice", letters.mark()), "a@shop.example")[0] == 250
        code = smtp.docmd("MAIL", "FROM:<a@shop.example>")[0]
        if code == 421:
            smtp.close()
        return code


def test_smtp_caps_are_lifted(make_box, overlay):
    box = make_box(overlay=overlay)

    def greetings(source):
        held = [Smtp(box.smtp_port, source) for _ in range(MANY)]
        codes = [s.greeting for s in held]
        for s in held:
            s.close()
        return codes

    assert greetings(TRUSTED) == [220] * MANY
    assert box.metric("complaintd_smtp_refused_total") == 0
    refused = greetings(STRANGER)
    assert refused[:2] == [220, 220] and set(refused[2:]) == {421}
    assert box.metric("complaintd_smtp_refused_total") == MANY - 2
    for command, wanted in (("BOGUS", 500), ("NOOP", 250)):
        with Smtp(box.smtp_port, TRUSTED) as trusted, Smtp(box.smtp_port, STRANGER) as stranger:
            assert last_code(trusted, command, MANY) == wanted
            assert last_code(stranger, command, MANY) in (0, 421)
    assert second_mail(box.smtp_port, TRUSTED) == 250
    assert second_mail(box.smtp_port, STRANGER) == 421


def test_line_and_http_have_none(make_box, overlay):
    box = make_box(overlay=overlay)
    held = []
    for _ in range(MANY):
        sock = socket.create_connection(
            ("127.0.0.1", box.line_port), timeout=30, source_address=(STRANGER, 0)
        )
        held.append((sock, sock.makefile("rb")))
    for sock, answers in held:
        sock.sendall(b"NONSENSE {}\n" * MANY + b"PING {}\n")
        words = [answers.readline().split(b" ")[0].strip() for _ in range(MANY + 1)]
        assert words == [b"ERR"] * MANY + [b"OK"]
    for sock, answers in held:
        answers.close()
        sock.close()
    held = [
        socket.create_connection(
            ("127.0.0.1", int(box.e["HTTP_PORT"])), timeout=30, source_address=(STRANGER, 0)
        )
        for _ in range(MANY)
    ]
    for sock in held:
        sock.sendall(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
    assert [sock.recv(12) for sock in held] == [b"HTTP/1.1 200"] * MANY
    for sock in held:
        sock.close()
