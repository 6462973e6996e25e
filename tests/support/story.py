"""Two complaints from their first message to their end, as the customer saw them: told by SMS and closed; told by mail, resolved and taken up
again. Both run on a sandbox through the doors that customers and staff use; `./demo --story` prints them, test_story.py holds them to it."""
import email
import email.policy
import glob
import json
import os
import secrets
import time

import clients
import letters
from sandbox import quote

CARE = "care@example.com"
CODES = {"causes": ["our-mistake", "supplier", "none-found"], "remedies": ["refund", "apology", "explanation"]}


class Failed(AssertionError):
    pass


class Story:
    """say(who, channel, text, subject) is called with every message that the customer wrote or got, and with what staff did."""

    def __init__(self, box, say):
        self.box, self.say, self.e = box, say, box.env()
        self.ref = self.status = None
        self.seen = set()

    # -- the customer --

    def texts(self, number):
        """The customer's mobile: SMS as they arrived."""
        with open(self.e["SMS_OUTBOX"], encoding="utf-8") as f:
            return [(n, "", s["body"], s) for n, s in enumerate(json.loads(line) for line in f if line.endswith("\n")) if s["to"] == number]

    def mailbox(self, address):
        found = []
        for path in sorted(glob.glob(os.path.join(self.e["MAIL_OUTBOX"], "new", "*")), key=os.path.getmtime):
            with open(path, "rb") as f:
                m = email.message_from_binary_file(f, policy=email.policy.default)
            if str(m["Delivered-To"]) == address:
                found.append((path, str(m["Subject"]), m.get_content(), m))
        return found

    def gets(self, channel, to, words):
        """The next message that the customer gets, which must hold the words."""
        end = time.monotonic() + 60
        while time.monotonic() < end:
            for key, subject, text, raw in (self.texts if channel == "SMS" else self.mailbox)(to):
                if (channel, key) in self.seen:
                    continue
                self.seen.add((channel, key))
                self.say("we write", channel, text.strip(), subject)
                for word in words:
                    if word not in subject + text:
                        raise Failed(f"the {channel} to {to} does not say {word!r}: {subject} {text}")
                return raw
            time.sleep(0.1)
        raise Failed(f"no {channel} to {to} with {words}")

    def nothing_more(self, channel, to):
        left = [x for x in (self.texts if channel == "SMS" else self.mailbox)(to) if (channel, x[0]) not in self.seen]
        if left:
            raise Failed(f"{len(left)} messages to {to} that the story does not have: {left}")

    def texts_us(self, number, text):
        self.say("the customer writes", "SMS", text, "")
        status, _ = clients.send_sms(self.e["SMS_TWILIO_URL"], self.e["SMS_TWILIO_TOKEN"], clients.sms_params(text, number))
        if status not in (200, 204):
            raise Failed(f"the SMS was answered with {status}")

    def mails_us(self, address, subject, text, answer_to=None):
        self.say("the customer writes", "mail", text, subject)
        extra = [("In-Reply-To", str(answer_to["Message-ID"]).strip())] if answer_to else ()
        to = str(answer_to["Reply-To"]) if answer_to else CARE
        raw = letters.mail(subject, text, sender=address, message_id=f"{secrets.token_hex(8)}@customer.example", extra=extra)
        code, answer = clients.send_mail(self.e["SMTP_PORT"], raw, address, [to])
        if code != 250:
            raise Failed(f"the mail was answered with {code} {answer}")

    # -- the staff --

    def staff(self, *words, status=None):
        """complaintctl; the complaint must have the status afterwards."""
        self.say("staff", "complaintctl", " ".join(quote(w) if " " in w else w for w in words), "")
        self.box.ctl(*words)
        self.is_(status)

    def is_(self, status):
        """Told where it changed."""
        if status:
            end, shown = time.monotonic() + 30, None
            while time.monotonic() < end:
                shown = self.show()["status"]
                if shown == status:
                    if status != self.status:
                        self.say("it is", "complaint", status, "")
                    self.status = status
                    return
                time.sleep(0.1)
            raise Failed(f"{self.ref} is {shown}, not {status}")

    def show(self):
        return json.loads(self.box.ctl("--json", "show", self.ref).stdout)

    def clock(self, by):
        self.say("time passes", "clock", by, "")
        self.box.ctl("clock", "advance", by)

    def find(self, who):
        end = time.monotonic() + 30
        while time.monotonic() < end:
            rows = self.box.sql(f"select ref from complaintd.complaint where '{who}' in (customer_email, customer_phone)")
            if rows:
                self.ref = rows[0][0]
                return self.ref
            time.sleep(0.1)
        raise Failed(f"no complaint of {who}")

    def verified(self):
        whole = json.loads(self.box.ctl("--json", "verify", self.ref).stdout)
        if not whole["ok"] or not whole["events"]:
            raise Failed(f"the chain of {self.ref} is broken: {whole}")
        self.say("verified", "complaintctl", f"verify {self.ref}: {whole['events']} events, the chain is whole", "")


def by_sms(box, say):
    """From the first SMS to the closed complaint: taken, asked back, waited for, answered, resolved, closed."""
    s, number = Story(box, say), "+8613900007788"
    s.texts_us(number, "你们重复扣了我两次话费，请退款！")
    ref = s.find(number)
    s.gets("SMS", number, [ref])
    s.staff("ack", ref, status="open")
    s.staff("assign", ref, "wei")
    s.staff("note", ref, "两笔扣款在十一月账单上")
    s.staff("reply", ref, "您好，请告诉我们扣款的日期。", status="open")
    s.gets("SMS", number, ["扣款的日期", ref])
    s.staff("wait", ref, "--for", "3d", "--note", "扣款日期", status="waiting")
    s.clock("1d")
    s.texts_us(number, f"{ref} 十一月三号和五号")
    s.is_("open")
    s.staff("reclassify", ref, "--category", "billing", "--priority", "high")
    s.staff("reply", ref, "第二笔已退回您的账户，三天内到账。给您添麻烦了。")
    s.gets("SMS", number, ["已退回", ref])
    s.staff("resolve", ref, "--outcome", "upheld", "--cause", "our-mistake", "--remedy", "refund", status="resolved")
    s.staff("close", ref, status="closed")
    s.nothing_more("SMS", number)
    s.verified()
    return s


def by_mail(box, say):
    """From the first mail to the reopened complaint: acknowledged, answered, resolved; the customer is not content, and it is open again."""
    s, address = Story(box, say), "ann.story@customer.example"
    s.mails_us(address, "Charged twice for November", "Hello,\n\nmy bill for November was charged twice. Please refund one of them.\n\nAnn")
    ref = s.find(address)
    s.gets("mail", address, [ref])
    s.staff("assign", ref, "wei", "--team", "billing", status="open")
    s.staff("reply", ref, "Dear Ann,\n\nwhen were the two amounts taken?")
    asked = s.gets("mail", address, ["when were the two amounts taken?", ref])
    s.staff("wait", ref, "--for", "2d", "--note", "the dates", status="waiting")
    s.clock("3d")
    s.is_("open")
    s.mails_us(address, "Re: Charged twice for November", "On the 3rd and the 5th.", asked)
    s.staff("reply", ref, "Dear Ann,\n\nthank you. The second amount is on its way back to you; it takes up to three days.")
    told = s.gets("mail", address, ["on its way back", ref])
    s.staff("resolve", ref, "--outcome", "upheld", "--cause", "our-mistake", "--remedy", "refund", status="resolved")
    s.clock("4d")
    s.mails_us(address, "Re: Charged twice for November", "Four days later there is still no money on my account!", told)
    s.is_("open")
    shown = s.show()
    if shown["outcome"] is not None or not any(e["kind"] == "reopened" for e in shown["events"]):
        raise Failed(f"it was not reopened: {shown['outcome']}")
    if [m["direction"] for m in shown["messages"]] != ["in", "out", "in", "out", "in"]:
        raise Failed(f"its messages are {[(m['direction'], m['class']) for m in shown['messages']]}")
    s.nothing_more("mail", address)
    s.verified()
    return s


STORIES = (("A complaint by SMS, to its end", by_sms), ("A complaint by mail, resolved and taken up again", by_mail))
