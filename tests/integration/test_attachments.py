"""Attachments: what is stored of them, what people are shown, and their bytes through complaintctl, equal to those that were sent."""
import base64
import hashlib
import json
import os
import pty
import quopri
import secrets
import struct
import subprocess

import letters

PNG = letters.png()


def part(headers, body):
    return b"--q\r\n" + headers.encode() + b"\r\n\r\n" + body + b"\r\n"


def encoded(name, data, type="application/octet-stream", extra=""):
    head = f'Content-Type: {type}; name="{name}"\r\nContent-Disposition: attachment; filename="{name}"\r\nContent-Transfer-Encoding: base64{extra}'
    return part(head, base64.encodebytes(data).replace(b"\n", b"\r\n"))


def mail(mark, *parts, sender="ann@shop.example", head=""):
    return (
        f"From: Ann <{sender}>\r\nSubject: files\r\nMessage-ID: <{secrets.token_hex(8)}@x>\r\n{head}MIME-Version: 1.0\r\n"
        f'Content-Type: multipart/mixed; boundary="q"\r\n\r\n'.encode()
        + part("Content-Type: text/plain", f"See what is attached. {mark}".encode())
        + b"".join(parts)
        + b"--q--\r\n"
    )


def tnef(*members):
    """winmail.dat with these (name, bytes)."""

    def attribute(level, kind, data):
        return struct.pack("<BII", level, kind, len(data)) + data + struct.pack("<H", sum(data) & 0xFFFF)

    out = struct.pack("<IH", 0x223E9F78, 1)
    for name, data in members:
        out += attribute(2, 0x00069002, bytes(14))
        out += attribute(2, 0x00018010, name.encode() + b"\0")
        out += attribute(2, 0x0006800F, data)
    return out


def sent(box, *parts):
    mark = letters.mark()
    assert box.mail(mail(mark, *parts), "ann@shop.example")[0] == 250
    return box.complaint_of(mark)


def rows(box, c):
    return box.db.rows(
        "select a.* from attachments a join messages m on m.id = a.message_id where m.complaint_id = %s order by a.n", c["id"]
    )


def ctl(box, *args):
    return subprocess.run(
        [os.path.join(box.build(), "complaintctl"), "--config", box.path("complaintd.yaml"), "attachment", *map(str, args)],
        capture_output=True,
        check=False,
        timeout=120,
    )


def test_bytes_are_those_that_were_sent(box, tmp_path):
    big = os.urandom(1_500_000)
    text = "Zeile mit ü und = und viel Text. \n".encode() * 40
    member = os.urandom(40_000)
    c = sent(
        box,
        encoded("big.bin", big),
        part("Content-Type: text/csv; name=t.csv\r\nContent-Transfer-Encoding: quoted-printable\r\nContent-Disposition: attachment", quopri.encodestring(text).replace(b"\n", b"\r\n")),
        part("Content-Type: application/x-raw; name=raw.txt\r\nContent-Disposition: attachment", b"as it stands\r\nin two lines"),
        encoded("winmail.dat", tnef(("bill.pdf", b"%PDF-1.4\n" + member), ("empty.txt", b"")), "application/ms-tnef"),
        part("Content-Type: message/rfc822", b"From: bob@example.org\r\nSubject: inner\r\n\r\nThe inner text.\r\n"),
    )
    stored = rows(box, c)
    assert [(a["filename"], a["kind"], a["member"]) for a in stored] == [
        ("big.bin", "file", None),
        ("t.csv", "file", None),
        ("raw.txt", "file", None),
        ("winmail.dat", "container", None),
        ("bill.pdf", "file", "tnef:1"),
        ("empty.txt", "file", "tnef:2"),
        ("", "message", None),
    ]
    assert stored[4]["magic_type"] == "application/pdf" and stored[4]["content_type"] == "application/pdf"
    want = {1: big, 3: b"as it stands\r\nin two lines", 5: b"%PDF-1.4\n" + member, 6: b""}
    for a in stored:
        done = ctl(box, c["ref"], a["n"])
        assert done.returncode == 0, done.stderr
        assert len(done.stdout) == a["size_bytes"]
        assert hashlib.sha256(done.stdout).digest() == bytes(a["sha256"])
        assert want.get(a["n"], done.stdout) == done.stdout
    assert ctl(box, c["ref"], 2).stdout.replace(b"\r\n", b"\n") == text
    assert ctl(box, c["ref"], 7).stdout.startswith(b"From: bob@example.org\r\nSubject: inner")
    # into a file, into a folder, and never over anything
    file = tmp_path / "out.bin"
    assert ctl(box, c["ref"], 1, "-o", file).returncode == 0
    assert file.read_bytes() == big and file.stat().st_mode & 0o777 == 0o600
    again = ctl(box, c["ref"], 3, "--output", file)
    assert again.returncode == 1 and b"not overwritten" in again.stderr and file.read_bytes() == big
    (tmp_path / "link").symlink_to(tmp_path / "nowhere")
    assert ctl(box, c["ref"], 3, "-o", tmp_path / "link").returncode == 1 and not (tmp_path / "nowhere").exists()
    assert ctl(box, c["ref"], 5, "-o", tmp_path).returncode == 0
    assert (tmp_path / "bill.pdf").read_bytes() == want[5]
    assert ctl(box, c["ref"], 7, "-o", tmp_path).returncode == 0
    assert (tmp_path / "attachment-7").exists(), "one without a name"


def test_names_are_safe(box, tmp_path):
    c = sent(box, encoded("../../.bashrc", b"x = 1\n"), encoded("a\\\\b\\\\c.txt", b"y"))
    assert [a["filename"] for a in rows(box, c)] == [".bashrc", "c.txt"]
    for n in (1, 2):
        assert ctl(box, c["ref"], n, "-o", tmp_path).returncode == 0
    assert sorted(os.listdir(tmp_path)) == ["_.bashrc", "c.txt"]


def test_what_people_are_shown(box):
    before = box.metric("complaintd_attachments_differing_total")
    c = sent(
        box,
        encoded("photo.jpg", PNG, "image/jpeg"),
        part(
            "Content-Type: image/png\r\nContent-ID: <p1@x>\r\nContent-Disposition: inline\r\nContent-Transfer-Encoding: base64",
            base64.b64encode(PNG),
        ),
    )
    one, two = rows(box, c)
    assert (one["content_type"], one["magic_type"], one["kind"]) == ("image/jpeg", "image/png", "file")
    assert (two["magic_type"], two["kind"], two["content_id"], two["is_inline"]) == ("image/png", "inline", "p1@x", True)
    assert box.metric("complaintd_attachments_differing_total") == before + 1
    shown = box.ctl("show", c["ref"]).stdout
    assert "photo.jpg, image/jpeg (its bytes are image/png)" in shown
    assert "image/png, inline" in shown
    listed = box.ctl("attachment", c["ref"]).stdout
    assert "photo.jpg" in listed and "its bytes are image/png" in listed and str(len(PNG)) in listed
    raw = json.loads(box.ctl("--json", "attachment", c["ref"]).stdout)
    assert [r["n"] for r in raw["rows"]] == [1, 2] and raw["rows"][0]["sha256"] == hashlib.sha256(PNG).hexdigest()
    none = sent(box)
    assert "no attachments" in box.ctl("attachment", none["ref"]).stdout


def test_how_a_mail_was_read_is_shown(box):
    mark = letters.mark()
    raw = (
        f"From: Ann <ann@shop.example>\r\nSubject: x\r\nMessage-ID: <{secrets.token_hex(8)}@x>\r\nContent-Type: text/plain; charset=gb2312\r\n\r\n"
        f"-----BEGIN PGP SIGNED MESSAGE-----\r\nHash: SHA256\r\n\r\n我要退款 {mark}\r\n-----BEGIN PGP SIGNATURE-----\r\n\r\nabc\r\n-----END PGP SIGNATURE-----\r\n"
    ).encode("gb18030")
    assert box.mail(raw, "ann@shop.example")[0] == 250
    c = box.complaint_of(mark)
    m = box.db.row("select * from messages where complaint_id = %s", c["id"])
    assert (m["charset_note"], m["security"]) == ("gb2312 read as GB18030 (declared)", "pgp-signed")
    assert m["body"] == f"我要退款 {mark}"
    shown = box.ctl("show", c["ref"]).stdout
    assert "character set: gb2312 read as GB18030 (declared)" in shown and "security: pgp-signed" in shown


def test_several_messages_of_one_complaint(box):
    c = sent(box, encoded("one.bin", b"first"))
    first = box.db.row("select * from messages where complaint_id = %s", c["id"])
    mark = letters.mark()
    reply = mail(mark, encoded("two.bin", b"second"), head=f"In-Reply-To: <{first['message_id']}>\r\n")
    assert box.mail(reply, "ann@shop.example")[0] == 250
    second = box.db.row("select * from messages where body like %s", f"%{mark}%")
    assert second["complaint_id"] == c["id"]
    which = ctl(box, c["ref"], 1)
    assert which.returncode == 1 and b"name one" in which.stderr and which.stdout == b""
    assert ctl(box, c["ref"], 1, "--message", first["id"]).stdout == b"first"
    assert ctl(box, c["ref"], 1, "--message", second["id"]).stdout == b"second"
    for args in ((c["ref"], 2), (c["ref"], 1, "--message", c["id"][:-4] + "0000"), ("C-0000-0000-0012", 1)):
        assert ctl(box, *args).returncode == 1
    assert ctl(box, c["ref"], "x").returncode == 2


def test_what_is_not_as_recorded_is_not_handed_out(box, tmp_path):
    c = sent(box, encoded("one.bin", b"the very bytes"), encoded("winmail.dat", tnef(("a.txt", b"a")), "application/ms-tnef"))
    saved = {a["n"]: a for a in rows(box, c)}
    change = "update complaintd.attachments set {} where message_id = %s and n = %s"
    try:
        for n, what in ((1, "sha256 = sha256('other')"), (1, "size_bytes = 3"), (3, "member = 'tnef:2'"), (3, "member = 'zip:1'")):
            box.db.execute(change.format(what), saved[n]["message_id"], n)
            done = ctl(box, c["ref"], n, "-o", tmp_path / "out")
            assert done.returncode == 1 and done.stdout == b"" and not (tmp_path / "out").exists(), what
            a = saved[n]
            box.db.execute(change.format("sha256 = %s, size_bytes = %s, member = %s"), a["sha256"], a["size_bytes"], a["member"], a["message_id"], n)
    finally:
        assert ctl(box, c["ref"], 1).stdout == b"the very bytes"


def test_nothing_goes_to_a_terminal(box):
    c = sent(box, encoded("one.bin", b"\033[31m bytes"))
    control, terminal = pty.openpty()
    done = subprocess.run(
        [os.path.join(box.build(), "complaintctl"), "--config", box.path("complaintd.yaml"), "attachment", c["ref"], "1"],
        stdout=terminal,
        stderr=subprocess.PIPE,
        check=False,
        timeout=60,
    )
    os.close(terminal)
    os.close(control)
    assert done.returncode == 2 and b"terminal" in done.stderr


def test_the_verb(box):
    c = sent(box, encoded("one.bin", bytes(range(256)) * 1000))
    with box.line("agent") as agent:
        got, offset = b"", 0
        while True:
            a = agent.ok("ATTACHMENT", ref=c["ref"], n=1, offset=offset, length=50000)
            piece = base64.b64decode(a["data"])
            got, offset = got + piece, offset + len(piece)
            if offset >= a["raw_length"]:
                break
            assert len(piece) == 50000
        assert base64.b64decode(got) == bytes(range(256)) * 1000
        assert a["encoding"] == "base64" and a["filename"] == "one.bin"
        whole = agent.ok("ATTACHMENT", ref=c["ref"], n=1)
        assert len(base64.b64decode(whole["data"])) == 131072, "one answer has a piece, not everything"
        beyond = agent.ok("ATTACHMENT", ref=c["ref"], n=1, offset=2**31 - 1)
        assert beyond["data"] == ""
        assert agent.request("ATTACHMENT", ref=c["ref"], n=2)[1]["code"] == "not-found"
        assert agent.request("ATTACHMENT", ref=c["ref"], n=1, length=131073)[1]["field"] == "length"
    with box.line("intake") as intake:
        assert intake.request("ATTACHMENT", ref=c["ref"])[1]["code"] == "forbidden"
