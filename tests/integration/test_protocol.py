"""docs/protocol.md is what happens: its sessions are had again with a daemon, its grammar is ABNF that takes what the daemon takes and
knows every verb, and the clients that it names do what it says."""
import hashlib
import json
import os
import re
import subprocess
import sys
import threading
import time

import pytest

import abnf
import conftest
import letters
import transcript
from box import ROOT
from clients import Line
from model import wait_for
from tls_box import HOST, TlsBox

SESSIONS = transcript.sessions()


def requests():
    return [r for steps in SESSIONS for step in steps if step != transcript.HANDSHAKE for r in step[0]]


def token_of(steps):
    auth = [r for step in steps if step != transcript.HANDSHAKE for r in step[0] if r.startswith("AUTH")]
    return json.loads(auth[0][5:])["token"]


@pytest.fixture(scope="module")
def module_box():
    names = (("callcentre", "intake"), ("billing-desk", "agent"))
    known = [
        {"name": n, "role": r, "token_sha256": hashlib.sha256(token_of(s).encode()).hexdigest()} for (n, r), s in zip(names, SESSIONS)
    ]
    box = TlsBox(overlay={"clients": known, "notify": {"paused": True}})
    yield box
    conftest.finish(box)


@pytest.fixture
def box(module_box):
    yield module_box
    conftest.assert_sound(module_box)


def test_the_sessions_of_the_document(box):
    names = transcript.Names()
    for steps in SESSIONS:
        transcript.replay(lambda: Line(box.line_port), lambda line: line.secure(box.context(), HOST), names, steps)
    assert len(names.here) >= 5  # a reference, ids and cursors were other ones


# ---- the grammar ----


@pytest.fixture(scope="module")
def grammar():
    with open(os.path.join(ROOT, "docs", "protocol.md"), encoding="utf-8") as f:
        text = re.search(r"^```abnf\n(.*?)^```$", f.read(), re.M | re.S)[1]
    return abnf.Grammar(text, abnf.JSON)


def test_the_grammar_is_whole_and_knows_every_verb(grammar):
    for name in grammar.rules:
        assert grammar.expression(name)
    used = set(re.findall(r"[A-Za-z][A-Za-z0-9-]*", " ".join(re.sub(r'(?:%[si])?"[^"]*"|%x[0-9A-F-]+', "", r) for r in grammar.rules.values())))
    assert set(grammar.rules) - used == {"session", "answers"}
    with open(os.path.join(ROOT, "channels", "line", "line_verbs.c"), encoding="utf-8") as f:
        verbs = re.findall(r'^    \{"([A-Z]+)", ROLE_', f.read(), re.M)
    assert sorted(verbs) == sorted(v.upper() for v in re.findall(r"[a-z]+", grammar.rules["request"].split(")")[0]))


def test_the_grammar_takes_what_the_daemon_takes(grammar):
    request, error = re.compile(grammar.expression("request"), re.S), re.compile(grammar.expression("err"), re.S)
    ok, answer = re.compile(grammar.expression("ok"), re.S), re.compile(grammar.expression("answer"), re.S)
    wrong = [r for r in requests() if not request.fullmatch(r)]
    assert [r.split()[0] for r in wrong] == ["SUBMIT", "SUBMIT", "SUBMIT", "FROB"]  # as the document shows: each is answered with ERR
    for steps in SESSIONS:
        for step in steps:
            if step == transcript.HANDSHAKE:
                continue
            if step[0][0] in wrong:
                assert error.fullmatch(step[1][0] + "\n")
            assert answer.match("\n".join(step[1]) + "\n")
            for line in step[1]:
                if not line.startswith("ROW"):
                    assert ok.fullmatch(line + "\n") or error.fullmatch(line + "\n")
    for good in ('list {"limit":5,"after":"01a22ce1-f562-700b-9d53-3726da6919a6"}', "ping", 'CLOCK {"advance":"1h30min"}', "STATS {}  "):
        assert request.fullmatch(good), good
    for bad in ('LIST {"limit":"5"}', 'ACK', 'ACK {"ref":"C-1"}', 'SUBSCRIBE {"kinds":[]}', 'RESOLVE {"ref":"C-0000-0000-0012","outcome":"won"}', "PING{}"):
        assert not request.fullmatch(bad), bad


# ---- the clients ----


@pytest.fixture
def token_file(box, tmp_path):
    def write(role):
        path = tmp_path / role
        path.write_text({"intake": box.e["LINE_TOKEN"], "agent": box.state["agent_token"]}[role] + "\n", encoding="utf-8")
        return str(path)

    return write


def run(argv, **options):
    return subprocess.run(argv, capture_output=True, text=True, check=False, timeout=120, **options)


def example(name):
    return os.path.join(ROOT, "examples", name)


def test_complaintctl_over_tcp(box, token_file):
    ctl = os.path.join(box.build(), "complaintctl")
    tcp = [ctl, "--host", "127.0.0.1", "--token-file", token_file("agent"), "--json"]
    checked = ["--ca-file", box.trust_file, "--tls-name", HOST]
    plain, tls = ["--port", str(box.line_port)], ["--port", str(box.line_tls_port)]
    for more in (plain, [*plain, "--starttls", *checked], [*tls, "--tls", *checked]):
        done = run([*tcp, *more, "stats"])
        assert done.returncode == 0 and "open" in json.loads(done.stdout), (more, done.stderr)
    for more, word in (
        ([*tls, "--tls", "--ca-file", box.trust_file], "IP address mismatch"),  # nobody said 127.0.0.1
        ([*tls, "--tls", "--ca-file", box.trust_file, "--tls-name", "other.example.com"], "hostname mismatch"),
        ([*tls, "--tls", "--tls-name", HOST], "certificate"),  # this system does not know who signed it
        ([*plain, "--tls", *checked], "wrong version number"),
    ):
        done = run([*tcp, *more, "stats"])
        assert done.returncode == 3 and word.lower() in done.stderr.lower(), (more, done.stderr)


def test_complaintctl_subscribe(box, token_file):
    with box.line() as line:
        ref = line.ok("SUBMIT", key=letters.mark(), text="late")["ref"]
    once = box.ctl("--json", "subscribe", "--after", "0", "--once", "--kinds", "received").stdout.splitlines()
    rows = [json.loads(r) for r in once]
    assert rows[-2]["ref"] == ref and set(rows[-1]) == {"rows", "cursor"} and rows[-1]["rows"] == len(rows) - 1
    argv = [os.path.join(box.build(), "complaintctl"), "--config", box.path("complaintd.yaml"), "--utc", "subscribe", "--after", rows[-1]["cursor"]]
    with subprocess.Popen(argv, stdout=subprocess.PIPE, text=True) as following:
        with box.line() as line:
            ref = line.ok("SUBMIT", key=letters.mark(), text="late")["ref"]
        words = following.stdout.readline().split()
        following.terminate()
    assert words[1].endswith("Z") and words[2:4] == [ref, "received"], words


def test_the_example_in_python_submits(box, token_file):
    keys = [letters.mark() for _ in range(120)]
    objects = "".join(json.dumps({"key": k, "text": f"broken {k}"}) + "\n" for k in keys)
    argv = [sys.executable, example("line_client.py"), "--host", "127.0.0.1", "--token-file", token_file("intake")]
    tls = ["--port", str(box.line_port), "--starttls", "--ca-file", box.trust_file, "--tls-name", HOST]
    done = run([*argv, *tls, "submit"], input=objects)
    assert done.returncode == 0, done.stderr
    assert [line.split()[:2] for line in done.stdout.splitlines()] == [[k, "OK"] for k in keys]
    done = run([*argv, "--port", str(box.line_port), "submit"], input='{"key":"k","text":""}\n')
    assert done.stdout.startswith("k ERR ")
    done = run([sys.executable, example("line_client.py"), "--host", "127.0.0.1", "--token-file", __file__, "--port", str(box.line_port), "submit"])
    assert done.returncode == 1 and "auth-failed" in done.stderr


def test_the_example_in_python_follows_and_goes_on(box, token_file, tmp_path):
    cursor = tmp_path / "cursor"
    cursor.write_text("0\n", encoding="utf-8")
    argv = [sys.executable, example("line_client.py"), "--host", "127.0.0.1", "--port", str(box.line_tls_port), "--tls"]
    argv += ["--ca-file", box.trust_file, "--tls-name", HOST, "--token-file", token_file("agent"), "follow", str(cursor)]
    seen, refs = [], []
    for _ in range(3):
        with box.line() as line:
            refs += [line.ok("SUBMIT", key=letters.mark(), text="late")["ref"] for _ in range(5)]
        with subprocess.Popen(argv, stdout=subprocess.PIPE, text=True) as child:
            reader = threading.Thread(target=lambda c=child: seen.extend(json.loads(line) for line in c.stdout))
            reader.start()
            wait_for(lambda: set(refs) <= {r["ref"] for r in seen}, 30, "the events")
            time.sleep(0.3)  # its file follows what it printed
            child.kill()
            reader.join(10)
    assert len({r["cursor"] for r in seen}) == len(seen)


def test_the_examples_in_shell(box, token_file, tmp_path):
    key, text = letters.mark(), "The parcel never came.\nIt was \"promised\" for Monday: 包裹没到 \\o/"
    argv = [example("line_submit.sh"), "127.0.0.1", str(box.line_tls_port), token_file("intake"), key]
    environment = {**os.environ, "CAFILE": box.trust_file, "TLSNAME": HOST, "PATH": box.build() + ":" + os.environ["PATH"]}
    done = run(argv, input=text, env=environment)
    assert done.returncode == 0, done.stderr
    ref = done.stdout.strip()
    assert box.db.value("select body from complaints where ref = %s", ref) == text
    assert run(argv, input=text, env=environment).stdout.strip() == ref
    done = run(argv, input="other words", env=environment)
    assert done.returncode == 1 and "key-reused" in done.stderr
    done = run(argv, input=text, env={**environment, "TLSNAME": "other.example.com"})
    assert done.returncode == 75 and done.stdout == ""

    cursor = tmp_path / "events"
    events = [example("line_events.sh"), box.control_socket(), str(cursor)]
    first = run(events, env=environment)
    assert first.returncode == 0, first.stderr
    assert ref in {json.loads(line)["ref"] for line in first.stdout.splitlines()}
    assert run(events, env=environment).stdout == ""
    with box.line() as line:
        later = line.ok("SUBMIT", key=letters.mark(), text="late")["ref"]
    assert [json.loads(line)["ref"] for line in run(events, env=environment).stdout.splitlines()] == [later]
