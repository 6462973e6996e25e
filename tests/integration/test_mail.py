"""Mail in, decoded, stored, acknowledged; what the SMTP dialogue promises."""
import hashlib
import re
import secrets

import letters
from clients import RawSmtp, crlf
from model import wait_for


def address():
    return f"c{secrets.token_hex(5)}@shop.example"


def acknowledgement(box, to):
    wait_for(lambda: box.mails(to), 30, f"acknowledgement to {to}")
    found = box.mails(to)
    assert len(found) == 1
    return found[0]


def test_plain_mail_is_stored_before_250_and_acknowledged(box):
    mark, sender = letters.mark(), address()
    raw = letters.mail(
        "Charged twice for order 4711",
        f"You charged me twice for one order. Please refund. {mark}",
        sender=f"Ann Example <{sender}>",
        message_id=f"{mark}@client.example",
    )
    code, text = box.mail(raw, sender)
    assert code == 250
    stored = box.db.row(
        "select * from messages where message_id = %s", f"{mark}@client.example"
    )  # no waiting: it was committed
    assert bytes(stored["raw"]).endswith(raw.rstrip(b"\r\n") + b"\r\n") or raw.strip() in bytes(stored["raw"])
    c = box.complaint_of(mark)
    assert c["ref"] not in text and "C-" not in text, "a 250 carries no reference"
    assert c["subject"] == "Charged twice for order 4711"
    assert c["customer_email"] == sender and c["customer_name"] == "Ann Example"
    assert (c["channel"], c["desk"], c["category"], c["team"], c["language"]) == (
        "mail",
        "care",
        "billing",
        "billing",
        "en",
    )
    assert c["decision"], "the decision keeps its reasons"
    assert box.db.row("select outcome from receipts where complaint_id = %s", c["id"])["outcome"] == "new"
    assert box.db.value("select count(*) from events where complaint_id = %s", c["id"]) >= 1
    kinds = {r["kind"] for r in box.db.rows("select kind from deadlines where complaint_id = %s", c["id"])}
    assert kinds == {"acknowledge", "first-response", "resolve"}
    ack = acknowledgement(box, sender)
    assert re.fullmatch(r"<care\+n[0-9a-z]{43}@example\.com>", ack["Return-Path"]), "what comes back to it names the notification"
    assert ack["Auto-Submitted"] == "auto-replied"
    assert f"<{mark}@client.example>" in (ack["In-Reply-To"] or "")
    assert c["ref"] in ack["Subject"] + ack.get_content()
    wait_for(lambda: box.complaint_of(mark)["acknowledged_at"], 15, "acknowledged_at")


def test_chinese_mail_in_gb18030(box):
    mark, sender = letters.mark(), address()
    raw = letters.mail("快递延误一周还没到", f"我的包裹延误了一个星期，客服说不清楚，请尽快处理。{mark}", sender=f"王小明 <{sender}>", charset="gb18030")
    assert box.mail(raw, sender)[0] == 250
    c = box.complaint_of(mark)
    assert c["subject"] == "快递延误一周还没到"
    assert c["body"].startswith("我的包裹延误了一个星期，客服说不清楚，请尽快处理。")
    assert (c["language"], c["category"], c["customer_name"]) == ("zh", "delivery", "王小明")
    ack = acknowledgement(box, sender)
    text = ack["Subject"] + ack.get_content()
    assert c["ref"] in text and any("\u4e00" <= ch <= "\u9fff" for ch in text), "answered in Chinese"


OUR_ANSWER = """On Mon, 2 Nov 2026 at 09:15, Care Desk <care@example.com> wrote:

> You were charged twice for one order, and the refund is on its way.
> As to your package: it was delayed.
>
> On Sun, 1 Nov 2026, at 20:00, Ann Example wrote:
>> You charged me twice for one order. Please refund."""


def test_what_is_quoted_triggers_no_rule(box):
    """The reply is about a delay; billing stands in what it quotes alone, which is kept."""
    mark, sender = letters.mark(), address()
    new = f"My package is delayed by a week and nobody knows where it is. {mark}"
    raw = letters.mail("Re: A matter", f"{new}\n\nSent from my iPhone\n\n{OUR_ANSWER}", sender=f"Ann Example <{sender}>")
    assert box.mail(raw, sender)[0] == 250
    c = box.complaint_of(mark)
    assert c["category"] == "delivery", c["decision"]
    m = box.db.row("select body, text_new, text_quoted from messages where id = %s", c["id"])
    assert m["text_new"] == new
    assert m["body"].startswith(new) and m["body"].endswith("Please refund.")
    assert m["text_quoted"] == f"Sent from my iPhone\n\n{OUR_ANSWER}"
    assert "charged me twice" not in str(c["decision"])
    shown = box.ctl("show", c["ref"]).stdout
    assert new in shown and "charged" not in shown
    assert f"… {m['text_quoted'].count(chr(10)) + 1} quoted lines, --full shows them" in shown
    assert "You charged me twice" in box.ctl("show", c["ref"], "--full").stdout
    with box.line("admin") as line:
        (seen,) = line.ok("SHOW", ref=c["ref"])["messages"]
    assert seen["text_new"] == new and seen["quoted_lines"] == m["text_quoted"].count("\n") + 1
    # the same words, said by the sender
    mark, sender = letters.mark(), address()
    assert box.mail(letters.mail("A matter", f"You charged me twice for one order. Please refund. {mark}", sender=sender), sender)[0] == 250
    c = box.complaint_of(mark)
    assert c["category"] == "billing"
    m = box.db.row("select body, text_new, text_quoted from messages where id = %s", c["id"])
    assert m["text_new"] == m["body"] and m["text_quoted"] is None
    assert box.db.value("select text_new from message where id = %s", c["id"]) is None, "a text stands once"


def test_html_only_mail_with_a_picture(box):
    mark, sender, picture = letters.mark(), address(), letters.png()
    raw = letters.html_mail(
        "Broken kettle",
        f"<html><head><style>p {{color: red}}</style></head><body><p>The kettle arrived <b>broken</b>"
        f" &amp; dented.</p><p>{mark}</p><script>var secret = 1;</script></body></html>",
        picture,
        sender=f"Ben <{sender}>",
    )
    assert box.mail(raw, sender)[0] == 250
    c = box.complaint_of(mark)
    assert "The kettle arrived broken & dented." in " ".join(c["body"].split())
    assert "secret" not in c["body"] and "color" not in c["body"] and "<" not in c["body"]
    a = box.db.row(
        "select a.* from attachments a join messages m on m.id = a.message_id where m.complaint_id = %s", c["id"]
    )
    assert (a["filename"], a["content_type"], a["size_bytes"]) == ("photo.png", "image/png", len(picture))
    assert bytes(a["sha256"]) == hashlib.sha256(picture).digest()


def test_the_same_mail_again_creates_nothing(box):
    mark, sender = letters.mark(), address()
    raw = letters.mail("Again", f"Sent twice. {mark}", sender=f"Ann <{sender}>")
    assert [box.mail(raw, sender)[0] for _ in range(3)] == [250, 250, 250]
    box.complaint_of(mark)
    acknowledgement(box, sender)
    assert len(box.mails(sender)) == 1


def test_a_message_id_used_twice_drops_nothing(box):
    one, two, sender = letters.mark(), letters.mark(), address()
    for mark in (one, two):
        assert (
            box.mail(
                letters.mail("Same id", f"Text {mark}", sender=f"Ann <{sender}>", message_id=f"{one}@x.example"),
                sender,
            )[0]
            == 250
        )
    wait_for(lambda: box.db.value("select count(*) from pending") == 0)
    found = box.db.rows("select body from messages where message_id = %s", f"{one}@x.example")
    assert sorted(one in m["body"] for m in found) == [False, True]


def test_several_mails_on_one_connection_and_pipelining(box):
    marks = [letters.mark() for _ in range(5)]
    with RawSmtp(box.smtp_port) as s:
        code, lines = s.command("EHLO client.example")
        words = {line[4:].split()[0].upper() for line in lines[1:]}
        assert code == 250 and {"PIPELINING", "SIZE", "8BITMIME", "ENHANCEDSTATUSCODES"} <= words
        for mark in marks:
            sender = address()
            s.send(f"MAIL FROM:<{sender}>\r\nRCPT TO:<nobody@example.com>\r\nRCPT TO:<CARE@example.com>\r\nDATA\r\n")
            assert [s.reply()[0] for _ in range(4)] == [250, 550, 250, 354]
            s.send(
                letters.mail("Pipelined", f"..dots\n.\n.. and {mark}", sender=sender).replace(b"\r\n.", b"\r\n..")
                + b".\r\n"
            )
            assert s.reply()[0] == 250
        assert s.command("QUIT")[0] == 221
    for mark in marks:
        assert box.complaint_of(mark)["body"].split() == ["..dots", ".", "..", "and", mark]


def test_verbs_out_of_place_cost_only_themselves(box):
    with RawSmtp(box.smtp_port) as s:
        assert s.command("MAIL FROM:<a@b.example>")[0] == 503
        assert s.command("EHLO client.example")[0] == 250
        assert s.command("DATA")[0] == 503
        assert s.command("RCPT TO:<care@example.com>")[0] == 503
        assert s.command("MAIL FROM:<a b@c.example>")[0] in (501, 553)
        assert s.command("MAIL FROM:<a@b.example>")[0] == 250
        code, lines = s.command("RCPT TO:<someone@elsewhere.example>")
        assert code == 550 and "5." in lines[0]
        assert s.command("DATA")[0] in (503, 554)
        assert s.command("VRFY care")[0] == 252
        assert s.command("FROBNICATE")[0] == 500
        assert s.command("NOOP")[0] == 250
        assert s.command("RSET")[0] == 250
    mark = letters.mark()
    assert box.mail(letters.mail("Still taken", mark))[0] == 250
    box.complaint_of(mark)


def test_postmaster_is_a_desk(box):
    mark = letters.mark()
    assert box.mail(letters.mail("To the postmaster", mark), recipients=["postmaster"])[0] == 250
    assert box.complaint_of(mark)["desk"] == "care"


def test_size_is_said_and_kept(make_box):
    box = make_box(overlay={"mail": {"max_message": "64kB"}})
    with RawSmtp(box.smtp_port) as s:
        code, lines = s.command("EHLO client.example")
        assert code == 250 and any(line.startswith("250") and "SIZE 65536" in line for line in lines)
        assert s.command("MAIL FROM:<a@b.example> SIZE=70000")[0] == 552
        assert s.command("MAIL FROM:<a@b.example>")[0] == 250
        assert s.command("RCPT TO:<care@example.com>")[0] == 250
        assert s.command("DATA")[0] == 354
        s.send(letters.mail("Large", "x" * 70 + "\n") + (b"y" * 70 + b"\r\n") * 1000 + b".\r\n")
        assert s.reply()[0] == 552
        assert s.command("NOOP")[0] == 250
    assert box.db.value("select count(*) from receipts") == 0


def test_line_ends(box):
    """Bare line feeds are normalized; an end of data with one is content, not an end."""
    mark, hidden = letters.mark(), letters.mark()
    raw = letters.mail("Smuggled", f"before {mark}")
    raw += (
        b"\n.\r\nMAIL FROM:<evil@b.example>\r\nRCPT TO:<care@example.com>\r\nDATA\r\nSubject: hidden\r\n\r\n"
        + hidden.encode()
        + b"\r\n.\n"
    )
    with RawSmtp(box.smtp_port) as s:
        for line, wanted in (
            ("EHLO c.example", 250),
            ("MAIL FROM:<a@b.example>", 250),
            ("RCPT TO:<care@example.com>", 250),
            ("DATA", 354),
        ):
            assert s.command(line)[0] == wanted
        s.send(raw + b"end\r\n.\r\n")
        assert s.reply()[0] == 250
        assert s.command("NOOP")[0] == 250, "one answer for one mail"
    body = box.complaint_of(mark)["body"]
    assert hidden in body, "all of it is one message"
    assert "notes=bare_lf" in next(line for line in box.log().splitlines()[::-1] if " intake.accepted " in line)


def test_eight_bit_and_unknown_charset(box):
    mark = letters.mark()
    raw = (
        b"From: a@b.example\r\nSubject: caf\xe9\r\nMessage-ID: <" + mark.encode() + b"@x>\r\nMIME-Version: 1.0\r\n"
        b"Content-Type: text/plain; charset=x-made-up\r\n\r\nTh\xe9 text " + mark.encode() + b"\r\n"
    )
    assert box.mail(crlf(raw))[0] == 250
    c = box.complaint_of(mark)
    assert "text " + mark in c["body"]
