"""A sandbox as the tests use it: sandbox.Sandbox with clients, readers of its outboxes, and its counters."""
import email
import email.policy
import glob
import json
import os
import signal
import subprocess
import tempfile
import urllib.request

import clients
import model
import processes
import sandbox

ROOT = sandbox.ROOT
SANITIZER = ("AddressSanitizer", "LeakSanitizer", "UndefinedBehaviorSanitizer", "runtime error:")


class Box(sandbox.Sandbox):
    def __init__(self, build=None, overlay=None):
        super().__init__(tempfile.mkdtemp(prefix="cdt-", dir="/tmp"))
        self._db = None
        self.killed = False
        overlay_file = None
        if overlay:
            overlay_file = os.path.join(self.dir, "overlay.yaml")
            with open(overlay_file, "w", encoding="utf-8") as f:
                json.dump(overlay, f)  # JSON is YAML
        before = os.environ.get("CD_BUILD")
        os.environ["CD_BUILD"] = build or default_build()
        try:
            self.start(overlay_file)
        finally:
            if before is None:
                del os.environ["CD_BUILD"]
            else:
                os.environ["CD_BUILD"] = before
        self.e = self.env()
        self.smtp_port, self.line_port = int(self.e["SMTP_PORT"]), int(self.e["LINE_PORT"])

    # -- clients --

    def mail(self, raw, sender="customer@shop.example", recipients=("care@example.com",)):
        return clients.send_mail(self.smtp_port, raw, sender, recipients)

    def sms(self, params, signature=None):
        return clients.send_sms(self.e["SMS_TWILIO_URL"], self.e["SMS_TWILIO_TOKEN"], params, signature)

    def token(self, role):
        return {
            "intake": self.e["LINE_TOKEN"],
            "admin": self.e["ADMIN_TOKEN"],
            "agent": self.state["agent_token"],
            None: None,
        }[role]

    def line(self, role="intake"):
        return clients.Line(self.line_port, self.token(role))

    def web(self, complaint=None, key=None, role="intake", body=None, kind="application/json", method="POST", path="/v1/complaints"):
        """A complaint by HTTP: an object, or a body and its type."""
        headers = {"Content-Type": kind}
        if self.token(role):
            headers["Authorization"] = "Bearer " + self.token(role)
        if key:
            headers["Idempotency-Key"] = key
        if complaint is not None:
            body = json.dumps(complaint, ensure_ascii=False).encode()
        return clients.http_request(self.e["HTTP_PORT"], method, path, body, headers)

    def web_form(self, complaint, files, key, boundary=None):
        """The same as a form with files: (name, bytes, filename, type)."""
        parts = [("complaint", json.dumps(complaint, ensure_ascii=False).encode()), *files]
        body, kind = clients.form(parts, boundary)
        return self.web(body=body, kind=kind, key=key)

    # -- what came of it --

    @property
    def db(self):
        if self._db is None:
            self._db = model.Database(self.database_url())
        return self._db

    def complaint_of(self, mark):
        """The one complaint whose first message carries the mark."""
        model.wait_for(lambda: self.db.value("select count(*) from pending") == 0, 30, "pending envelopes triaged")
        return self.db.row(
            "select * from complaints where strpos(coalesce(subject, '') || ' ' || coalesce(body, ''), %s) > 0", mark
        )

    def message_of(self, mark, sent):
        """The one incoming message with the mark among its first bytes, once it is triaged: `complaint_id`, `degraded`, `trace` (what
        we put in front); AssertionError unless the rest is, byte by byte, what was sent."""
        model.wait_for(lambda: self.db.value("select count(*) from pending") == 0, 60, "pending envelopes triaged")
        row = self.db.row(
            "select m.complaint_id, c.degraded, encode(sha256(substr(m.raw, length(m.raw) - %s)), 'hex') as hash,"
            " substr(m.raw, 1, greatest(length(m.raw) - %s, 0)) as trace from messages m join complaints c on c.id = m.complaint_id"
            " where m.direction = 'in' and position(%s::bytea in substr(m.raw, 1, 3000)) > 0",
            len(sent) - 1,
            len(sent),
            mark.encode(),
        )
        assert row["hash"] == model.digest(sent), f"{mark}: stored otherwise than it was sent"
        row["trace"] = bytes(row["trace"])
        assert model.TRACE.fullmatch(row["trace"]), row["trace"]
        return row

    def mails(self, to=None):
        """Mails that reached the sink, oldest first."""
        found = []
        for path in glob.glob(os.path.join(self.e["MAIL_OUTBOX"], "new", "*")):
            with open(path, "rb") as f:
                found.append(
                    (os.stat(path).st_mtime_ns, email.message_from_binary_file(f, policy=email.policy.default))
                )
        found.sort(key=lambda pair: pair[0])
        return [m for _, m in found if to is None or to in [str(v) for v in m.get_all("Delivered-To", [])]]

    def lines_of(self, name):
        with open(self.e[name], encoding="utf-8") as f:
            return [json.loads(line) for line in f if line.endswith("\n")]

    def sent_sms(self, to=None):
        return [s for s in self.lines_of("SMS_OUTBOX") if to is None or s["to"] == to]

    def webhooks(self):
        return self.lines_of("WEBHOOK_OUTBOX")

    def metrics(self):
        with urllib.request.urlopen(self.e["METRICS_URL"], timeout=10) as answer:
            text = answer.read().decode()
        values = {}
        for line in text.splitlines():
            if line and not line.startswith("#"):
                name, _, value = line.rpartition(" ")
                values[name] = float(value)
        return values

    def metric(self, name):
        """Sum over a metric's labels."""
        return sum(v for k, v in self.metrics().items() if k == name or k.startswith(name + "{"))

    def conservation(self):
        """What does not add up, by channel: accepted against the outcomes counted, and, while the daemon that started here
        still lives, the outcomes counted against the receipts. Nothing on a sound daemon."""
        values, wrong = self.metrics(), {}
        for channel in ("mail", "sms", "line", "web"):
            accepted = values[f'complaintd_accepted_total{{channel="{channel}"}}']
            counted = {
                k: v for k, v in values.items() if k.startswith(f'complaintd_intake_total{{channel="{channel}",')
            }
            if accepted != sum(counted.values()):
                wrong[channel] = f"accepted {accepted}, outcomes {counted}"
            receipts = self.db.value("select count(*) from receipts where channel = %s", channel)
            if not self.killed and receipts != sum(v for k, v in counted.items() if 'outcome="duplicate"' not in k):
                wrong[channel] = f"receipts {receipts}, outcomes {counted}"
        return wrong

    def inject(self, **failures):
        """Makes the sinks fail as told (tests/support/sinks.py); nothing: all well again."""
        temporary = self.path("sink.json.new")
        with open(temporary, "w", encoding="utf-8") as f:
            json.dump(failures, f)
        os.replace(temporary, self.path("sink.json"))

    def advance(self, duration):
        return self.ctl("clock", "advance", duration)

    # -- processes --

    def workers(self, kind):
        """Process ids of the daemon's living workers of a kind: "triage", "mail"."""
        return [
            pid for pid, command in processes.children(self.state["daemon"]["pid"]) if f"--worker={kind}" in command
        ]

    def kill_daemon(self, sig=signal.SIGKILL):
        self.killed = True  # its counters begin anew
        processes.send_signal(self.state["daemon"], sig)
        assert processes.wait_gone([self.state["daemon"]], 20)

    def stop_postgres(self, *how):
        self.killed = True  # what was committed without an answer is a duplicate when it comes again
        super().stop_postgres(*how)

    def daemon_alive(self):
        processes.wait_gone([self.state["daemon"]], 0.001)
        return processes.alive(self.state.get("daemon"))

    def log(self):
        with open(self.log_file(), encoding="utf-8", errors="replace") as f:
            return f.read()

    def sanitizer_reports(self):
        return [line for line in self.log().splitlines() if any(word in line for word in SANITIZER)]

    def close(self):
        if self._db is not None:
            self._db.close()
            self._db = None
        self.stop()


def default_build():
    return os.environ.get("CD_BUILD") or os.path.join(ROOT, "build", "debug")


def release_build():
    return os.environ.get("CD_BUILD_RELEASE") or os.path.join(ROOT, "build", "release")


def run(*argv, **options):
    return subprocess.run(argv, capture_output=True, text=True, check=False, timeout=300, **options)
