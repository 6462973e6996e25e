"""Somebody who knows only `complaintctl --help` works at a terminal: finds the overdue billing complaints of a team, reads one, saves its photo,
answers it where there is a command for that, resolves it. What the screen shows is captured as text, as tmux draws it."""
import os
import re
import shutil
import subprocess

import pytest

import letters
from model import settle, wait_for
from test_attachments import encoded

PHOTO = letters.png()


class Terminal:
    """A shell in tmux, on a server of its own."""

    def __init__(self, box, folder):
        self.socket = os.path.join(folder, "tmux")
        self.done = 0
        tool = os.path.join(box.build(), "complaintctl")
        with open(os.path.join(folder, "complaintctl"), "w", encoding="utf-8") as f:
            f.write(f"#!/bin/sh\nexec {tool} --socket {control(box)} \"$@\"\n")
        os.chmod(f.name, 0o755)
        environment = {"PATH": f"{folder}:/usr/bin:/bin", "HOME": folder, "TERM": "xterm-256color", "LC_ALL": "C.UTF-8", "TZ": "Asia/Shanghai", "PS1": "$ "}
        self.tmux("-f", "/dev/null", "new-session", "-d", "-x", "200", "-y", "60", "-c", folder, "/bin/sh", env=environment)

    def tmux(self, *args, env=None):
        return subprocess.run(["tmux", "-u", "-S", self.socket, *args], check=True, capture_output=True, text=True, timeout=30, env=env).stdout

    def screen(self, history=0):
        return self.tmux("capture-pane", "-p", "-J", "-S", f"-{history}")

    def type(self, line):
        """Types the line; what was printed, and the exit status."""
        self.done += 1
        mark = f"done-{self.done}="
        self.tmux("send-keys", "-l", f"clear; {line}; echo {mark[:4]}''{mark[4:]}$?")
        self.tmux("send-keys", "Enter")
        shown = wait_for(lambda: (s := self.screen(300)) and re.search(re.escape(mark) + r"\d+", s) and s, 30, line)
        self.tmux("clear-history")
        return shown, int(re.search(re.escape(mark) + r"(\d+)", shown)[1])

    def close(self):
        subprocess.run(["tmux", "-S", self.socket, "kill-server"], check=False, capture_output=True, timeout=30)


def control(box):
    with open(box.path("complaintd.yaml"), encoding="utf-8") as f:
        return re.search(r"unix:(\S+?control)", f.read())[1]


def commands_of(help_text):
    return re.findall(r"^  ([a-z]+)\b", help_text.partition("commands")[2].partition("options:")[0], re.M)


@pytest.mark.skipif(not shutil.which("tmux"), reason="tmux is not installed")
def test_somebody_who_knows_only_the_help(make_box, tmp_path):
    box = make_box()
    mark = letters.mark()
    raw = (
        f"From: Li Si <li@shop.example>\r\nTo: care@example.com\r\nSubject: charged twice\r\nMessage-ID: <{mark}@x>\r\nMIME-Version: 1.0\r\n"
        f'Content-Type: multipart/mixed; boundary="q"\r\n\r\n--q\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: 8bit\r\n\r\n'
        f"The invoice is wrong: I was charged twice. 账单重复扣款。 {mark}\r\n".encode()
        + encoded("photo.png", PHOTO, "image/png") + b"--q--\r\n"
    )
    assert box.mail(raw, "li@shop.example")[0] == 250
    assert box.mail(letters.mail("Delivery", "The parcel never came", "O <other@shop.example>"), "other@shop.example")[0] == 250
    complaint = box.complaint_of(mark)
    assert (complaint["category"], complaint["team"]) == ("billing", "billing")
    settle(box.db)
    box.advance("30d")
    settle(box.db)
    terminal = Terminal(box, str(tmp_path))
    try:
        help_text, status = terminal.type("complaintctl --help")
        assert status == 0 and {"list", "show", "attachment", "resolve"} <= set(commands_of(help_text))
        assert "exit status" in help_text
        options, _ = terminal.type("complaintctl help list")
        assert all(word in options for word in ("--overdue", "--category", "--team", "--search"))

        listed, status = terminal.type("complaintctl list --overdue --category billing --team billing")
        assert status == 0 and complaint["ref"] in listed and "charged twice" in listed and "Delivery" not in listed
        assert "+08" in listed, "due in the zone of the reader"
        wait_for(lambda: box.db.value("select count(*) from search") >= 2, 20)
        listed, status = terminal.type("complaintctl list --search 重复扣款")
        assert status == 0 and complaint["ref"] in listed
        ref = re.search(r"C-\w{4}-\w{4}-\w{4}", listed)[0]

        shown, status = terminal.type(f"complaintctl show {ref}")
        assert status == 0 and "账单重复扣款" in shown and "attachment 1: photo.png" in shown and "missed" in shown
        refused, status = terminal.type(f"complaintctl attachment {ref} 1")
        assert status == 2 and "-o" in refused
        _, status = terminal.type(f"complaintctl attachment {ref} 1 -o photo.png")
        assert status == 0 and (tmp_path / "photo.png").read_bytes() == PHOTO

        if "reply" in commands_of(help_text):
            usage, _ = terminal.type("complaintctl help reply")
            text = "--text" if "--text" in usage else ""
            _, status = terminal.type(f"complaintctl reply {ref} {text} 'We refund you today.'")
            assert status == 0
            wait_for(lambda: [m for m in box.mails("li@shop.example") if "We refund you today." in m.get_content()], 30)

        usage, _ = terminal.type("complaintctl help resolve")
        codes = {"--outcome": "upheld", "--cause": "billing-error", "--remedy": "refund"}
        given = " ".join(f"{option} {word}" for option, word in codes.items() if option in usage)
        resolved, status = terminal.type(f"complaintctl resolve {ref} {given}")
        assert status == 0 and "resolved" in resolved, resolved
        listed, status = terminal.type("complaintctl list --overdue --category billing --team billing")
        assert status == 0 and "no complaints" in listed
        wrong, status = terminal.type("complaintctl show C-0000-0000-0000")
        assert status == 1 and "not-found" in wrong

        terminal.tmux("send-keys", "-l", "clear; complaintctl top")
        terminal.tmux("send-keys", "Enter")
        picture = wait_for(lambda: (s := terminal.screen()) and "a second, in" in s and s, 20, "top draws")
        assert "overdue" in picture and "outbox" in picture and "q quits" in picture
        terminal.tmux("send-keys", "q")
        wait_for(lambda: "q quits" not in terminal.screen(), 10, "top ends")
    finally:
        terminal.close()
    assert box.db.value("select status from complaints where ref = %s", ref) == "resolved"
