"""PROXY headers before SMTP: who the client is for limits, log and trace; what is wrong is closed and counted."""
import contextlib
import socket
import struct

import letters
from clients import RawSmtp
from model import wait_for

V2 = b"\r\n\r\n\x00\r\nQUIT\n"
CLIENT = "203.0.113.9"


def v2(command, family, body):
    return V2 + bytes([command, family]) + struct.pack(">H", len(body)) + body


def behind(box, header):
    s = RawSmtp(box.smtp_port, greet=False)
    s.send(header)
    return s


def send_one(s, mark):
    assert s.reply()[0] == 220
    s.command("EHLO client.example")
    for line in ("MAIL FROM:<a@shop.example>", "RCPT TO:<care@example.com>", "DATA"):
        assert s.command(line)[0] in (250, 354)
    s.send(letters.mail(f"Behind a proxy {mark}", f"broken {mark}", sender="Ann <a@shop.example>") + b".\r\n")
    assert s.reply()[0] == 250


def test_the_conveyed_address_is_the_clients(make_box):
    box = make_box(
        overlay={
            "trusted_clients": ["127.0.0.0/8"],
            "mail": {"proxy_from": ["127.0.0.1"], "proxy_timeout": "300ms", "max_connections_per_address": 1},
        }
    )
    refused = box.metric("complaintd_smtp_proxy_refused_total")
    assert refused == 0
    four = v2(0x21, 0x11, socket.inet_aton(CLIENT) + socket.inet_aton("192.0.2.1") + struct.pack(">HH", 4711, 25))
    six = b"PROXY TCP6 2001:db8::9 2001:db8::1 4711 25\r\n"
    for header, trace in (
        (f"PROXY TCP4 {CLIENT} 192.0.2.1 4711 25\r\n".encode(), f"([{CLIENT}])"),
        (four, f"([{CLIENT}])"),
        (four[:15] + bytes([four[15] + 7]) + four[16:] + b"\x04\x00\x04abcd", f"([{CLIENT}])"),
        (six, "([IPv6:2001:db8::9])"),
        (b"PROXY UNKNOWN\r\n", "([127.0.0.1])"),
        (v2(0x20, 0, b""), "([127.0.0.1])"),
    ):
        mark = letters.mark()
        with behind(box, header) as s:
            send_one(s, mark)
            c = box.complaint_of(mark)
            raw = bytes(box.db.value("select raw from messages where complaint_id = %s and direction = 'in'", c["id"]))
            assert trace.encode() in raw, header
            if header != six and trace == f"([{CLIENT}])":  # not trusted, so its cap of one connection holds
                with behind(box, header) as second:
                    assert second.reply()[0] == 421
        wait_for(lambda: box.metric("complaintd_smtp_connections") == 0, 10, "the session gone")
    assert f"peer={CLIENT}" in box.log()
    for wrong in (b"EHLO client.example\r\n", b"PROXY TCP4 1.2.3.4\r\n", V2 + b"\x31\x11\x00\x0c", b"PROXY TCP4 203.0.113.9", b"", V2[:5]):
        with behind(box, wrong) as s, contextlib.suppress(ConnectionResetError):  # the last three are only late
            assert s.reply()[0] == 0, wrong
        refused += 1
        assert box.metric("complaintd_smtp_proxy_refused_total") == refused
    assert "smtp.proxy-refused" in box.log()
    # who is not listed is never parsed
    stranger = socket.create_connection(("127.0.0.1", box.smtp_port), timeout=30, source_address=("127.0.0.2", 0))
    with stranger, stranger.makefile("rb") as answers:
        assert answers.readline().startswith(b"220 ")
        stranger.sendall(f"PROXY TCP4 {CLIENT} 192.0.2.1 4711 25\r\n".encode())
        assert answers.readline().startswith(b"500 ")
