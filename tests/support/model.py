"""What must hold after every run, whatever happened in it. tools/model-check is this program; the tests import it.

Nothing here raises for what it finds: check() collects counts and violations. model_check() is check() as a test's last word.
"""
import argparse
import collections
import email
import email.policy
import glob
import hashlib
import json
import os
import re
import sys
import time

import psycopg2
import psycopg2.extras

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
MARK = re.compile(r"mark-[0-9a-f]{16}")
MARK_BYTES = re.compile(rb"mark-[0-9a-f]{16}")
# Exactly these four lines, five of a mail that came by TLS: a mail may begin with what looks like one more folded line.
TRACE = re.compile(rb"\AReturn-Path: [^\r\n]*\r\nReceived: [^\r\n]*\r\n(?:\t\(using [^\r\n]*\)\r\n)?\tby [^\r\n]*\r\n\t[^\r\n]*\r\n")
ABOUT = """\
Compares what clients were told with what the database holds, and ends with 1 when anything is wrong.

  --acked FILE   what was acknowledged (250, 2xx, OK), one JSON object a line:
                 {"channel": "mail"|"sms"|"line"|"web", "key": …, "sha256": …, "marker": …}; at least one of the last three.
      key        as in receipts.key: mail: the Message-ID without <>, "none" where there is none; sms: "twilio:" and the
                 MessageSid; line, web: the client's key (the client's name in front of it may be left out)
      sha256     hex, of the bytes sent. mail: what lies between 354 and the final dot, the dots doubled behind a CR LF
                 undone, then every line end made CR LF, one at the end. sms, web: the request's body. line: the JSON text
                 behind the verb and its space; line and web may give the hash of the complaint's text (UTF-8) instead.
                 A list of hashes means "one of these": copies of one mail that differ only in trace fields and
                 recipients are the same complaint.
      marker     mark- and 16 hex digits, somewhere in the complaint's subject or text, in no other complaint's
  --sent DIR     a sandbox's outbox (mail/ is a Maildir; sms.jsonl, webhook.jsonl)

What must hold:
  1. Each acknowledged complaint is stored: its receipt is there, and a stored message has its hash and its marker. The hash of
     a stored mail is taken without the lines that the server puts in front (Return-Path, and Received with two folded
     lines, three of a mail that came by TLS). One whose receipt is still "pending" (accepted, not yet triaged) counts as stored when its envelope holds it.
  2. Nothing is stored twice: no marker in two incoming messages, no bytes twice under one channel and key.
  3. schema/invariants.sql returns nothing.
  4. Each notification is sent, suppressed with a reason, or pending with a time for the next attempt; none failed, expired or
     dead (--allow-failed: these with their error), none in sending beyond its lease; each complaint whose decision says that it
     is to be acknowledged has the row. With --grace SECONDS, neither a notification nor a ladder's step is due longer than that.
  5. With --sent: what a row calls sent was received under its key (mail: Message-ID; webhook: Idempotency-Key; SMS, which has
     none: as many as rows), and nothing was received that no row speaks of. The same key again is counted, not a violation: a
     crash repeats what has no outcome yet.
"""


class Database:
    """One connection; every query is a transaction of its own."""

    def __init__(self, url):
        self.connection = psycopg2.connect(url)
        self.connection.autocommit = True

    def rows(self, sql, *args):
        with self.connection.cursor(cursor_factory=psycopg2.extras.RealDictCursor) as cursor:
            cursor.execute("set search_path = complaintd, public")
            cursor.execute(sql, args or None)
            return [dict(row) for row in cursor.fetchall()]

    def row(self, sql, *args):
        found = self.rows(sql, *args)
        assert len(found) == 1, f"{len(found)} rows for: {sql} {args}"
        return found[0]

    def value(self, sql, *args):
        return next(iter(self.row(sql, *args).values()))

    def execute(self, sql, *args):
        with self.connection.cursor() as cursor:
            cursor.execute("set search_path = complaintd, public")
            cursor.execute(sql, args or None)

    def stream(self, sql):
        """Rows as tuples, a few hundred at a time: a table need not fit into memory."""
        self.connection.autocommit = False
        try:
            with self.connection.cursor(name="stream") as cursor:
                cursor.itersize = 500
                cursor.execute(sql)
                yield from cursor
        finally:
            self.connection.rollback()
            self.connection.autocommit = True

    def close(self):
        self.connection.close()


def wait_for(condition, seconds=30, what="", every=0.05):
    """The first true value of condition(), or AssertionError."""
    end = time.monotonic() + seconds
    while True:
        value = condition()
        if value:
            return value
        assert time.monotonic() < end, f"not within {seconds} s: {what or condition}"
        time.sleep(every)


def invariants(db):
    """Rows of schema/invariants.sql: each is a fault."""
    with open(os.path.join(ROOT, "schema", "invariants.sql"), encoding="utf-8") as f:
        return db.rows(f.read())


def settle(db, seconds=60):
    """Waits until nothing is pending triage and no notification is due or in flight."""
    wait_for(
        lambda: db.value("select count(*) from pending") == 0
        and db.value(
            "select count(*) from notifications where state = 'sending'"
            " or (state in ('pending', 'unknown') and next_attempt_at <= complaintd.now())"
        )
        == 0,
        seconds,
        "pending envelopes triaged and due notifications sent",
        0.2,
    )


# ---- what a client writes down ----


def digest(data):
    return hashlib.sha256(data).hexdigest()


def mail_digest(raw):
    """Of a mail as it goes over the wire: see "sha256" above."""
    raw = re.sub(rb"\r\n|\r|\n", b"\r\n", raw)
    return digest(raw if raw.endswith(b"\r\n") else raw + b"\r\n")


def read_acked(path):
    with open(path, encoding="utf-8") as f:
        for number, line in enumerate(f, 1):
            if not line.strip():
                continue
            entry = json.loads(line)
            if (
                not isinstance(entry, dict)
                or not entry.keys() & {"key", "sha256", "marker"}
                or "channel" not in entry
            ):
                raise ValueError(f"{path}:{number}: channel, and one of key, sha256, marker, are wanted")
            yield entry


# ---- the check ----


class Stored:
    """What the database holds of incoming messages, gathered in one pass."""

    def __init__(self, db):
        self.hashes = collections.defaultdict(set)  # (channel, hash) -> receipts' keys
        self.marks = collections.Counter()  # marker -> messages that carry it
        self.keys = collections.defaultdict(list)  # (channel, key) -> outcomes
        self.tails = collections.defaultdict(set)  # (channel, key behind the client's name) -> keys
        self.same = collections.Counter()  # (channel, key, hash) -> messages
        self.untraced, self.messages = [], 0
        for row in db.stream(
            "select m.id, r.channel, r.key, m.subject, m.body, m.raw from complaintd.messages m"
            " join complaintd.receipts r on r.id = m.id where m.direction = 'in'"
        ):
            self.message(*row)
        for channel, key, outcome in db.stream("select channel, key, outcome from complaintd.receipts"):
            self.keys[channel, key].append(outcome)
            self.tails[channel, key.partition(":")[2]].add(key)
        self.pending = [bytes(e) for e, in db.stream("select envelope from complaintd.pending")]

    def message(self, ident, channel, key, subject, body, raw):
        self.messages += 1
        raw, text = bytes(raw or b""), f"{subject or ''} {body or ''}"
        if channel == "mail":
            trace = TRACE.match(raw)
            if not trace:
                self.untraced.append(str(ident))
            raw = raw[trace.end() :] if trace else raw
        whole = digest(raw)
        self.hashes[channel, whole].add(key)
        self.same[channel, key, whole] += 1
        if channel in ("line", "web"):
            self.hashes[channel, digest((body or "").encode())].add(key)
        self.marks.update(set(MARK.findall(text)) | {m.decode() for m in MARK_BYTES.findall(raw)})

    def whole_keys(self, channel, key):
        """The ledger's keys that a client may mean."""
        return {key} if (channel, key) in self.keys else self.tails.get((channel, key), set())

    def is_pending(self, entry, keys):
        wanted = (entry.get("marker") or "").encode()
        return any("pending" in self.keys[entry["channel"], k] for k in keys) or (
            bool(wanted) and any(wanted in e for e in self.pending)
        )

    def lacks(self, entry):
        """Why an acknowledged complaint is not stored; None when it is."""
        channel, key, marker = entry["channel"], entry.get("key"), entry.get("marker")
        wanted = [entry["sha256"]] if isinstance(entry.get("sha256"), str) else entry.get("sha256") or []
        keys = self.whole_keys(channel, key) if key is not None else set()
        if key is not None and not keys:
            return "no receipt"
        if self.is_pending(entry, keys):
            return None
        held = [self.hashes.get((channel, h)) for h in wanted]
        if wanted and not any(held):
            return "no message with these bytes"
        if keys and wanted and not any(h & keys for h in held if h):
            return "these bytes are stored under another key only"
        if marker and not self.marks[marker]:
            return "no message with this marker"
        return None


class Result:
    def __init__(self):
        self.counts, self.violations = {}, []

    def wrong(self, what, detail):
        self.violations.append(f"{what}: {detail}")


def check_stored(db, acked, result):
    stored = Stored(db)
    n = 0
    for n, entry in enumerate(acked, 1):
        lack = stored.lacks(entry)
        if lack:
            result.wrong("acknowledged, not stored", f"{lack}: {json.dumps(entry, ensure_ascii=False)}")
    for mark, times in stored.marks.items():
        if times > 1:
            result.wrong("stored twice", f"{mark} is in {times} messages")
    for (channel, key, whole), times in stored.same.items():
        if times > 1:
            result.wrong(
                "stored twice", f"{channel} {key}: {times} messages of the same bytes, {whole[:16]}…"
            )
    for ident in stored.untraced:
        result.wrong("mail without the server's fields in front", ident)
    result.counts.update(
        acknowledged=n,
        messages=stored.messages,
        receipts=sum(map(len, stored.keys.values())),
        pending=len(stored.pending),
    )


UNTOLD = """select c.ref, c.decision->>'acknowledgement' as said from complaintd.complaints c
    where c.decision ? 'acknowledgement' and c.decision->>'acknowledgement' <> 'no address to answer to'
    and not exists (select from complaintd.notifications n where n.complaint_id = c.id and n.purpose = 'acknowledgement')"""
STUCK = """select n.id, n.state, n.purpose, coalesce(n.last_error, '') as last_error from complaintd.notifications n where
    not (n.state = 'failed' and exists (select from complaintd.events e where e.complaint_id = n.complaint_id -- it was sent, and came back
         and e.kind = 'notification-bounced' and e.data ->> 'notification' = n.id::text)) and
    case state when 'suppressed' then coalesce(last_error, '') = ''
               when 'sending' then lease_until is null or lease_until < clock_timestamp() - interval '1 minute'
               when 'pending' then next_attempt_at is null when 'unknown' then next_attempt_at is null and coalesce(last_error, '') = ''
               when 'sent' then false when 'delivered' then false else %s or coalesce(last_error, '') = '' end"""
LATE = """select 'notification' as what, id::text, next_attempt_at as due from complaintd.notifications
        where state in ('pending', 'unknown') and next_attempt_at < complaintd.now() - %s * interval '1 second'
    union all select 'step of', complaint_id::text, next_at from complaintd.timers
        where next_at < complaintd.now() - %s * interval '1 second'"""


def check_notifications(db, result, grace, allow_failed):
    for row in db.rows("select state, count(*) as n from notifications group by 1 order by 1"):
        result.counts["notifications " + row["state"]] = row["n"]
    for row in db.rows(UNTOLD):
        result.wrong("to be acknowledged, without a notification", f"{row['ref']} ({row['said']})")
    for row in db.rows(STUCK, not allow_failed):
        result.wrong(
            "notification neither sent, suppressed with a reason nor pending",
            f"{row['id']} {row['purpose']} {row['state']} {row['last_error']}",
        )
    if grace is not None:
        for row in db.rows(LATE, grace, grace):
            result.wrong(f"due longer than {grace} s", f"{row['what']} {row['id']}, due {row['due']}")


def json_lines(path):
    with open(path, encoding="utf-8") as f:
        return [json.loads(line) for line in f if line.endswith("\n")]


def received(directory):
    """(Counter of mails' Message-IDs, Counter of webhooks' keys, Counter of SMS by number)."""
    mails = collections.Counter()
    for path in glob.glob(os.path.join(directory, "mail", "new", "*")):
        with open(path, "rb") as f:
            head = email.message_from_binary_file(f, policy=email.policy.compat32)
        mails[str(head["Message-ID"] or "").strip().strip("<>")] += 1
    hooks = collections.Counter(
        h["headers"].get("idempotency-key", "") for h in json_lines(os.path.join(directory, "webhook.jsonl"))
    )
    texts = collections.Counter(s["to"] for s in json_lines(os.path.join(directory, "sms.jsonl")))
    return mails, hooks, texts


def message_id_of(key):
    """What an idempotency key is in a Message-ID, in front of the @ and of the complaint's token."""
    return re.sub(r"[<>]", "", key).split("@")[0]


def without_token(message_id):
    return re.sub(r"\.c[0-9a-z]{29}$", "", message_id.split("@")[0])


def check_sent(db, directory, result):
    mails, hooks, texts = received(directory)
    by_id = collections.Counter()
    for m, n in mails.items():
        if without_token(m) in by_id:
            result.wrong("sent again under another Message-ID", m)
        by_id[without_token(m)] += n
    known_ids, known_hooks, sent_texts, all_texts = set(), set(), collections.Counter(), collections.Counter()
    for row in db.rows("select id, transport, recipient, state, idempotency_key as key from notifications"):
        was_sent = row["state"] in ("sent", "delivered")
        if row["transport"] == "mail":
            known_ids.add(message_id_of(row["key"]))
            if was_sent and not by_id.get(message_id_of(row["key"])):
                result.wrong("called sent, not received", f"mail {row['id']} to {row['recipient']}")
        elif row["transport"] == "webhook":
            known_hooks.add(row["key"])
            if was_sent and not hooks[row["key"]]:
                result.wrong("called sent, not received", f"webhook {row['id']} to {row['recipient']}")
        else:
            all_texts[row["recipient"]] += 1
            sent_texts[row["recipient"]] += was_sent
    for number, n in sent_texts.items():
        if texts[number] < n:
            result.wrong("called sent, not received", f"{n} SMS to {number}, {texts[number]} received")
    for what, extra in (
        ("mail", set(by_id) - known_ids),
        ("webhook", set(hooks) - known_hooks),
        ("SMS to", set(texts) - set(all_texts)),
    ):
        for e in sorted(extra):
            result.wrong("received, but no notification speaks of it", f"{what} {e}")
    again = sum(n - 1 for c in (mails, hooks) for n in c.values())
    result.counts.update(
        {
            "received mails": sum(mails.values()),
            "received webhooks": sum(hooks.values()),
            "received SMS": sum(texts.values()),
            "received again under the same key": again,
        }
    )


def check(db, acked=(), sent=None, grace=None, allow_failed=False):
    """Result of all of it. `acked`: entries as in the file."""
    result = Result()
    check_stored(db, acked, result)
    for fault in invariants(db):
        result.wrong("invariant", f"{fault['invariant']}: {fault['id']} {fault['detail']}")
    check_notifications(db, result, grace, allow_failed)
    if sent:
        check_sent(db, sent, result)
    return result


def model_check(db, acked, **options):
    """The last word of a test of load or fault: waits until nothing is pending triage, checks, and fails with what it found.
    `acked`: entries as in the file, or markers alone. Returns the counts."""
    wait_for(lambda: db.value("select count(*) from pending") == 0, 60, "pending envelopes triaged")
    entries = acked.values() if isinstance(acked, dict) else acked
    result = check(
        db, [e if isinstance(e, dict) else {"channel": "", "marker": e} for e in entries], **options
    )
    assert not result.violations, f"{len(result.violations)} violations: " + "; ".join(result.violations[:5])
    return result.counts


def main():
    parser = argparse.ArgumentParser(
        prog="tools/model-check", formatter_class=argparse.RawDescriptionHelpFormatter, epilog=ABOUT
    )
    parser.add_argument(
        "--database",
        required=True,
        metavar="URL",
        help="as a role that may read all tables, such as the daemon's",
    )
    parser.add_argument("--acked", required=True, metavar="FILE", help="JSON lines; - is standard input")
    parser.add_argument("--sent", metavar="DIR", help="a sandbox's outbox")
    parser.add_argument(
        "--grace", type=float, metavar="SECONDS", help="nothing may be due longer; not asked unless given"
    )
    parser.add_argument(
        "--allow-failed", action="store_true", help="notifications may have failed, when they say why"
    )
    args = parser.parse_args()
    try:
        acked = list(read_acked("/dev/stdin" if args.acked == "-" else args.acked))
        db = Database(args.database)
    except (OSError, ValueError, psycopg2.Error) as e:
        print(f"model-check: {e}", file=sys.stderr)
        return 2
    result = check(db, acked, args.sent, args.grace, args.allow_failed)
    for name, n in result.counts.items():
        print(f"{name}: {n}")
    for violation in result.violations:
        print(f"VIOLATION {violation}")
    print(f"violations: {len(result.violations)}")
    return 1 if result.violations else 0


if __name__ == "__main__":
    sys.exit(main())
