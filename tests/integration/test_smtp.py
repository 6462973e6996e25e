"""The SMTP dialogue against the whole daemon: pipelined mails, addresses in UTF-8, the log line of each transaction."""
import re
import socket
import struct

import psycopg2

import letters
from clients import RawSmtp
from model import wait_for

HELLO = "EHLO client.example"


def transaction(mark, sender, to="care@example.com", size=""):
    text = letters.mail(f"One of many {mark}", f"The parcel came broken. {mark}", sender=f"Ann <{sender}>")
    return f"MAIL FROM:<{sender}>{size}\r\nRCPT TO:<{to}>\r\nDATA\r\n".encode() + text + b".\r\n"


def stored(box, marks):
    return box.db.value(
        "select count(*) from complaints where regexp_replace(subject, '.* ', '') = any(%s)", marks
    )


def lines_of(box, event, word):
    def found():
        return [line for line in box.log().splitlines() if f" {event} " in line and word in line]

    wait_for(found, 10, f"a line {event} with {word}")
    return found()


def fields(line):
    return {k: q or p for k, q, p in re.findall(r'([a-z]+)=(?:"((?:[^"\\]|\\.)*)"|(\S*))', line)}


def test_100_pipelined_mails_are_answered_in_order(box):
    marks = [letters.mark() for _ in range(100)]
    sender = "pipe@shop.example"
    with RawSmtp(box.smtp_port) as s:
        s.command(HELLO)
        for i, mark in enumerate(marks):
            s.send(transaction(mark, sender))
            if i == 49:  # in their midst one that is too large, one to nobody, one with nothing in it
                s.send("MAIL FROM:<big@shop.example> SIZE=99999999\r\n")
                s.send("MAIL FROM:<a@shop.example>\r\nRCPT TO:<nobody@example.com>\r\nRSET\r\n")
        s.send("QUIT\r\n")
        ids = []
        for i in range(100):
            assert [s.reply()[0] for _ in range(3)] == [250, 250, 354]
            code, text = s.reply()
            assert code == 250
            ids.append(text[0].split()[-1])
            if i == 49:
                assert [s.reply()[0] for _ in range(4)] == [552, 250, 550, 250]
        assert s.reply()[0] == 221
        assert s.reply()[0] == 0
    assert len(set(ids)) == 100
    wait_for(lambda: box.db.value("select count(*) from pending") == 0)
    order = box.db.rows(
        "select id::text, subject from messages where regexp_replace(subject, '.* ', '') = any(%s) and direction = 'in'", marks
    )
    place = {r["subject"].split()[-1]: r["id"] for r in order}
    assert [place[m] for m in marks] == ids, "each answer carries the id of its own mail"


def test_a_killed_connection_loses_no_answered_mail(box):
    marks = [letters.mark() for _ in range(40)]
    before = box.metric("complaintd_smtp_connections")
    s = RawSmtp(box.smtp_port)
    s.command(HELLO)
    for mark in marks[:30]:
        s.send(transaction(mark, "killed@shop.example"))
    answered = 0
    while answered < 10:
        code, text = s.reply()
        answered += code == 250 and "Ok: id" in text[0]
    s.send(b"".join(transaction(m, "killed@shop.example") for m in marks[30:])[:-2])
    s.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    s.close()  # with a reset
    wait_for(lambda: box.metric("complaintd_smtp_connections") == before, 20, "the session gone")
    wait_for(lambda: box.db.value("select count(*) from pending") == 0)
    assert stored(box, marks[:10]) == 10
    assert stored(box, marks[39:]) == 0, "the last one never ended"
    # and a client that only closes its half is told everything
    more = [letters.mark() for _ in range(5)]
    with RawSmtp(box.smtp_port) as s:
        s.send(HELLO + "\r\n")
        for mark in more:
            s.send(transaction(mark, "half@shop.example"))
        s.sock.shutdown(socket.SHUT_WR)
        codes = []
        while (reply := s.reply())[0]:
            codes.append(reply[0])
    assert codes == [250] + [250, 250, 354, 250] * 5
    assert stored(box, more) == 5


def test_utf8_addresses_to_the_end(box):
    mark, sender = letters.mark(), "王小明@例子.公司"
    raw = (
        f"From: 王小明 <{sender}>\r\nTo: care@example.com\r\nSubject: 快递延误 {mark}\r\n"
        f"Message-ID: <{mark}@client.example>\r\nMIME-Version: 1.0\r\nContent-Type: text/plain; charset=utf-8\r\n"
        f"Content-Transfer-Encoding: 8bit\r\n\r\n我的包裹延误了一个星期。\r\n"
    ).encode()
    with RawSmtp(box.smtp_port) as s:
        words = [line[4:] for line in s.command(HELLO)[1]]
        assert "SMTPUTF8" in words and "8BITMIME" in words and "LIMITS RCPTMAX=100" in words
        assert s.command(f"MAIL FROM:<{sender}>")[0] == 553
        s.send(b"MAIL FROM:<\xff\xfe@shop.example> SMTPUTF8\r\n")
        assert s.reply()[0] == 501
        assert s.command(f"MAIL FROM:<{'字' * 90}@shop.example> SMTPUTF8")[0] == 501
        assert s.command(f"MAIL FROM:<{sender}> SMTPUTF8 BODY=8BITMIME")[0] == 250
        assert s.command("RCPT TO:<care@example.com>")[0] == 250
        assert s.command("DATA")[0] == 354
        s.send(raw + b".\r\n")
        assert s.reply()[0] == 250
    c = box.complaint_of(mark)
    assert (c["customer_email"], c["customer_name"]) == (sender, "王小明")
    assert c["subject"] == f"快递延误 {mark}"
    stored_raw = bytes(box.db.value("select raw from messages where complaint_id = %s and direction = 'in'", c["id"]))
    assert b" with UTF8SMTP id " in stored_raw and f"Return-Path: <{sender}>".encode() in stored_raw
    answer = wait_for(lambda: box.mails("王小明@xn--fsqu00a.xn--55qx5d"), 40, "the acknowledgement")[0]
    assert c["ref"] in answer["Subject"] and str(answer["To"]) == "王小明@xn--fsqu00a.xn--55qx5d"


def test_one_log_line_for_each_transaction(box):
    mark, local = letters.mark(), "trace" + letters.mark()[5:11]
    sender = f"{local}@shop.example"
    with RawSmtp(box.smtp_port) as s:
        s.command(HELLO)
        s.send(transaction(mark, sender, "care+order7@example.com"))
        assert [s.reply()[0] for _ in range(3)] == [250, 250, 354]
        number = s.reply()[1][0].split()[-1]
        one = lines_of(box, "smtp.accepted", number)
        assert len(one) == 1
        f = fields(one[0])
        assert (f["peer"], f["helo"], f["proto"]) == ("127.0.0.1", "client.example", "ESMTP")
        assert (f["nrcpt"], f["refused"], f["desks"]) == ("1", "0", "care")
        assert (f["reply"], f["outcome"]) == ("250", "new")
        assert int(f["size"]) > 100 and int(f["ms"]) >= 0
        assert sender not in one[0] and f["from"].endswith("***@shop.example"), "masked"
        # refused ones: at MAIL, at every RCPT, and broken off
        assert s.command("MAIL FROM:<a@too-large.example> SIZE=99999999")[0] == 552
        f = fields(lines_of(box, "smtp.refused", "too-large.example")[0])
        assert f["reply"].startswith("552 5.3.4") and f["nrcpt"] == "0"
        s.command("MAIL FROM:<a@nobody.example>")
        assert s.command("RCPT TO:<nobody@example.com>")[0] == 550
        assert s.command("RCPT TO:<else@elsewhere.example>")[0] == 550
        s.command("RSET")
        f = fields(lines_of(box, "smtp.refused", "nobody.example")[0])
        assert f["reply"].startswith("550 5.7.1") and (f["nrcpt"], f["refused"]) == ("0", "2")
        s.command("MAIL FROM:<a@broken-off.example>")
        s.command("RCPT TO:<care@example.com>")
        s.command("DATA")
        s.send("Subject: half\r\n")
    assert "connection lost" in lines_of(box, "smtp.refused", "broken-off.example")[0]


def test_mails_that_nobody_hears_the_answer_to_are_in_the_log(box):
    mark = letters.mark()
    connection = psycopg2.connect(box.database_url())
    try:
        with connection.cursor() as cursor:
            cursor.execute("lock table complaintd.receipts in access exclusive mode")
        s = RawSmtp(box.smtp_port)
        s.command(HELLO)
        s.send(transaction(mark, "gone@unheard.example"))
        assert [s.reply()[0] for _ in range(3)] == [250, 250, 354]
        wait_for(lambda: box.metric("complaintd_intake_in_flight") == 1, 10, "it waits for its commit")
        s.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        s.close()  # with a reset
        f = fields(lines_of(box, "smtp.unanswered", "unheard.example")[0])
        assert (f["reply"], f["outcome"], f["desks"]) == ("-", "unanswered", "care")
    finally:
        connection.rollback()
        connection.close()
    assert lines_of(box, "intake.accepted", f["id"]), "stored all the same"
