#!/usr/bin/python3
"""Where a sandbox's outgoing messages end: an SMTP server that files them in a Maildir, and an HTTP server that plays
the SMS provider's sending API and the receiver of webhooks, one JSON object per line.

Failures on demand: the control file (JSON, read at each message, absent = all well) may hold
  "mail":    an SMTP answer to the end of data, such as "451 4.3.0 later" or "550 5.1.1 no such user"
  "mail_to": {address: answer to RCPT}
  "sms", "webhook": an HTTP status to answer with, keeping nothing; 0 = close the connection without an answer
  "mail_delay", "sms_delay", "webhook_delay": seconds to wait before answering
"""
import argparse
import base64
import hashlib
import hmac
import http.server
import json
import mailbox
import os
import secrets
import signal
import threading
import time
import urllib.parse

from aiosmtpd.controller import Controller

OPTIONS = None
WRITE_LOCK = threading.Lock()
WEBHOOK_TOLERANCE_SECONDS = 400 * 86400  # a sandbox's clock may be far ahead; replay is not what is tested here


def control(key, default=None):
    try:
        with open(OPTIONS.control, encoding="utf-8") as f:
            return json.load(f).get(key, default)
    except (OSError, ValueError):
        return default


def append(name, entry):
    with WRITE_LOCK, open(os.path.join(OPTIONS.outbox, name), "a", encoding="utf-8") as f:
        f.write(json.dumps(entry, ensure_ascii=False) + "\n")


class MailSink:
    """aiosmtpd's handler: what was accepted is in the Maildir before the answer goes out."""

    def __init__(self):
        self.box = mailbox.Maildir(os.path.join(OPTIONS.outbox, "mail"), create=True)

    async def handle_RCPT(self, server, session, envelope, address, rcpt_options):
        answer = control("mail_to", {}).get(address.lower())
        if answer:
            return answer
        envelope.rcpt_tos.append(address)
        return "250 2.1.5 OK"

    async def handle_DATA(self, server, session, envelope):
        delay = control("mail_delay", 0)
        if delay:
            import asyncio

            await asyncio.sleep(delay)
        answer = control("mail")
        if answer:
            return answer
        sender = (envelope.mail_from or "").strip("<>")
        trace = [f"Return-Path: <{sender}>"] + [f"Delivered-To: {a}" for a in envelope.rcpt_tos]
        content = "\r\n".join(trace).encode("utf-8", "surrogateescape") + b"\r\n" + envelope.content
        self.box.add(content.replace(b"\r\n", b"\n"))
        return "250 2.0.0 kept"


class HttpSink(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    timeout = 30

    def do_POST(self):
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        is_sms = self.path.startswith("/2010-04-01/Accounts/")
        kind = "sms" if is_sms else "webhook"
        time.sleep(control(kind + "_delay", 0))
        status = control(kind)
        if status == 0:
            self.close_connection = True
            return
        if status:
            self.answer(
                status, {"code": 20429 if status == 429 else 20500, "message": "injected failure", "status": status}
            )
        elif is_sms:
            self.sms(body)
        else:
            self.webhook(body)

    def sms(self, body):
        given = self.headers.get("Authorization", "")
        wanted = (
            "Basic " + base64.b64encode(f"{OPTIONS.account}:{os.environ.get('SINK_SMS_TOKEN', '')}".encode()).decode()
        )
        if not hmac.compare_digest(given, wanted):
            self.answer(401, {"code": 20003, "message": "Authenticate", "status": 401})
            return
        fields = dict(urllib.parse.parse_qsl(body.decode("utf-8", "replace"), keep_blank_values=True))
        if not fields.get("To", "").startswith("+") or not fields.get("Body"):
            self.answer(400, {"code": 21211, "message": "Invalid 'To' or empty 'Body'", "status": 400})
            return
        sid = "SM" + secrets.token_hex(16)
        append(
            "sms.jsonl",
            {
                "to": fields["To"],
                "from": fields.get("From") or fields.get("MessagingServiceSid"),
                "body": fields["Body"],
                "sid": sid,
                "fields": fields,
                "at": time.time(),
            },
        )
        self.answer(201, {"sid": sid, "status": "queued", "num_segments": "1", "error_code": None})

    def webhook(self, body):
        headers = {k.lower(): v for k, v in self.headers.items()}
        try:
            parsed = json.loads(body)
        except ValueError:
            parsed = None
        append(
            "webhook.jsonl",
            {
                "path": self.path,
                "headers": headers,
                "body": parsed,
                "raw": body.decode("utf-8", "replace"),
                "verified": verified(headers, body),
                "at": time.time(),
            },
        )
        self.answer(200, {"ok": True})

    def answer(self, status, body):
        data = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.send_header("Connection", "close")
        self.end_headers()
        self.wfile.write(data)
        self.close_connection = True

    def log_message(self, format, *args):  # one line a request is noise here; the outbox files tell
        pass


def verified(headers, body):
    """Checks the webhook's signature as a receiver would."""
    secret = os.environ.get("SINK_WEBHOOK_SECRET", "").encode()
    stamp = headers.get("x-complaintd-timestamp", "")
    given = headers.get("x-complaintd-signature", "")
    if not stamp or not given:
        return False
    wanted = "v1=" + hmac.new(secret, stamp.encode() + b"." + body, hashlib.sha256).hexdigest()
    return hmac.compare_digest(wanted, given) and abs(time.time() - float(stamp)) < WEBHOOK_TOLERANCE_SECONDS


def main():
    global OPTIONS
    parser = argparse.ArgumentParser()
    parser.add_argument("--smtp", type=int, required=True)
    parser.add_argument("--http", type=int, required=True)
    parser.add_argument("--outbox", required=True)
    parser.add_argument("--control", required=True)
    parser.add_argument("--account", required=True)
    OPTIONS = parser.parse_args()
    for name in ("sms.jsonl", "webhook.jsonl"):
        with open(os.path.join(OPTIONS.outbox, name), "a", encoding="utf-8"):
            pass
    smtp = Controller(
        MailSink(),
        hostname="127.0.0.1",
        port=OPTIONS.smtp,
        ready_timeout=20,
        server_kwargs={"data_size_limit": 50_000_000, "enable_SMTPUTF8": True, "ident": "complaintd sandbox sink"},
    )
    smtp.start()
    web = http.server.ThreadingHTTPServer(("127.0.0.1", OPTIONS.http), HttpSink)
    web.daemon_threads = True
    threading.Thread(target=web.serve_forever, daemon=True).start()
    stop = threading.Event()
    for sig in (signal.SIGTERM, signal.SIGINT):
        signal.signal(sig, lambda *_: stop.set())
    stop.wait()
    web.shutdown()
    smtp.stop()


if __name__ == "__main__":
    main()
