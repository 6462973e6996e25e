"""Our mails as their readers see them: acknowledgements and escalations in English and Chinese, opened by mutt, by Python's email
and by mblaze (mshow, mflow, mthread). Subject, sender, text with its paragraphs whole, and what belongs together, are as intended."""
import email
import email.policy
import fcntl
import glob
import os
import pty
import re
import secrets
import select
import shutil
import struct
import subprocess
import termios
import time

import pytest

import letters
from box import ROOT
from model import settle, wait_for

WIDTH = 500
needs_mutt = pytest.mark.skipif(not shutil.which("mutt"), reason="mutt is not installed")
needs_mblaze = pytest.mark.skipif(not shutil.which("mthread"), reason="mblaze is not installed")

COMPLAINTS = {
    "en": ("Kettle caught fire", "The kettle caught fire in my kitchen, my hand is burnt.", "Ann O'Neill"),
    "zh": ("热水器冒烟起火", "热水器突然冒烟起火，家里人的手被烧伤了，请尽快处理！", "王小明"),
}


# ---- what was sent ----


class Mailbox:
    """A Maildir of what reached some recipients, and the complaint's own mail where it belongs to them."""

    def __init__(self, path):
        self.path = path
        for name in ("new", "cur", "tmp"):
            os.makedirs(os.path.join(path, name))
        self.n = 0

    def add(self, raw):
        self.n += 1
        with open(os.path.join(self.path, "cur", f"{1000 + self.n}.x:2,"), "wb") as f:
            f.write(raw.replace(b"\r\n", b"\n"))

    def files(self):
        return sorted(glob.glob(os.path.join(self.path, "cur", "*")))


@pytest.fixture(scope="module")
def scene(tmp_path_factory):
    """A mailbox for each language's customer, with the mail that was sent, and one for the team."""
    from box import Box
    from conftest import assert_sound, finish

    box = Box()
    try:
        customers, refs = {}, {}
        for language, (subject, text, name) in COMPLAINTS.items():
            mark, sender = letters.mark(), f"c{secrets.token_hex(5)}@shop.example"
            raw = letters.mail(subject, f"{text} {mark}", sender=f"{name} <{sender}>")
            assert box.mail(raw, sender)[0] == 250
            refs[language] = box.complaint_of(mark)["ref"]
            customers[language] = (sender, raw)
        settle(box.db)
        box.advance("26h")
        settle(box.db)
        folder = tmp_path_factory.mktemp("mail")
        boxes = {language: Mailbox(str(folder / language)) for language in customers}
        boxes["team"] = Mailbox(str(folder / "team"))
        for language, (sender, raw) in customers.items():
            boxes[language].add(raw)
        by_sender = {sender: language for language, (sender, _) in customers.items()}
        for path in sorted(glob.glob(os.path.join(box.e["MAIL_OUTBOX"], "new", "*")), key=os.path.getmtime):
            with open(path, "rb") as f:
                raw = f.read()
            to = email.message_from_bytes(raw, policy=email.policy.default)["Delivered-To"]
            boxes[by_sender.get(str(to), "team")].add(raw)
        assert boxes["en"].n >= 2 and boxes["zh"].n >= 2 and boxes["team"].n >= 4
        yield boxes, refs
        assert_sound(box)
    finally:
        finish(box)


def ours(mailbox):
    """(path, parsed) of the mails that we made."""
    for path in mailbox.files():
        with open(path, "rb") as f:
            m = email.message_from_binary_file(f, policy=email.policy.default)
        if m["X-Complaintd-Instance"]:
            yield path, m


# ---- what was meant ----


def purpose_of(m):
    return "acknowledgement" if m["Auto-Submitted"] == "auto-replied" else "escalation"


def template_of(m):
    with open(os.path.join(ROOT, "config", "templates", f"{purpose_of(m)}.mail.{m['Content-Language']}.txt"), encoding="utf-8") as f:
        head, _, text = f.read().partition("\n\n")
    return head.removeprefix("Subject: "), text


def pattern(text):
    """A regular expression for a template's text; white space is as it is."""
    return "".join(".*?" if part.startswith("{{") else re.escape(part) for part in re.split(r"(\{\{.*?\}\})", text.strip("\n")))


def assert_subject(m, subject, refs):
    assert re.fullmatch(r"\[sandbox\] " + pattern(template_of(m)[0]), subject), subject
    assert any(ref in subject for ref in refs.values())


def assert_text(m, text):
    """Line by line, paragraphs in one: the reader has put together what was broken on its way. An excerpt may have several lines."""
    text = re.sub(r"[ \t]+\n", "\n", text.replace("\r\n", "\n")).strip("\n")
    assert re.fullmatch(pattern(template_of(m)[1]), text, re.S), f"{m['Subject']}:\n{text}"


def groups(mailbox):
    """Sets of Message-IDs that belong together by what they refer to."""
    known, parent = {}, {}

    def find(x):
        while parent.setdefault(x, x) != x:
            x = parent[x]
        return x

    for path in mailbox.files():
        with open(path, "rb") as f:
            m = email.message_from_binary_file(f, policy=email.policy.default)
        known[str(m["Message-ID"]).strip()] = m
        for ref in re.findall(r"<[^>]+>", f"{m['References'] or ''} {m['In-Reply-To'] or ''}"):
            parent[find(ref)] = find(str(m["Message-ID"]).strip())
    sets = {}
    for i in known:
        sets.setdefault(find(i), set()).add(i)
    return sorted(map(sorted, sets.values())), known


# ---- readers ----


def unflow(m):
    """RFC 3676 by the book."""
    text, lines, line = m.get_content().replace("\r\n", "\n"), [], ""
    assert m.get_content_type() == "text/plain" and m.get_param("format") == "flowed" and m.get_param("delsp") == "no"
    for part in text.splitlines():
        part = part.removeprefix(" ")
        line += part
        if not part.endswith(" ") or part == "-- ":
            lines.append(line)
            line = ""
    assert not line, "the last line is not a broken one"
    return "\n".join(lines)


def mutt(mailbox, keys, tmp_path, **settings):
    """Runs mutt on a terminal of its own with these keys; what it printed."""
    out = tmp_path / f"printed-{secrets.token_hex(4)}"
    rc = tmp_path / "muttrc"
    values = {"sort": "threads", "strict_threads": "yes", "print": "yes", "print_command": f'"cat >>{out}"', "print_decode": "yes",
              "print_split": "yes", "wait_key": "no", "charset": "utf-8", "reflow_text": "yes", "reflow_wrap": "0", "wrap": "0",
              "header_cache": '""', "folder": str(tmp_path), "mbox_type": "Maildir", "quit": "yes", "confirmappend": "no", **settings}
    rc.write_text("".join(f"set {k}={v}\n" for k, v in values.items()) + "ignore *\nunignore from: to: subject: message-id:\n"
                  "unhdr_order *\nhdr_order message-id: from: to: subject:\n" + f"push '{keys}<exit>'\n", encoding="utf-8")
    pid, fd = pty.fork()
    if pid == 0:
        os.environ.update(TERM="xterm", LC_ALL="C.UTF-8", HOME=str(tmp_path), COLUMNS=str(WIDTH), LINES="60")
        os.execlp("mutt", "mutt", "-n", "-F", str(rc), "-R", "-f", mailbox.path)
    fcntl.ioctl(fd, termios.TIOCSWINSZ, struct.pack("HHHH", 60, WIDTH, 0, 0))
    screen, end = b"", time.monotonic() + 40
    try:
        while time.monotonic() < end:
            if select.select([fd], [], [], 1)[0]:
                data = os.read(fd, 65536)
                if not data:
                    break
                screen += data
    except OSError:
        pass  # it ended
    finally:
        os.close(fd)
        os.kill(pid, 9)
        os.waitpid(pid, 0)
    assert out.exists(), screen[-2000:]
    return out.read_text(encoding="utf-8").replace("\f", "")


def printed(text):
    """Message-ID -> (From, Subject, text), in the order of printing."""
    found = {}
    for part in re.split(r"(?m)^(?=Message-I[Dd]: <)", text)[1:]:
        head, _, body = part.partition("\n\n")
        fields = dict(line.split(": ", 1) for line in re.sub(r"\n[ \t]+", " ", head).split("\n"))
        fields = {k.lower(): v for k, v in fields.items()}
        found[fields["message-id"].strip()] = (fields["from"], fields["subject"], body)
    return found


def mblaze(*argv, stdin="", **env):
    done = subprocess.run(argv, input=stdin, capture_output=True, text=True, timeout=60, check=False,
                          env={**os.environ, "LC_ALL": "C.UTF-8", "MAILDOT": "/nonexistent", "MBLAZE": "/nonexistent", "MBLAZE_PAGER": "cat", **env})
    assert done.returncode == 0, done.stderr
    return done.stdout


# ---- tests ----


def test_python_reads_what_was_meant(scene):
    boxes, refs = scene
    seen = set()
    for mailbox in boxes.values():
        for _, m in ours(mailbox):
            assert not m.defects and not any(v.defects for v in m.values() if hasattr(v, "defects"))
            assert m["From"].addresses[0].addr_spec == "care@example.com"
            assert m["From"].addresses[0].display_name == "Example customer care"
            assert m["MIME-Version"] == "1.0" and m["Date"].datetime.utcoffset() is not None
            assert m.get_content_charset() == "utf-8" and not m["List-Id"] and not m["Precedence"]
            assert_subject(m, str(m["Subject"]), refs)
            assert_text(m, unflow(m))
            seen.add((purpose_of(m), m["Content-Language"]))
    assert {("acknowledgement", "en"), ("acknowledgement", "zh")} <= seen and "escalation" in {p for p, _ in seen}


def test_lines_are_ordinary_for_readers_without_the_format(scene):
    """As sent, before anybody puts lines together: none is long that had a place to be broken."""
    boxes, _ = scene
    for mailbox in boxes.values():
        for _, m in ours(mailbox):
            for line in m.get_content().splitlines():
                assert len(line) <= 78 or " " not in line[:72].lstrip(" ") or not line.isascii(), line


@needs_mutt
def test_mutt_reads_what_was_meant(scene, tmp_path):
    boxes, refs = scene
    for mailbox in boxes.values():
        found = printed(mutt(mailbox, "<tag-pattern>~A<enter><tag-prefix><print-message>", tmp_path))
        for _, m in ours(mailbox):
            sender, subject, text = found[str(m["Message-ID"]).strip()]
            assert sender == "Example customer care <care@example.com>"
            assert_subject(m, subject, refs)
            assert_text(m, text)


@needs_mutt
def test_mutt_shows_threads_as_meant(scene, tmp_path):
    """A thread of mutt is what it tags as one; all of it stands together in the list."""
    boxes, _ = scene
    for mailbox in boxes.values():
        expected, known = groups(mailbox)
        order = list(printed(mutt(mailbox, "<tag-pattern>~A<enter><tag-prefix><print-message>", tmp_path)))
        assert sorted(order) == sorted(known)
        for group in expected:
            at = sorted(order.index(i) for i in group)
            assert at == list(range(at[0], at[0] + len(at))), "one thread, shown in one place"
            # the message id as a pattern: its special characters are any character
            one = re.sub(r"[^A-Za-z0-9@-]", ".", group[0].strip("<>"))
            tagged = printed(mutt(mailbox, f"<limit>all<enter><first-entry><search>~i {one}<enter><tag-thread><tag-prefix><print-message>", tmp_path))
            assert sorted(tagged) == group


@needs_mblaze
def test_mblaze_reads_what_was_meant(scene):
    boxes, refs = scene
    for mailbox in boxes.values():
        for path, m in ours(mailbox):
            head = mblaze("mshow", "-h", "from:subject", "-q", "-N", path)
            fields = dict(line.split(": ", 1) for line in re.sub(r"\n[ \t]+", " ", head.strip()).split("\n"))
            assert fields["From"].replace('"', "") == "Example customer care <care@example.com>"
            assert_subject(m, fields["Subject"], refs)
            text = mblaze("mshow", "-O", path, "1")
            flowed = mblaze("mflow", "-w", str(WIDTH), stdin=text, PIPE_CONTENTTYPE=str(m["Content-Type"]), COLUMNS=str(WIDTH))
            assert_text(m, flowed)


@needs_mblaze
def test_mblaze_threads_as_meant(scene):
    boxes, _ = scene
    for mailbox in boxes.values():
        expected, _ = groups(mailbox)
        threads = []
        for line in mblaze("mthread", stdin="\n".join(mailbox.files()) + "\n").splitlines():
            path = line.strip()
            if not line.startswith(" "):
                threads.append(set())
            if not os.path.exists(path):
                continue  # a mail that others refer to and that is not here: its own line, named by its id
            with open(path, "rb") as f:
                threads[-1].add(str(email.message_from_binary_file(f, policy=email.policy.default)["Message-ID"]).strip())
        assert sorted(map(sorted, filter(None, threads))) == expected


def test_one_complaint_is_one_thread(scene):
    """A customer's mail and our answer belong together, and so do all mails about a complaint to its team once they refer to each other."""
    boxes, refs = scene
    for language in COMPLAINTS:
        assert len(groups(boxes[language])[0]) == 1
    together, known = groups(boxes["team"])
    for ref in refs.values():
        about = [i for i, m in known.items() if ref in str(m["Subject"])]
        assert len(about) >= 2
        if any(known[i]["References"] for i in about):
            assert any(set(about) <= set(group) for group in together), f"{ref} is in several threads"
