"""The line protocol: roles, order of answers, keys, and that a bad line costs only itself."""
import json
import secrets
import threading

import pytest

import letters
from clients import Line, LineError


def test_submit_answers_after_the_commit(box):
    mark = letters.mark()
    with box.line() as line:
        answer = line.ok(
            "SUBMIT",
            key=mark,
            channel="phone",
            customer={"phone": "13800138000", "name": "陈女士"},
            subject="Refund",
            text=f"I was charged twice, the refund never came {mark}",
        )
        stored = box.db.row("select * from complaints where ref = %s", answer["ref"])
    assert answer["outcome"] == "new"
    assert (answer["category"], answer["priority"], answer["team"]) == (
        stored["category"],
        stored["priority"],
        stored["team"],
    )
    assert stored["customer_phone"] == "+8613800138000" and stored["customer_name"] == "陈女士"
    assert stored["category"] == "billing" and mark in stored["body"]
    assert answer["due"].endswith("Z")


def test_the_same_key_again(box):
    key = secrets.token_hex(8)
    with box.line() as line:
        one = line.ok("SUBMIT", key=key, text="The invoice is wrong", customer={"name": "A"})
        two = line.ok("SUBMIT", key=key, customer={"name": "A"}, text="The invoice is wrong")
        assert two["ref"] == one["ref"] and two["outcome"] == "duplicate"
        with pytest.raises(LineError) as e:
            line.ok("SUBMIT", key=key, text="Something else")
        assert e.value.code == "key-reused" and e.value.body["retry"] is False


def test_pipelined_answers_come_in_request_order(box):
    with box.line() as line:
        n = 60
        marks = [letters.mark() for _ in range(n)]
        data = b""
        for i, mark in enumerate(marks):
            data += b"SUBMIT " + json.dumps({"key": mark, "text": f"delivery late {mark}"}).encode() + b"\n"
            data += b"PING\n" if i % 2 else b"NONSENSE {}\n"
        threading.Thread(target=line.send_raw, args=(data,)).start()
        refs = []
        for i in range(n):
            word, body, _ = line.answer()
            assert word == "OK"
            refs.append(body["ref"])
            word, body, _ = line.answer()
            assert (word, body.get("code")) == (("OK", None) if i % 2 else ("ERR", "unknown-verb"))
    for ref, mark in zip(refs, marks):
        assert mark in box.db.value("select body from complaints where ref = %s", ref)


def test_bad_lines_get_err_and_the_connection_goes_on(box):
    before = box.metric("complaintd_line_errors_total")
    with box.line() as line:
        for bad in (
            b"SUBMIT {\n",
            b"SUBMIT []\n",
            b"SUBMIT {\"text\":\"\xff\xfe\"}\n",
            b"\x00\x01\n",
            b"SUBMIT {\"key\":\"k\"}\n",
            b"SUBMIT " + b"x" * 70000 + b"\n",
            b"SUBMIT {\"key\":\"k\",\"text\":\"" + b"x" * (1 << 20) + b"\"}\n",
            b"SUBSCRIBE {\"after\":7}\n",
            b"LIST {\"limit\":\"5\"}\n",
            b"SUBMIT {\"key\":\"k\",\"text\":1}\n",
            b"submit\n",
            b"SUBMIT " + b"{\"a\":" * 50 + b"1" + b"}" * 50 + b"\n",
        ):
            line.send_raw(bad)
            word, body, _ = line.answer()
            assert word == "ERR" and body["code"] and body["message"] and body["retry"] is False, bad[:40]
        assert line.request("PING")[0] == "OK"
    assert box.metric("complaintd_line_errors_total") >= before + 9


def test_roles(box):
    with box.line(None) as line:
        assert line.request("HELLO", client="test", version=1)[1]["server"] == "complaintd"
        with pytest.raises(LineError) as e:
            line.ok("SUBMIT", key="x", text="y")
        assert e.value.code == "auth-required"
        with pytest.raises(LineError):
            line.ok("AUTH", token="wrong")
        assert line.ok("AUTH", token=box.e["LINE_TOKEN"])["role"] == "intake"
        with pytest.raises(LineError) as e:
            line.ok("LIST", limit=1)
        assert e.value.code == "forbidden"


def test_show_list_and_the_life_of_a_complaint(box):
    with box.line() as intake, box.line("agent") as agent:
        ref = intake.ok("SUBMIT", key=letters.mark(), text="The agent was rude to me", channel="counter")["ref"]
        shown = intake.ok("SHOW", ref=ref)
        assert ref in json.dumps(shown)
        assert agent.ok("SHOW", ref=ref.lower().replace("-", " "))
        assert ref in json.dumps(agent.ok("LIST", status="new", limit=50))
        agent.ok("ACK", ref=ref)
        row = box.db.row("select * from complaints where ref = %s", ref)
        assert row["acked_at"] and row["acked_by"]
        agent.ok("ASSIGN", ref=ref, assignee="li")
        assert box.db.row("select * from complaints where ref = %s", ref)["assignee"] == "li"
        agent.ok("RESOLVE", ref=ref, outcome="upheld")
        row = box.db.row("select * from complaints where ref = %s", ref)
        assert (row["status"], row["outcome"]) == ("resolved", "upheld") and row["resolved_at"]
        for verb, args in (("SHOW", {"ref": "C-0000-0000-0000"}), ("ACK", {"ref": "C-2222-2222-2222"})):
            with pytest.raises(LineError):
                agent.ok(verb, **args)


def test_quit_answers_and_closes(box):
    line = Line(box.line_port)
    assert line.request("QUIT")[0] == "OK"
    assert line.file.readline() == b""
    line.close()
