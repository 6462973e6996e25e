"""TLS on the line protocol: STARTTLS and TLS from the first byte, what is forgotten, what is slipped in, handshakes that do not end, and
what line.require_tls asks."""
import json
import socket
import ssl
import struct
import time
import warnings

import pytest

import conftest
import letters
from clients import Line, LineError
from model import wait_for
from tls_box import HANDSHAKE_S, HOST, TlsBox


@pytest.fixture(scope="module")
def module_box():
    box = TlsBox()
    yield box
    conftest.finish(box)


@pytest.fixture
def box(module_box):
    yield module_box
    conftest.assert_sound(module_box)


def test_starttls(box):
    with Line(box.line_port) as line:
        assert line.ok("HELLO")["starttls"] is True
        line.ok("AUTH", token=box.e["LINE_TOKEN"])
        line.starttls(box.context(), HOST)
        assert line.ok("HELLO")["starttls"] is False
        with pytest.raises(LineError) as e:  # what was said in the clear does not count
            line.ok("SUBMIT", key="k", text="t")
        assert e.value.code == "auth-required"
        with pytest.raises(LineError) as e:
            line.ok("STARTTLS")
        assert e.value.code == "conflict"
        line.ok("AUTH", token=box.e["LINE_TOKEN"])
        mark = letters.mark()
        ref = line.ok("SUBMIT", key=mark, text=f"broken {mark}")["ref"]
    assert mark in box.db.value("select body from complaints where ref = %s", ref)


def test_answers_before_starttls_leave_in_the_clear(box):
    with Line(box.line_port, box.e["LINE_TOKEN"]) as line:
        line.send("SUBMIT", {"key": letters.mark(), "text": "first"})
        line.send("PING")
        line.send("STARTTLS")
        assert [line.answer()[0] for _ in range(3)] == ["OK"] * 3
        line.secure(box.context(), HOST)
        assert line.ok("PING") == {}


def test_tls_from_the_first_byte_carries_much_both_ways(box):
    with Line(box.line_tls_port, box.e["LINE_TOKEN"], tls=box.context(), name=HOST) as line:
        text = "All of this happened to me. " * 2000
        n = 60
        keys = [letters.mark() for _ in range(n)]
        line.sock.sendall(b"".join(f'SUBMIT {json.dumps({"key": k, "text": k + text})}\n'.encode() for k in keys))
        refs = [line.answer()[1]["ref"] for _ in range(n)]
    for key, ref in zip(keys[::20], refs[::20]):
        assert box.db.value("select body from complaints where ref = %s", ref).startswith(key)
    with Line(box.line_tls_port, box.state["agent_token"], tls=box.context(), name=HOST) as line:
        for _ in range(10):
            line.send("SHOW", {"ref": refs[0]})
            line.send("LIST", {"limit": 60})
        for _ in range(10):
            assert line.answer()[1]["ref"] == refs[0]
            assert len(line.answer()[2]) == 60


def test_a_reader_in_tls_that_stops_gets_all_of_it_later(box):
    with Line(box.line_tls_port, box.state["agent_token"], tls=box.context(), name=HOST) as line:
        for _ in range(300):
            line.send("LIST", {"limit": 60})
        time.sleep(1)
        rows = [len(line.answer()[2]) for _ in range(300)]
        assert set(rows) == {rows[0]} and rows[0] > 0


@pytest.mark.parametrize("behind", [b"PING\n", b"AUTH {\"token\":\"x\"}\n", b"\n", b"P"])
def test_what_stands_behind_starttls_ends_the_session(box, behind):
    before = box.metric("complaintd_line_starttls_injections_total")
    with Line(box.line_port) as line:
        line.send_raw(b"STARTTLS\n" + behind)
        word, body, _ = line.answer()
        assert (word, body["code"]) == ("ERR", "tls-injection")
        assert line.file.readline() == b""
    assert box.metric("complaintd_line_starttls_injections_total") == before + 1
    assert "line.starttls-injection" in box.log()


def test_handshakes_that_fail_or_do_not_end(box):
    failed, late = "complaintd_line_tls_handshake_failures_total", "complaintd_line_tls_handshake_timeouts_total"
    before = box.metric(failed), box.metric(late)
    with Line(box.line_port) as line:
        assert line.ok("STARTTLS") == {}
        line.send_raw(b"this is no handshake\n")
        wait_for(lambda: box.metric(failed) == before[0] + 1, 10, "it is counted")
    silent = socket.create_connection(("127.0.0.1", box.line_tls_port), timeout=30)
    started = time.monotonic()
    assert silent.recv(10) == b""
    assert HANDSHAKE_S - 0.5 < time.monotonic() - started < HANDSHAKE_S + 3
    silent.close()
    drip = socket.create_connection(("127.0.0.1", box.line_tls_port), timeout=30)
    started = time.monotonic()
    try:
        while time.monotonic() - started < HANDSHAKE_S + 5:
            drip.sendall(b"\x16")
            time.sleep(0.2)
    except OSError:
        pass
    assert time.monotonic() - started < HANDSHAKE_S + 3
    drip.close()
    wait_for(lambda: box.metric(late) + box.metric(failed) >= before[0] + before[1] + 3, 10, "each is counted")
    reset = socket.create_connection(("127.0.0.1", box.line_tls_port))
    reset.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    reset.close()
    with pytest.raises(ssl.SSLError):
        old = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        old.check_hostname, old.verify_mode = False, ssl.CERT_NONE
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)
            old.maximum_version = ssl.TLSVersion.TLSv1_1
        Line(box.line_tls_port, tls=old)


def test_a_subscription_in_tls(box):
    with Line(box.line_tls_port, box.state["agent_token"], tls=box.context(), name=HOST) as line:
        line.send("SUBSCRIBE", {"kinds": ["received"]})
        time.sleep(0.5)
        with box.line() as intake:
            ref = intake.ok("SUBMIT", key=letters.mark(), text="late")["ref"]
        row = line.file.readline()
        assert row.startswith(b"ROW ") and json.loads(row[4:])["ref"] == ref
        assert line.request("QUIT")[0] == "OK"


def test_a_new_certificate_is_shown_and_old_sessions_go_on(box):
    with Line(box.line_tls_port, tls=box.context(), name=HOST) as line:
        first = line.sock.getpeercert(True)
        box.install(box.authority.issue())

        def shown():
            with Line(box.line_tls_port, tls=box.context(), name=HOST) as other:
                return other.sock.getpeercert(True)

        wait_for(lambda: shown() != first, 20, "the new certificate")
        assert line.ok("PING") == {}


def test_require_tls_is_not_for_this_host_itself():
    """For others: tests/unit/line/test_line_access.c."""
    box = TlsBox(overlay={"line": {"require_tls": True}})
    try:
        with box.line("agent") as line:  # loopback
            assert line.ok("LIST", limit=1) == []
        assert "open" in json.loads(box.ctl("--json", "stats").stdout)
    finally:
        conftest.finish(box)


def test_without_a_certificate_nothing_is_offered(make_box):
    box = make_box()
    with Line(box.line_port) as line:
        assert line.ok("HELLO")["starttls"] is False
        with pytest.raises(LineError) as e:
            line.ok("STARTTLS")
        assert e.value.code == "tls-unavailable" and e.value.body["retry"] is False
        assert line.ok("PING") == {}
