"""The log: one line an accepted message, which holds what its sender was given; nobody's address, number or words in it."""
import os
import re
import secrets
import shutil
import signal
import subprocess
import time

import pytest

import clients
import letters
from box import default_build
from model import wait_for

LEVELS = ("error", "warn", "notice", "info", "debug")


def described():
    done = subprocess.run([os.path.join(default_build(), "complaintd"), "--describe-events"], capture_output=True, text=True)
    assert done.returncode == 0
    return dict(re.findall(r"^([a-z]+\.[a-z-]+) +(?:ordinary|storm|security|loss-relevant) +([0-9a-f]{32})$", done.stdout, re.M))


def lines(box, what):
    return [line for line in box.log().splitlines() if what in line]


def fields(line):
    found = {}
    for key, quoted, plain in re.findall(r'([a-z_]+)=(?:"((?:[^"\\]|\\.)*)"|(\S*))', line):
        assert key not in found, f"{key} twice: {line}"
        found[key] = quoted or plain
    return found


def one_line(box, what):
    wait_for(lambda: lines(box, what), 10, f"a log line with {what}")
    found = [line for line in lines(box, what) if " intake.accepted " in line]
    assert len(found) == 1, found
    assert " info intake.accepted " in found[0]
    return fields(found[0])


def test_a_mail_is_found_by_the_id_in_its_250(box):
    mark, local = letters.mark(), "writer" + secrets.token_hex(5)
    raw = letters.mail(f"Charged twice {mark}", f"You charged me twice, please refund {mark}", sender=f"{local}@shop.example")
    _, text = box.mail(raw, f"{local}@shop.example")
    one = one_line(box, text.split()[-1])
    c = box.complaint_of(mark)
    wait_for(lambda: box.mails(f"{local}@shop.example"), 30, "acknowledgement")
    assert one["id"] == text.split()[-1] and one["ref"] == c["ref"]
    assert (one["channel"], one["outcome"], one["peer"]) == ("mail", "new", "127.0.0.1")
    assert (one["from"], one["to"], one["recipients"]) == (local[:2] + "***@shop.example", "ca***@example.com", "1")
    assert (one["category"], one["priority"], one["team"]) == (c["category"], c["priority"], c["team"])
    assert int(one["size"]) == len(bytes(box.db.value("select raw from messages where complaint_id = %s and direction = 'in'", c["id"])))
    assert 0 <= int(one["ms"]) < 60000
    assert one_line(box, one["ref"]) == one, "the reference finds the same line"
    # the same once more is an acceptance of its own, answered with an id of its own
    _, text = box.mail(raw, f"{local}@shop.example")
    again = one_line(box, text.split()[-1])
    assert again["outcome"] == "duplicate" and again["ref"] == one["ref"] and again["id"] != one["id"]
    assert mark not in box.log() and local not in box.log() and "Charged twice" not in box.log()


def test_an_sms_and_a_submit_are_found_by_their_reference(box):
    mark, digits = letters.mark(), "".join(secrets.choice("123456789") for _ in range(8))
    assert box.sms(clients.sms_params(f"Where is my parcel? {mark}", "+86138" + digits))[0] // 100 == 2
    c = box.complaint_of(mark)
    one = one_line(box, c["ref"])
    assert (one["channel"], one["outcome"], one["from"]) == ("sms", "new", "+861***" + digits[-2:])
    assert digits not in box.log() and mark not in box.log()

    digits = "".join(secrets.choice("123456789") for _ in range(8))
    with box.line() as line:
        ref = line.ok("SUBMIT", key=secrets.token_hex(8), customer={"phone": "+86139" + digits, "name": "Ann Example"},
                      subject="Refund", text="The refund never came")["ref"]
    one = one_line(box, ref)
    assert (one["channel"], one["outcome"], one["peer"], one["ref"]) == ("line", "new", "sandbox", ref)
    assert digits not in box.log() and "Ann Example" not in box.log()


def test_what_was_accepted_as_pending_is_told_again_under_another_name(make_box):
    box = make_box(overlay={"triage": {"budget": "300ms", "deadline": "3s"}})
    wait_for(lambda: box.workers("triage"), 20, "triage workers")
    time.sleep(2)  # every worker is ready, with sanitizers too
    for pid in box.workers("triage"):
        os.kill(pid, signal.SIGSTOP)
    _, text = box.mail(letters.mail("Late", "My parcel is late"))
    one = one_line(box, text.split()[-1])
    assert (one["outcome"], one["ref"]) == ("pending", "-")
    told = wait_for(lambda: lines(box, " intake.triaged "), 60, "triaged")
    assert len(told) == 1 and fields(told[0])["id"] == one["id"]
    assert fields(told[0])["outcome"] == "new"
    assert box.db.value("select count(*) from complaints where ref = %s", fields(told[0])["ref"]) == 1
    one_line(box, one["id"])


def test_what_a_relay_says_of_a_recipient_is_masked(box):
    sender = f"nobody{secrets.token_hex(4)}@shop.example"
    box.inject(mail_to={sender: f"550 5.1.1 <{sender}>: no such user"})
    assert box.mail(letters.mail("Late", "My parcel is late", sender=sender), sender)[0] == 250
    wait_for(lambda: box.db.value("select count(*) from notifications where recipient = %s and state = 'failed'", sender), 30, "failed")
    told = [line for line in lines(box, " error notify.failed ") if "no***@shop.example" in line]
    assert len(told) == 1 and "no such user" in told[0] and sender not in box.log()


def test_every_line_is_of_a_described_event(box):
    names = described()
    assert len(names) > 60 and len(set(names.values())) == len(names)
    for line in box.log().splitlines():
        found = re.match(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z (\w+) (\S+)( |$)", line)
        assert found, f"not a line of the log: {line}"
        assert found[1] in LEVELS and found[2] in names, line
        fields(line)


def test_strangers_cannot_fill_the_log(box):
    """More unsigned webhooks than an event may have lines: the rest are counted, and told in one line."""
    before, held = len(lines(box, " sms.unsigned ")), box.metric("complaintd_log_suppressed_total")
    rounds = 1200
    params = clients.sms_params("forged")
    for _ in range(rounds):
        assert box.sms(params, signature="")[0] == 403
    held = int(box.metric("complaintd_log_suppressed_total") - held)
    written = [line for line in lines(box, " sms.unsigned ")[before:] if "suppressed=" not in line]
    summaries = [line for line in lines(box, " sms.unsigned ")[before:] if "suppressed=" in line]
    assert len(written) + held == rounds
    if held:
        wait_for(lambda: sum(int(fields(line)["suppressed"]) for line in lines(box, " sms.unsigned ")[before:]
                             if "suppressed=" in line) == held, 20, f"{held} suppressed lines summed up ({summaries})")


def test_pii_when_configured(make_box):
    box = make_box(overlay={"log": {"pii": True}})
    _, text = box.mail(letters.mail("Late", "My parcel is late", sender="maria.lopez@shop.example"), "maria.lopez@shop.example")
    one = one_line(box, text.split()[-1])
    assert (one["from"], one["to"]) == ("maria.lopez@shop.example", "care@example.com")


@pytest.mark.skipif(not shutil.which("journalctl"), reason="journalctl is not installed")
def test_the_journal_takes_the_catalogue(tmp_path):
    folder = tmp_path / "usr/lib/systemd/catalog"
    folder.mkdir(parents=True)
    (tmp_path / "var/lib/systemd/catalog").mkdir(parents=True)
    text = subprocess.run([os.path.join(default_build(), "complaintd"), "--describe-events=catalog"], capture_output=True,
                          check=True).stdout
    (folder / "complaintd.catalog").write_bytes(text)
    subprocess.run(["journalctl", f"--root={tmp_path}", "--update-catalog"], check=True)
    listed = subprocess.run(["journalctl", f"--root={tmp_path}", "--list-catalog"], capture_output=True, text=True, check=True).stdout
    assert set(described().items()) == {(line.split()[-1], line.split()[0]) for line in listed.splitlines()}
