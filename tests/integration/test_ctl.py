"""What operators do with complaintctl: the outbox, what waits to be read, degraded mail, the options in use, exports, the live picture, times
and completion; against a running daemon."""
import csv
import datetime
import fcntl
import hashlib
import io
import json
import os
import pty
import secrets
import select
import signal
import struct
import subprocess
import termios
import time

import pytest

import letters
from clients import LineError
from model import settle, wait_for
from test_reload import configuration, reload


def put(box, text, subject="A matter", sender="ctl@shop.example"):
    mark = letters.mark()
    assert box.mail(letters.mail(subject, f"{text} {mark}", f"S <{sender}>"), sender)[0] == 250
    return box.complaint_of(mark)


def ctl(box, *args, env=None, **options):
    return subprocess.run(
        [os.path.join(box.build(), "complaintctl"), "--config", box.path("complaintd.yaml"), *args],
        capture_output=True,
        check=False,
        timeout=120,
        env={**os.environ, **(env or {})},
        **options,
    )


def rows(box, *args):
    return json.loads(box.ctl("--json", *args).stdout)["rows"]


# -- the outbox --


def waiting(box, complaint):
    return [n for n in rows(box, "queue", "--limit", "500") if n["ref"] == complaint["ref"]]


def test_what_waits_to_go_out_is_sent_when_somebody_says_so(make_box):
    box = make_box(overlay={"notify": {"retry_base": "1h", "retry_max": "2h"}})
    box.inject(mail="451 4.3.0 later")
    c = put(box, "I was charged twice")
    wait_for(lambda: [n for n in waiting(box, c) if n["attempts"] == 1 and n["state"] == "pending" and n["purpose"] == "acknowledgement"], 20)
    (n,) = [n for n in waiting(box, c) if n["purpose"] == "acknowledgement"]
    assert "451" in n["last_error"]
    text = box.ctl("queue", "list", "--state", "pending").stdout
    assert n["id"] in text and c["ref"] in text and "acknowledgement" in text
    box.inject()
    assert "pending" in box.ctl("queue", "retry", n["id"]).stdout
    wait_for(lambda: box.db.value("select state from notifications where id = %s", n["id"]) == "sent", 20)
    assert [m for m in box.mails("ctl@shop.example") if c["ref"] in str(m["Subject"]) + m.get_content()]
    kinds = [e["kind"] for e in box.db.rows("select kind from events where complaint_id = %s order by seq", c["id"])]
    assert kinds.index("notification-retried") < kinds.index("notification-sent")
    again = box.ctl("queue", "retry", n["id"], check=False)
    assert again.returncode == 1 and "conflict" in again.stderr and "is sent" in again.stderr


def test_what_failed_for_good_is_sent_when_somebody_says_so(box):
    sender = f"{secrets.token_hex(6)}@shop.example"
    box.inject(mail_to={sender: "550 5.1.1 no such user"})
    c = put(box, "It does not work", sender=sender)
    (n,) = wait_for(lambda: [n for n in waiting(box, c) if n["state"] == "failed"], 20)
    assert n["id"] in [x["id"] for x in rows(box, "queue", "--state", "failed", "--limit", "500")]
    box.inject()
    box.ctl("queue", "retry", n["id"])
    wait_for(lambda: box.db.value("select state from notifications where id = %s", n["id"]) == "sent", 20)
    settle(box.db)


def test_what_is_dropped_is_never_sent(make_box):
    box = make_box(overlay={"notify": {"retry_base": "1h", "retry_max": "2h"}})
    box.inject(mail="451 4.3.0 later")
    c = put(box, "I was charged twice")
    (n,) = wait_for(lambda: [n for n in waiting(box, c) if n["attempts"] == 1 and n["state"] == "pending" and n["purpose"] == "acknowledgement"], 20)
    box.inject()
    for wrong in (("drop", n["id"]), ("retry",), ("retry", n["id"], "--reason", "x"), ("list", n["id"]), ("frob",), ("drop", n["id"], "--state", "dead")):
        assert box.ctl("queue", *wrong, check=False).returncode == 2, wrong
    assert box.ctl("queue", "drop", n["id"], "--reason", "told by phone").returncode == 0
    row = box.db.row("select state, last_error from notifications where id = %s", n["id"])
    assert row["state"] == "suppressed" and row["last_error"].endswith("told by phone") and row["last_error"].startswith("dropped by @uid")
    event = box.db.row("select data from events where complaint_id = %s and kind = 'notification-dropped'", c["id"])
    assert event["data"]["from"] == "pending" and "told by phone" not in json.dumps(event["data"])
    box.advance("3h")
    assert box.db.value("select state from notifications where id = %s", n["id"]) == "suppressed"
    gone = box.ctl("queue", "retry", n["id"], check=False)
    assert gone.returncode == 1 and "suppressed" in gone.stderr
    assert box.ctl("queue", "retry", "01a22d15-f15b-7010-a0b3-000000000000", check=False).returncode == 1


def test_only_admins_may(box):
    for role in ("agent", "intake"):
        with box.line(role) as line:
            for verb in ("QUEUE", "PENDING", "CONFIG"):
                with pytest.raises(LineError) as e:
                    line.ok(verb)
                assert e.value.code == "forbidden"
    with box.line("admin") as line:
        for verb, args in (("QUEUE", {"drop": "x"}), ("QUEUE", {"state": "sent"}), ("QUEUE", {"reason": "x"}), ("PENDING", {"all": "x"}),
                           ("CONFIG", {"x": 1}), ("QUEUE", {"retry": "01a22d15-f15b-7010-a0b3-000000000000", "drop": "01a22d15-f15b-7010-a0b3-000000000000"})):
            with pytest.raises(LineError) as e:
                line.ok(verb, **args)
            assert e.value.code == "bad-argument", (verb, args)


# -- what waits to be read --


def test_pending_is_listed_and_hastened(make_box):
    box = make_box(overlay={"triage": {"workers": 1, "budget": "300ms", "deadline": "60s"}})
    assert box.ctl("pending").stdout == "nothing waits to be read\n"
    mark = letters.mark()
    (worker,) = wait_for(lambda: box.workers("triage"), 20)
    time.sleep(2)
    os.kill(worker, signal.SIGSTOP)
    assert box.mail(letters.mail("Later", mark))[0] == 250
    (p,) = wait_for(lambda: rows(box, "pending"), 20)
    assert p["bytes"] > 200 and p["reason"]
    assert p["id"] in box.ctl("pending", "list").stdout
    box.db.execute("update pending set next_attempt_at = clock_timestamp() + interval '1 hour'")
    os.kill(worker, signal.SIGCONT)
    for wrong in (("retry",), ("retry", p["id"], "--all"), ("list", p["id"]), ("--all",)):
        assert box.ctl("pending", *wrong, check=False).returncode == 2, wrong
    assert box.ctl("pending", "retry", "01a22d15-f15b-7010-a0b3-000000000000", check=False).returncode == 1
    assert "1" in box.ctl("pending", "retry", p["id"]).stdout
    assert box.complaint_of(mark)["status"] == "new"
    assert "hastened" in box.ctl("pending", "retry", "--all").stdout


# -- options --


def test_the_options_in_use(box):
    got = {row["option"]: row for row in rows(box, "config", "show")}
    assert got["instance"]["value"] == "sandbox" and got["instance"]["reloads"] is False
    assert got["log.level"]["reloads"] is True and got["log.level"]["default"] == "info"
    assert got["database.dsn"]["value"] == "(secret)" and got["database.dsn"]["default"] == ""
    assert got["database.commit_budget"]["default"] == "1500ms"
    text = json.dumps(got) + box.ctl("config").stdout
    for secret in (box.e["LINE_TOKEN"], box.e["ADMIN_TOKEN"], box.e["SMS_TWILIO_TOKEN"], box.state["agent_token"], box.database_url()):
        assert secret not in text
    assert [k for k in got if k.startswith("desks[care].")] and [k for k in got if k.startswith("clients[")]
    tokens = [row for k, row in got.items() if k.startswith("clients[") and k.endswith("].token")]
    assert tokens and all(row["value"] == "" and row["secret"] for row in tokens)  # only its digest is kept
    digests = [row for k, row in got.items() if k.startswith("clients[") and k.endswith("].token_sha256")]
    assert len(digests) == len(tokens) and all(row["value"] == "(secret)" and row["secret"] for row in digests)
    for token in (box.e["LINE_TOKEN"], box.e["ADMIN_TOKEN"], box.state["agent_token"]):
        assert hashlib.sha256(token.encode()).hexdigest() not in text  # a weak token could be guessed from it


# -- exports --


def test_exports_hold_every_complaint_once(box):
    tag = "ex" + secrets.token_hex(4)
    made = {put(box, f"line one, \"quoted\"\n=1+1 {tag}", subject=f"=HYPERLINK(\"http://x\") {tag} 投诉")["ref"] for _ in range(3)}
    every = box.db.value("select count(*) from complaints")
    lines = [json.loads(line) for line in ctl(box, "export").stdout.decode().splitlines()]
    assert len(lines) == every == len({row["ref"] for row in lines}) and made <= {row["ref"] for row in lines}
    one = next(row for row in lines if row["ref"] in made)
    assert tag in one["text"] and one["customer_email"] == "ctl@shop.example" and one["received_at"].endswith("+00:00")
    out = ctl(box, "export", "--format", "csv", "--bom").stdout
    assert out.startswith(b"\xef\xbb\xbf")
    table = list(csv.DictReader(io.StringIO(out[3:].decode(), newline="")))
    assert len(table) == every and {row["ref"] for row in table} >= made
    for row in table:
        for name, value in row.items():
            assert not value or value[0] not in "=-@\t\r", (name, value)
            assert not value.startswith("+") or value[1:].isdigit(), (name, value)
    one = next(row for row in table if row["ref"] in made)
    assert one["subject"].startswith("'=HYPERLINK") and '"quoted"\n' in one["text"].replace("\r\n", "\n")


def test_exports_by_pages_into_a_file(box):
    """More than a page, filters, a limit, going on, and no file overwritten."""
    with box.line("intake") as line:
        tag = letters.mark()
        for n in range(205):
            line.send_raw(b"SUBMIT " + json.dumps({"key": f"{tag}{n}", "text": f"{n}", "channel": "kiosk"}).encode() + b"\n")
        for _ in range(205):
            assert line.answer()[0] == "OK"
    path = box.path("export.ndjson")
    assert ctl(box, "export", "--channel", "kiosk", "-o", path).returncode == 0
    with open(path, encoding="utf-8") as f:
        got = [json.loads(line) for line in f]
    assert len({row["ref"] for row in got}) == len(got) == 205 and {row["channel"] for row in got} == {"kiosk"}
    again = ctl(box, "export", "-o", path)
    assert again.returncode == 1 and b"not overwritten" in again.stderr
    some = ctl(box, "export", "--channel", "kiosk", "--limit", "201").stdout.decode().splitlines()
    assert [json.loads(line)["ref"] for line in some] == [row["ref"] for row in got[:201]]
    rest = ctl(box, "export", "--channel", "kiosk", "--after", json.loads(some[-1])["id"]).stdout.decode().splitlines()
    assert [json.loads(line)["ref"] for line in rest] == [row["ref"] for row in got[201:]]
    assert ctl(box, "export", "--format", "xml").returncode == 2
    assert ctl(box, "export", "--bom").returncode == 2
    assert ctl(box, "export", "--status", "old").returncode == 1
    with open("/dev/full", "wb") as full:
        done = subprocess.run([os.path.join(box.build(), "complaintctl"), "--config", box.path("complaintd.yaml"), "export"], stdout=full,
                              stderr=subprocess.PIPE, check=False, timeout=60)
    assert done.returncode == 1 and b"cannot write" in done.stderr
    read, write = os.pipe()
    os.close(read)
    with os.fdopen(write, "wb") as gone:  # "export | head" has had enough: no reason to say anything
        done = subprocess.run([os.path.join(box.build(), "complaintctl"), "--config", box.path("complaintd.yaml"), "export"], stdout=gone,
                              stderr=subprocess.PIPE, check=False, timeout=60)
    assert (done.returncode, done.stderr) == (1, b"")


# -- what is said to somebody who made a mistake --


def test_mistakes_are_answered_with_what_to_do(box):
    ref = put(box, "A mistake")["ref"]

    def said(*args):
        done = ctl(box, *args)
        assert done.returncode in (1, 2) and not done.stdout, done
        return done.stderr.decode()

    assert "is list meant?" in said("lst")
    assert "is resolve meant?" in said("help", "resolv")
    assert "is --team meant?" in said("list", "--teem", "billing")
    assert "missing" in said("resolve", ref)
    told = said("resolve", ref)
    assert "--outcome OUTCOME: upheld" in told and "complaintctl help resolve" in told
    assert "a team has this name" in said("assign", ref, "billing") and box.ctl("assign", ref, "--team", "billing").returncode == 0
    assert "close is for complaints that are: resolved\n" in said("close", ref)
    assert "list --search" in said("show", ref[:9])
    assert box.ctl("resolve", ref, "--outcome", "upheld").returncode == 0
    assert "resolve is for complaints that are: new, open, waiting\n" in said("resolve", ref, "--outcome", "upheld")
    wait_for(lambda: ref in box.ctl("list", "--search", ref[2:6]).stdout, 30)  # words are looked up a little later


def test_a_text_comes_on_standard_input(box):
    c = put(box, "I was charged twice", sender="stdin@shop.example")
    text = "Dear customer,\n\nthe second payment is on its way back.\nWe are sorry."
    done = ctl(box, "reply", c["ref"], "-", input=(text + "\n").encode())
    assert done.returncode == 0, done.stderr
    settle(box.db)
    mails = [m for m in box.mails("stdin@shop.example") if "second payment" in m.get_content()]
    assert len(mails) == 1 and "on its way back.\nWe are sorry." in mails[0].get_content().replace("\r\n", "\n")
    for given, wanted in ((b"", "empty"), (b"\xff\xfe", "UTF-8"), (b"x" * (1 << 20) + b"x", "too long")):
        done = ctl(box, "note", c["ref"], "-", input=given)
        assert done.returncode in (1, 2) and wanted in done.stderr.decode(), done.stderr
    assert box.db.value("select count(*) from notes where complaint_id = %s", c["id"]) == 0
    done = ctl(box, "reply", c["ref"], "Dear", "customer")
    assert done.returncode == 2 and b"quotes" in done.stderr and b"reply REF -" in done.stderr
    assert len(box.mails("stdin@shop.example")) == 2  # with the acknowledgement


def test_an_option_is_given_once(box):
    done = ctl(box, "list", "--status", "new", "--status", "open")
    assert done.returncode == 2 and b"is given twice: status" in done.stderr


def test_what_is_active_is_what_is_not_done(box):
    refs = {status: put(box, "Nothing works", sender=f"{status}.active@shop.example")["ref"] for status in ("new", "open", "waiting", "resolved", "closed")}
    box.ctl("ack", refs["open"])
    box.ctl("wait", refs["waiting"], "--for", "3d")
    for status in ("resolved", "closed"):
        box.ctl("resolve", refs[status], "--outcome", "rejected", "--cause", "none-found", "--remedy", "none")
    box.ctl("close", refs["closed"])
    listed = {r["ref"] for r in rows(box, "list", "--status", "active", "--limit", "500")}
    assert listed & set(refs.values()) == {refs["new"], refs["open"], refs["waiting"]}
    wrong = box.ctl("list", "--status", "undone", check=False)
    assert wrong.returncode == 1 and "active for the first three" in wrong.stderr


def test_the_original_is_handed_out(box, tmp_path):
    mark = letters.mark()
    raw = letters.mail("The original", f"As it came {mark}", "S <original@shop.example>")
    assert box.mail(raw, "original@shop.example")[0] == 250
    c = box.complaint_of(mark)
    file = tmp_path / "mail.eml"
    box.ctl("attachment", c["ref"], "0", "-o", str(file))
    stored = bytes(box.db.value("select raw from messages where id = %s", c["id"]))
    assert file.read_bytes() == stored and raw.replace(b"\r\n", b"\n").splitlines()[-1] in stored
    other = put(box, "Another", sender="other@shop.example")
    assert box.ctl("attachment", c["ref"], "0", "--message", str(other["id"]), "-o", str(tmp_path / "x"), check=False).returncode == 1
    with box.line("agent") as line:  # in pieces, of which the first has the digest
        word, body, _ = line.request("ATTACHMENT", ref=c["ref"], n=0, length=10)
        assert word == "OK" and body["kind"] == "original" and body["sha256"] == hashlib.sha256(stored).hexdigest()
        word, body, _ = line.request("ATTACHMENT", ref=c["ref"], n=0, offset=len(stored) + 5, length=10)
        assert word == "OK" and body["data"] == "" and "sha256" not in body


def test_a_refused_export_leaves_no_file(box, tmp_path):
    file = tmp_path / "new.csv"
    assert box.ctl("export", "--format", "csv", "--status", "new,open", "-o", str(file), check=False).returncode == 1
    assert not file.exists()


def test_a_person_is_one_that_the_configuration_knows(make_box):
    box = make_box()
    config = configuration(box)
    config["teams"][0]["members"] = [{"name": "chen"}, {"name": "mueller"}]
    reload(box, config)
    c = put(box, "Nothing works")
    for words in (["assign", c["ref"], "chn"], ["absent", "chn"]):
        done = box.ctl(*words, check=False)
        assert done.returncode == 1 and "there are chen, mueller" in done.stderr
    assert box.ctl("assign", c["ref"], "chen").returncode == 0
    done = box.ctl("reclassify", c["ref"], "--category", "bill", check=False)
    assert done.returncode == 1 and "billing" in done.stderr


def test_words_of_other_programs_lead_on(box):
    for word, here in (("search", "list --search"), ("answer", "reply")):
        done = box.ctl(word, "x", check=False)
        assert done.returncode == 2 and f"here that is {here}" in done.stderr


def test_an_empty_list_tells_a_slip_from_no_work(box):
    put(box, "The invoice is wrong, I was charged twice")
    slip = ctl(box, "list", "--overdue", "--category", "biling", "--team", "nobody")
    assert (slip.returncode, slip.stdout) == (0, b"no complaints\n")
    assert b"no open complaint has the category biling; is billing meant?" in slip.stderr
    assert b"no open complaint has the team nobody; there are:" in slip.stderr and b"billing" in slip.stderr
    fine = ctl(box, "list", "--team", "billing", "--assignee", "nobody")
    assert (fine.returncode, fine.stdout, fine.stderr) == (0, b"no complaints\n", b"")
    assert ctl(box, "--json", "list", "--team", "nobody").stderr == b""


def test_a_list_tells_calls_apart(box):
    with box.line() as line:
        ref = line.ok("SUBMIT", key=secrets.token_hex(8), channel="phone", text="My router has been dead since Monday")["ref"]
    (line,) = [one for one in box.ctl("list", "--channel", "phone").stdout.splitlines() if one.startswith(ref)]
    assert "My router has been dead" in line
    assert "text" not in rows(box, "list", "--channel", "phone")[0]


# -- for the eye --


def test_times_are_those_of_the_reader(box):
    c = put(box, "The time")
    received = c["received_at"].astimezone(datetime.timezone.utc).replace(microsecond=0)
    for zone, hours, mark in (("Asia/Shanghai", 8, "+08"), ("Asia/Kathmandu", 5.75, "+0545"), ("UTC", 0, "Z")):
        text = ctl(box, "show", c["ref"], env={"TZ": zone}).stdout.decode()
        there = received + datetime.timedelta(hours=hours)
        assert f"{there:%Y-%m-%d %H:%M:%S}{mark}" in text, zone
    assert f"{received:%Y-%m-%d %H:%M:%S}Z" in ctl(box, "--utc", "show", c["ref"], env={"TZ": "Asia/Shanghai"}).stdout.decode()
    assert json.loads(ctl(box, "--json", "show", c["ref"], env={"TZ": "Asia/Shanghai"}).stdout)["received_at"].endswith("+00:00")
    listed = ctl(box, "customer", "ctl@shop.example", env={"TZ": "Asia/Shanghai"}).stdout.decode()
    assert f"{received + datetime.timedelta(hours=8):%Y-%m-%d %H:%M}+08" in listed


def test_times_may_be_given_in_the_zone_of_the_reader(box):
    c = put(box, "Wait for me")
    day = (box.db.value("select complaintd.now()") + datetime.timedelta(days=20)).date()
    done = ctl(box, "wait", c["ref"], "--until", f"{day} 12:00", env={"TZ": "Asia/Shanghai"})
    assert done.returncode == 0 and f"{day} 12:00:00+08".encode() in done.stdout, done
    assert json.loads(box.ctl("--json", "show", c["ref"]).stdout)["waiting_until"].startswith(f"{day}T04:00:00")
    refused = ctl(box, "wait", c["ref"], "--until", "tomorrow")
    assert refused.returncode == 1 and b"not a time" in refused.stderr


def read_until(fd, wanted, seconds=20):
    got, end = b"", time.monotonic() + seconds
    while time.monotonic() < end:
        if select.select([fd], [], [], 0.2)[0]:
            try:
                got += os.read(fd, 65536)
            except OSError:  # the other side is closed
                break
        if wanted and wanted in got:
            break
    return got


def test_top_draws_until_q(box):
    once = ctl(box, "top", "--once")
    assert once.returncode == 0 and b"\033" not in once.stdout and b"overdue" in once.stdout and b"outbox" in once.stdout
    assert ctl(box, "top").returncode == 2, "no terminal"
    pid, fd = pty.fork()
    if pid == 0:
        os.environ["TERM"] = "xterm"
        os.execv(os.path.join(box.build(), "complaintctl"), ["complaintctl", "--config", box.path("complaintd.yaml"), "top"])
    try:
        got = read_until(fd, b"a second, in")  # a rate: it looked twice
        assert b"\033[?1049h" in got and b"q quits" in got and b"a second, in" in got
        os.write(fd, b"q")
        assert b"\033[?1049l" in read_until(fd, None, 5)
        assert os.waitpid(pid, 0)[1] == 0
    finally:
        os.close(fd)


def test_colour_is_for_terminals(box):
    put(box, "colours")
    assert b"\033" not in ctl(box, "list", "--limit", "1").stdout
    for env, coloured in (({"TERM": "xterm"}, True), ({"TERM": "xterm", "NO_COLOR": "1"}, False), ({"TERM": "dumb"}, False)):
        main, other = pty.openpty()
        done = subprocess.run([os.path.join(box.build(), "complaintctl"), "--config", box.path("complaintd.yaml"), "list", "--limit", "1"],
                              stdout=other, check=False, timeout=60, env={"PATH": "/usr/bin", **env})
        os.close(other)
        got = read_until(main, None, 1)
        os.close(main)
        assert done.returncode == 0 and (b"\033[" in got) == coloured, env


def on_a_screen(box, width, *args):
    """What a terminal of that width is given, by lines."""
    main, other = pty.openpty()
    fcntl.ioctl(other, termios.TIOCSWINSZ, struct.pack("HHHH", 30, width, 0, 0))
    done = subprocess.run([os.path.join(box.build(), "complaintctl"), "--config", box.path("complaintd.yaml"), *args], stdout=other,
                          check=False, timeout=60, env={"PATH": "/usr/bin", "TERM": "dumb"})
    os.close(other)
    got = read_until(main, None, 1)
    os.close(main)
    assert done.returncode == 0
    return got.decode().replace("\r", "").splitlines()


def test_tables_are_as_wide_as_the_screen(box):
    ref = put(box, "Wide", subject="A subject that is quite long, so long that few screens are wide enough for all of it")["ref"]
    wide, narrow = (next(line for line in on_a_screen(box, width, "list", "--limit", "5") if line.startswith(ref)) for width in (160, 60))
    assert "general" in wide and wide.rstrip().endswith("\N{HORIZONTAL ELLIPSIS}") and len(wide) <= 160
    assert "A subject" in narrow and "general" not in narrow and len(narrow) <= 60
    assert max(len(line) for line in on_a_screen(box, 80, "help", "list")) <= 80


# -- completion --


def complete(box, line, directory="."):
    """What bash offers for the line, asked the way it asks."""
    script = ctl(box, "completion", "bash").stdout.decode()
    words = line.split(" ")
    done = subprocess.run(
        ["bash", "--norc", "-c", script + '\nCOMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); compopt() { :; }; _complaintctl; printf "%s\\n" "${COMPREPLY[@]}"', "x", *words],
        capture_output=True, text=True, check=True, timeout=30, cwd=directory)
    assert not done.stderr
    return done.stdout.split()


def test_bash_completes(box, tmp_path):
    (tmp_path / "thephoto.png").write_bytes(b"")
    assert complete(box, "complaintctl que") == ["queue"]
    assert {"list", "show", "export", "--json"} <= set(complete(box, "complaintctl "))
    assert complete(box, "complaintctl list --over") == ["--overdue"]
    assert complete(box, "complaintctl list --status re") == ["resolved"]
    assert complete(box, "complaintctl --json --socket /s list --priority ") == ["critical", "high", "normal", "low"]
    assert set(complete(box, "complaintctl queue ")) >= {"list", "retry", "drop", "--reason"}
    assert complete(box, "complaintctl completion z") == ["zsh"]
    assert complete(box, "complaintctl attachment C-1 1 --output the", str(tmp_path)) == ["thephoto.png"]
    assert complete(box, "complaintctl list --team ") == []


@pytest.mark.parametrize("shell,check", [("bash", ["bash", "-n"]), ("zsh", ["zsh", "-n"]), ("fish", ["fish", "-n"])])
def test_completions_are_scripts_of_their_shells(box, shell, check, tmp_path):
    script = ctl(box, "completion", shell).stdout
    for word in (b"queue", b"retry", b"overdue", b"resolved"):
        assert word in script
    path = tmp_path / "script"
    path.write_bytes(script)
    try:
        assert subprocess.run([*check, str(path)], check=False, capture_output=True, timeout=30).returncode == 0
    except FileNotFoundError:
        pytest.skip(f"{shell} is not installed")
    assert ctl(box, "completion", "tcsh").returncode == 2
