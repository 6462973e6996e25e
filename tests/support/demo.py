#!/usr/bin/python3
"""The demo's second half (./demo installs and builds first): starts a sandbox, sends eight complaints through three channels
and shows what became of them. Every expectation is checked; the exit status is 0 only when all of them held."""
import email
import email.policy
import glob
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import textwrap
import time
import unicodedata

import clients
import letters
import processes
import sandbox
import story

TTY = sys.stdout.isatty() and os.environ.get("TERM") != "dumb"
CARE = "care@example.com"


def paint(text, code):
    return f"\033[{code}m{text}\033[0m" if TTY else text


def title(text):
    print("\n" + paint(text, "1"), flush=True)


class Expectations:
    def __init__(self):
        self.failed = 0

    def check(self, held, text):
        if not held:
            self.failed += 1
            print(paint("  NOT AS EXPECTED: " + text, "31"))
        return held


# ---- the complaints ----

MAIL_ENGLISH = """Hello,

my card was charged twice for order 88-1204, 59.90 each time, and your chat told me
to be patient. That was nine days ago. Please refund the second payment.

Ann Example"""

MAIL_CHINESE = """您好，

我十一月三日下的订单，快递显示已签收，可是我根本没有收到包裹。
打了三次电话，每次都说会有人联系我，到现在还没有人联系。
请尽快查清楚包裹在哪里，或者重新发货。

王小明"""

MAIL_HTML = """<html><head><style>p { font-family: sans-serif }</style></head><body>
<p>The frying pan that I bought last week arrived with a <b>broken handle</b> and a scratched lid,
as you can see in the photo.</p><p>The quality is poor for that price. I want another one.</p>
<p>Ben Example</p></body></html>"""

MAIL_SAFETY = """The electric kettle EK-20 that you sold me caught fire on the stove top this morning.
The plug melted and my daughter has a burn on her hand. Take it off the shelves!

Carla Example"""

SMS_CHINESE = "你们门店的服务态度太差了，店员当面骂人，还说爱投诉就去投诉！"
SMS_ENGLISH = "Since Monday the internet connection drops every ten minutes. Restarted the router, still not working."
PHONE = "Caller says the shop gave her personal details to somebody else; since then she gets advertising calls. Wants to know who has her number."


def complaints():
    """[(what, how, who, mark to find it by, category, priority or None, send(box))]"""
    first = letters.mail(
        "Charged twice for order 88-1204",
        MAIL_ENGLISH,
        sender="Ann Example <ann@customer.example>",
        message_id="88-1204.charged@customer.example",
    )
    chinese = letters.mail(
        "包裹没有收到，快递却显示已签收", MAIL_CHINESE, sender="王小明 <xiaoming@customer.example>", charset="gb18030"
    )
    html = letters.html_mail("Broken handle", MAIL_HTML, letters.png(), sender="Ben Example <ben@customer.example>")
    safety = letters.mail("Kettle caught fire", MAIL_SAFETY, sender="Carla Example <carla@customer.example>")

    def mail(raw, sender):
        return lambda box: clients.send_mail(box.env()["SMTP_PORT"], raw, sender, [CARE])

    def sms(text, sender):
        return lambda box: clients.send_sms(
            box.env()["SMS_TWILIO_URL"], box.env()["SMS_TWILIO_TOKEN"], clients.sms_params(text, sender)
        )

    def phone(box):
        with clients.Line(box.env()["LINE_PORT"], box.env()["LINE_TOKEN"]) as line:
            word, body, _ = line.request(
                "SUBMIT",
                key="call-8812",
                channel="phone",
                subject="Address given away",
                text=PHONE,
                customer={"name": "Dora Example", "phone": "13900002233"},
            )
            return word, body

    return [
        ("plain English mail", "ann@customer.example", "billing", None, mail(first, "ann@customer.example")),
        (
            "Chinese mail in GB18030",
            "xiaoming@customer.example",
            "delivery",
            None,
            mail(chinese, "xiaoming@customer.example"),
        ),
        (
            "HTML-only mail with a photo",
            "ben@customer.example",
            "product-quality",
            None,
            mail(html, "ben@customer.example"),
        ),
        ("SMS in Chinese, signed", "+8613900004455", "service-attitude", None, sms(SMS_CHINESE, "+8613900004455")),
        ("SMS in English, signed", "+8613900006677", "technical", None, sms(SMS_ENGLISH, "+8613900006677")),
        ("phone call typed by an agent", "+8613900002233", "privacy", None, phone),
        ("mail about a fire", "carla@customer.example", "safety", "critical", mail(safety, "carla@customer.example")),
        ("the first mail once more", "ann@customer.example", None, None, mail(first, "ann@customer.example")),
    ]


# ---- printing ----


def width(text):
    return sum(2 if unicodedata.east_asian_width(c) in "WF" else 1 for c in text)


def cut(text, columns):
    out = ""
    for c in text:
        if width(out + c) > columns:
            return out[:-1] + "…" if width(out) == columns else out + "…"
        out += c
    return out


def table(head, rows, limits):
    cells = [[cut(str(c), n) for c, n in zip(row, limits)] for row in [head] + rows]
    columns = [max(width(row[i]) for row in cells) for i in range(len(head))]
    for n, row in enumerate(cells):
        line = "  " + "  ".join(c + " " * (w - width(c)) for c, w in zip(row, columns)).rstrip()
        print(paint(line, "2") if n == 0 else line)


def rows(box, sql):
    """Rows of a query as dictionaries, through psql."""
    found = box.sql("set search_path = complaintd; select coalesce(json_agg(q), '[]')::text from (" + sql + ") q")
    return json.loads("\n".join("\x1f".join(r) for r in found) or "[]")


def outbox(box):
    """What reached customers and staff: [(transport, to, text)]; mails decoded."""
    found = []
    for path in sorted(glob.glob(os.path.join(box.env()["MAIL_OUTBOX"], "new", "*")), key=os.path.getmtime):
        with open(path, "rb") as f:
            m = email.message_from_binary_file(f, policy=email.policy.default)
        found.append(("mail", str(m["Delivered-To"]), str(m["Subject"]), m.get_content()))
    for name, transport in (("SMS_OUTBOX", "sms"), ("WEBHOOK_OUTBOX", "webhook")):
        with open(box.env()[name], encoding="utf-8") as f:
            for line in map(json.loads, f):
                if transport == "sms":
                    found.append(("sms", line["to"], "", line["body"]))
                else:
                    found.append(
                        (
                            "webhook",
                            line["path"],
                            "signature right" if line["verified"] else "SIGNATURE WRONG",
                            json.dumps(line["body"], ensure_ascii=False),
                        )
                    )
    return found


def wait_for(condition, seconds):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        value = condition()
        if value:
            return value
        time.sleep(0.1)
    return condition()


def quoted(text, lines=9, columns=96):
    shown = [
        line
        for part in text.strip().splitlines()
        for line in (textwrap.wrap(part, columns, break_on_hyphens=False) or [""])
    ]
    for line in shown[:lines]:
        print(paint("    │ ", "2") + line)
    if len(shown) > lines:
        print(paint(f"    │ … {len(shown) - lines} more lines", "2"))


# ---- the show ----


def send_all(box, expect):
    title("1  Eight complaints come in by mail, SMS and telephone")
    for n, (what, who, _, _, send) in enumerate(complaints(), 1):
        answer = send(box)
        good = answer[0] in (250, 200, 204, "OK")
        text = (
            " ".join(str(answer[1]).split())
            if not isinstance(answer[1], dict)
            else json.dumps(answer[1], ensure_ascii=False)
        )
        print(f"  {n}  {what:<29} {who:<26} → {answer[0]} {cut(text, 60)}")
        expect.check(good, f"{what}: answered {answer}")


def show_table(box, expect):
    title("2  What became of each")
    wait_for(lambda: box.sql("select count(*) from complaintd.pending") == [["0"]], 30)
    found = rows(
        box,
        "select c.*, to_char(d.due_at at time zone 'UTC', 'Dy HH24:MI') as due,"
        " (select count(*) from attachments a join messages m on m.id = a.message_id where m.complaint_id = c.id) as files"
        " from complaints c left join deadlines d on d.complaint_id = c.id and d.kind = 'first-response' order by c.received_at, c.id",
    )
    lines = []
    for n, (what, who, category, priority, _) in enumerate(complaints(), 1):
        if category is None:
            lines.append([n, "", "", "", "the same as 1: answered, nothing created", "", "", "", ""])
            continue
        mine = [c for c in found if who in (c["customer_email"], c["customer_phone"])]
        if not expect.check(len(mine) == 1, f"{what}: {len(mine)} complaints of {who}"):
            continue
        c = mine[0]
        subject = (c["subject"] or c["body"].split("\n")[0]) + (f" (+{c['files']} file)" if c["files"] else "")
        lines.append(
            [
                n,
                c["ref"],
                c["channel"],
                c["language"],
                subject,
                c["category"],
                c["priority"],
                c["team"],
                c["status"],
                c["due"] or "",
            ]
        )
        expect.check(c["category"] == category, f"{what}: category {c['category']}, not {category}")
        expect.check(priority in (None, c["priority"]), f"{what}: priority {c['priority']}, not {priority}")
    expect.check(len(found) == 7, f"{len(found)} complaints, not 7")
    for row in lines:
        row += [""] * (10 - len(row))
    table(
        ["#", "reference", "by", "in", "about", "category", "priority", "team", "status", "we answer by"],
        lines,
        [2, 16, 5, 3, 44, 16, 8, 10, 8, 12],
    )
    html = [c for c in found if c["customer_email"] == "ben@customer.example"]
    expect.check(
        html and html[0]["files"] == 1 and "broken handle" in html[0]["body"], "the HTML mail's text and photo"
    )
    return found


def show_acknowledgements(box, expect, found):
    title("3  What the customers got back")
    customers = [c["customer_email"] or c["customer_phone"] for c in found]
    wait_for(lambda: {to for _, to, _, _ in outbox(box)} >= set(customers), 60)
    sent = outbox(box)
    shown = set()
    for transport, to, subject, text in sent:
        c = next((c for c in found if to in (c["customer_email"], c["customer_phone"])), None)
        if c is None:
            continue
        expect.check(c["ref"] in subject + text, f"the acknowledgement to {to} names {c['ref']}")
        if (transport, c["language"]) in shown:
            print(f"  {transport} to {to}: {cut(subject or text, 70)}")
            continue
        shown.add((transport, c["language"]))
        print(f"  {transport} to {to}" + (f": {subject}" if subject else ""))
        quoted(text)
    for to in customers:
        expect.check(sum(t == to for _, t, _, _ in sent) == 1, f"one acknowledgement to {to}")
    for transport, language in (("mail", "en"), ("mail", "zh"), ("sms", "en"), ("sms", "zh")):
        expect.check((transport, language) in shown, f"an acknowledgement by {transport} in {language}")


def transports(told):
    return {n["transport"] for n in told if n["state"] == "sent"}


def climb(box, expect, found):
    critical = next((c for c in found if c["priority"] == "critical"), None)
    if not expect.check(critical is not None, "a critical complaint"):
        return
    title(f"4  Nobody touches {critical['ref']} ({critical['subject']}): the clock is moved on, the ladder climbs")
    before = len(outbox(box))
    sql = (
        "select n.level, n.transport, n.recipient, n.state, to_char(n.sent_at at time zone 'UTC', 'Dy HH24:MI:SS') as sent, "
        "to_char(n.created_at - c.received_at, 'HH24:MI') as after from notifications n join complaints c on c.id = n.complaint_id "
        f"where n.purpose = 'escalation' and c.ref = '{critical['ref']}' order by n.created_at, n.level, n.transport, n.recipient"
    )
    moved = []
    for step in ("30min", "1h", "2h", "6h", "1d"):
        box.ctl("clock", "advance", step)
        moved.append(step)
        told = wait_for(
            lambda: (lambda r: r if all(n["state"] == "sent" for n in r) else None)(rows(box, sql)), 30
        ) or rows(box, sql)
        if transports(told) == {"mail", "sms", "webhook"} and any(
            n["recipient"].startswith("supervisor") for n in told
        ):
            break
    print(f"  complaintctl clock advance {' + '.join(moved)}")
    table(
        ["level", "after", "virtual time", "by", "to", "state"],
        [[n["level"], n["after"], n["sent"] or "", n["transport"], n["recipient"], n["state"]] for n in told],
        [5, 6, 14, 8, 40, 8],
    )
    expect.check(transports(told) == {"mail", "sms", "webhook"}, "mail, SMS and webhook have told someone")
    staff = outbox(box)
    shown = set()
    for transport, to, subject, text in staff:
        if critical["ref"] not in subject + text or to == critical["customer_email"] or transport in shown:
            continue
        shown.add(transport)
        print(f"  {transport} to {to}" + (f": {subject}" if subject else ""))
        quoted(text, 6)
        expect.check("WRONG" not in subject, "the webhook's signature")
    expect.check(len(staff) > before and shown == {"mail", "sms", "webhook"}, f"what staff got: {shown}")


def by_hand(box, found, once):
    e = box.env()
    ref = found[0]["ref"] if found else "C-…"
    params = clients.sms_params("The bill is wrong again", "+8613900009999", sid="SM" + "7" * 32)
    signature = clients.twilio_signature(e["SMS_TWILIO_TOKEN"], e["SMS_TWILIO_URL"], params)
    title("5  Try it by hand, in another terminal" + (", while ./demo (without --once) runs" if once else ""))
    print(f"  . {box.path('env')}")
    print(paint("  # a mail (apt-get install swaks), then what came back", "2"))
    print(
        f"  swaks --server 127.0.0.1:{e['SMTP_PORT']} --from me@customer.example --to {CARE} \\\n"
        "        --header 'Subject: Where is my parcel' --body 'It is two weeks late.'"
    )
    print(f"  cat \"$(ls -td {e['MAIL_OUTBOX']}/new/* | head -n 1)\"")
    print(paint("  # an SMS as the provider would deliver it; change one letter and it is refused", "2"))
    print(
        f"  curl -i {e['SMS_TWILIO_URL']} -H 'X-Twilio-Signature: {signature}' \\\n       "
        + " \\\n       ".join(
            " ".join(f"--data-urlencode '{k}={v}'" for k, v in list(params.items())[i : i + 2])
            for i in range(0, len(params), 2)
        )
    )
    print(paint("  # HTTP, with a file", "2"))
    print(
        f"  curl -i http://127.0.0.1:{e['HTTP_PORT']}/v1/complaints -H 'Authorization: Bearer {e['LINE_TOKEN']}' -H 'Idempotency-Key: k1'"
        " -F 'complaint={\"text\":\"The bill is wrong\"}' -F file=@README.md"
    )
    print(paint("  # the line protocol (apt-get install netcat-openbsd)", "2"))
    print(
        f"  printf 'AUTH {{\"token\":\"{e['LINE_TOKEN']}\"}}\\nSUBMIT {{\"key\":\"k1\",\"text\":\"The bill is wrong\"}}\\nQUIT\\n' | nc 127.0.0.1 {e['LINE_PORT']}"
    )
    print(
        paint(
            "  # what there is; why was it decided so; take it, which ends its ladder; move the clock; the database; counters; the log",
            "2",
        )
    )
    ctl = f"{os.path.relpath(box.build())}/complaintctl --config {e['CONFIG']}"
    print(
        f"  {ctl} list\n  {ctl} explain {ref}\n  {ctl} ack {ref}\n  {ctl} clock advance 2h\n  psql '{e['DATABASE_URL']}' -c 'table complaintd.complaints'\n"
        f"  curl {e['METRICS_URL']}\n  tail -f {box.log_file()}"
    )


# ---- the stories ----


def tell(who, channel, text, subject):
    """One thing that happened: what the customer wrote or saw in full, the rest in a line."""
    if who in ("the customer writes", "we write"):
        print("  " + paint(f"{who}, {channel}", "32" if who == "we write" else "36") + (f": {subject}" if subject else ""))
        quoted(text, 40)
    else:
        print(paint(f"  {who}: " if who != "staff" else "  staff: complaintctl ", "2") + text, flush=True)


def stories(box, expect):
    for name, run in story.STORIES:
        title(name)
        try:
            run(box, tell)
        except story.Failed as e:
            expect.check(False, str(e))


def main():
    once = "--once" in sys.argv[1:]
    told = "--story" in sys.argv[1:]
    for sig in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(sig, lambda *_: sys.exit(130))
    directory = tempfile.mkdtemp(prefix="complaintd-demo-", dir="/tmp")
    box = sandbox.Sandbox(directory)
    expect = Expectations()
    print(f"  sandbox in {directory}", flush=True)
    try:
        overlay = None
        if told:
            overlay = os.path.join(directory, "overlay.yaml")
            with open(overlay, "w", encoding="utf-8") as f:
                json.dump(story.CODES, f)  # JSON is YAML
        box.start(overlay)
        found = []
        if told:
            stories(box, expect)
        else:
            send_all(box, expect)
            found = show_table(box, expect)
            show_acknowledgements(box, expect, found)
            climb(box, expect, found)
        with open(os.path.join(sandbox.ROOT, "schema", "invariants.sql"), encoding="utf-8") as f:
            faults = box.sql(f.read())
        expect.check(not faults, f"invariants: {faults[:3]}")
        if not told:
            by_hand(box, found, once)
        if not once and not told:
            print("\n" + paint("  Enter or Ctrl-C ends the demo and removes the sandbox.", "1"))
            sys.stdin.readline()
    except KeyboardInterrupt:
        print()
    except (processes.Trouble, OSError, subprocess.SubprocessError) as e:
        expect.check(False, str(e))
        print(processes.tail(box.log_file()), file=sys.stderr)
    finally:
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        try:
            box.stop()
        except processes.Trouble as e:
            expect.check(False, str(e))
        shutil.rmtree(directory, ignore_errors=True)
    print(
        "\n"
        + (
            paint(f"{expect.failed} things were not as expected.", "31")
            if expect.failed
            else "All as expected; nothing is left running."
        )
    )
    return 1 if expect.failed else 0


if __name__ == "__main__":
    sys.exit(main())
