"""tools/model-check finds what it is for: each test breaks one thing in a sound sandbox and reads what is said of it."""
import json
import os
import re
import urllib.parse

import pytest

import clients
import letters
from box import ROOT, run
from model import digest, mail_digest, settle, wait_for


class Run:
    def __init__(self, box, path):
        self.box, self.path, self.acked = box, path, []

    def check(self, *options, extra=()):
        self.path.write_text("".join(json.dumps(e) + "\n" for e in [*self.acked, *extra]), encoding="utf-8")
        done = run(
            os.path.join(ROOT, "tools", "model-check"),
            "--database",
            self.box.database_url(),
            "--acked",
            str(self.path),
            *options,
        )
        return done.returncode, done.stdout + done.stderr

    def finds(self, *words, options=(), extra=()):
        status, output = self.check(*options, extra=extra)
        found = [
            line
            for line in output.splitlines()
            if line.startswith("VIOLATION") and all(w in line for w in words)
        ]
        assert status == 1 and found, output

    def send(self):
        marks = [letters.mark() for _ in range(3)]
        raw = letters.mail(
            "Late",
            f"Late again {marks[0]}",
            sender="A <a@shop.example>",
            message_id=f"{marks[0]}@client.example",
        )
        # bare line feeds become CR LF; a dot is taken away behind a CR LF only
        assert self.box.mail(raw.replace(b"\r\n", b"\n") + b"\r\n.\r\n..dots\r\n", "a@shop.example")[0] == 250
        self.acked.append(
            {
                "channel": "mail",
                "key": f"{marks[0]}@client.example",
                "marker": marks[0],
                "sha256": mail_digest(raw + b"\n.\n..dots\n"),
            }
        )
        sms = clients.sms_params(f"Wrong bill {marks[1]}")
        assert self.box.sms(sms)[0] == 200
        self.acked.append(
            {
                "channel": "sms",
                "key": "twilio:" + sms["MessageSid"],
                "sha256": digest(urllib.parse.urlencode(sms).encode()),
            }
        )
        submit = {"key": marks[2], "text": f"Broken 坏了 {marks[2]}"}
        with self.box.line() as line:
            line.ok("SUBMIT", **submit)
        self.acked += [
            {
                "channel": "line",
                "key": marks[2],
                "sha256": digest(json.dumps(submit, ensure_ascii=False).encode()),
            },
            {"channel": "line", "key": f"sandbox:{marks[2]}", "sha256": digest(submit["text"].encode())},
        ]


@pytest.fixture
def sound(make_box, tmp_path):
    """Three complaints, acknowledged and answered; what a test does to the database is not held against the sandbox."""
    box = make_box()
    checked = Run(box, tmp_path / "acked")
    checked.send()
    settle(box.db)
    wait_for(lambda: box.mails("a@shop.example"), 30, "the acknowledgement")
    box.broken = True
    return checked


def sent(checked):
    return ("--sent", checked.box.path("outbox"), "--grace", "30")


def test_sound_then_each_fault(sound):
    db = sound.box.db
    status, output = sound.check(*sent(sound))
    assert status == 0 and "acknowledged: 4\n" in output and "violations: 0\n" in output, output
    never = {"channel": "mail", "key": "never@client.example"}
    sound.finds("acknowledged, not stored", "no receipt", "never@", extra=[never])
    sound.finds("no message with these bytes", extra=[{**sound.acked[0], "sha256": digest(b"other")}])
    sound.finds("no message with this marker", extra=[{"channel": "mail", "marker": letters.mark()}])
    assert (
        sound.check(extra=[{"channel": "mail", "sha256": ["0" * 64, sound.acked[0]["sha256"]]}])[0] == 0
    ), "one of these"
    db.execute(
        "update notifications set state = 'dead', last_error = 'given up' where transport = 'mail' and purpose = 'acknowledgement'"
    )
    sound.finds("neither sent", "dead")
    assert sound.check("--allow-failed")[0] == 0
    db.execute("update notifications set state = 'suppressed', last_error = null where state = 'dead'")
    sound.finds("neither sent", "suppressed")
    db.execute(
        "update notifications set state = 'pending', next_attempt_at = now() - interval '1 hour' where state = 'suppressed'"
    )
    sound.box.kill_daemon()
    sound.finds("due longer than", options=("--grace", "30"))
    db.execute("delete from notifications where purpose = 'acknowledgement' and transport = 'sms'")
    sound.finds("to be acknowledged, without a notification")


def test_faults_of_what_is_stored(sound):
    db = sound.box.db
    sound.box.kill_daemon()
    db.execute("update messages set raw = raw || 'x' where channel = 'sms' and direction = 'in'")
    sound.finds("no message with these bytes", "twilio:")
    db.execute(
        "update messages set raw = substr(raw, strpos(encode(raw, 'escape'), 'Received')) where channel = 'mail' and direction = 'in'"
    )
    sound.finds("without the server's fields in front")
    db.execute(
        "insert into receipts select ukey || 'x', 'ffffffff-0000-7000-8000-000000000001', channel, key || '2', digest, received_at, recorded_at, outcome,"
        " desk, complaint_id from receipts where channel = 'line'"
    )
    db.execute(
        "insert into messages (id, complaint_id, direction, channel, subject, body, received_at, raw)"
        " select 'ffffffff-0000-7000-8000-000000000001', complaint_id, direction, channel, subject, body, received_at, raw"
        " from messages where channel = 'line' and direction = 'in'"
    )
    sound.finds("stored twice", "mark-", "2 messages")
    db.execute("delete from events where seq = 1")
    sound.finds("invariant", "complaint without events")


def test_what_reached_nobody(sound):
    outbox = sound.box.path("outbox")
    for name in os.listdir(os.path.join(outbox, "mail", "new")):
        os.unlink(os.path.join(outbox, "mail", "new", name))
    with open(os.path.join(outbox, "webhook.jsonl"), "a", encoding="utf-8") as f:
        f.write(json.dumps({"headers": {"idempotency-key": "of-nobody"}}) + "\n")
    sound.finds("called sent, not received", "mail", options=sent(sound))
    sound.finds("no notification speaks of it", "of-nobody", options=sent(sound))


def test_what_was_sent_again_under_another_name(sound):
    """As after a change of keys that a second attempt did not ignore."""
    new = sound.box.path(os.path.join("outbox", "mail", "new"))
    texts = []
    for name in os.listdir(new):
        with open(os.path.join(new, name), encoding="utf-8") as f:
            texts.append(f.read())
    text = next(t for t in texts if "Message-ID: <ack." in t)
    again = re.sub(r"(Message-ID: <ack\.[0-9a-f-]+\.c)(.)", lambda m: m[1] + ("a" if m[2] != "a" else "b"), text, count=1, flags=re.I)
    assert again != text
    with open(os.path.join(new, "again"), "w", encoding="utf-8") as f:
        f.write(again)
    sound.finds("sent again under another Message-ID", "ack.", options=sent(sound))


def test_usage(tmp_path):
    (tmp_path / "acked").write_text('{"channel": "mail"}\n', encoding="utf-8")
    done = run(
        os.path.join(ROOT, "tools", "model-check"),
        "--database",
        "host=/nowhere",
        "--acked",
        str(tmp_path / "acked"),
    )
    assert done.returncode == 2 and "acked:1:" in done.stderr
