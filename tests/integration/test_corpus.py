"""Real input: every mail of the corpus by SMTP, and complaint texts over the line protocol. The corpus lies outside the tree
(CD_CORPUS, else ../shared/corpus beside it); where it is absent these tests are skipped and say so."""
import collections
import gzip
import json
import os
import pathlib
import re
import smtplib

import pytest

import clients
import sandbox
from model import digest, mail_digest, model_check, settle, wait_for

CORPUS = pathlib.Path(os.environ.get("CD_CORPUS") or os.path.join(sandbox.ROOT, "..", "shared", "corpus"))
FILES = (
    "complaints-en-airline-dev",
    "complaints-en-cfpb-dev",
    "complaints-zh-gov-dev",
    "complaints-zh-retail-dev",
)


def messages():
    return sorted((CORPUS / "mail").rglob("*.eml")) if (CORPUS / "mail").is_dir() else []


def field(head, name):
    """A header field's value as it stands, unfolded; the first of its name."""
    found = re.search(rb"(?im)^" + name + rb"[ \t]*:((?:.*(?:\r\n[ \t])?)*)", head)
    return b" ".join(found.group(1).split()) if found else b""


def identity(raw):
    """What makes two mails the same: Message-ID, From, Date, Subject and body (trace fields differ at each delivery)."""
    head, blank, body = raw.partition(b"\r\n\r\n")
    if not blank:
        return (raw,)
    return tuple(field(head, n) for n in (b"message-id", b"from", b"date", b"subject")) + (
        body if body.endswith(b"\r\n") else body + b"\r\n",
    )


@pytest.mark.skipif(not messages(), reason=f"no mails under {CORPUS}/mail")
def test_every_mail_is_taken(make_box, capsys):
    box = make_box()
    refused, taken, bare = {}, {}, []
    for path in messages():
        raw = clients.crlf(path.read_bytes())
        with smtplib.SMTP("127.0.0.1", box.smtp_port, local_hostname="corpus.example", timeout=60) as smtp:
            code, text = clients.mail_on(smtp, raw, "corpus@sender.example")
        name = str(path.relative_to(CORPUS))
        if re.search(rb"\r(?!\n)", raw):  # docs/adr/0003-content-faults.md
            assert code == 550 and text.startswith("5.5.2 "), (name, code, text)
            bare.append(name)
        elif code == 250:
            taken.setdefault(identity(raw), {})[name] = raw
        else:
            refused[name] = (code, text)
    settle(box.db, 120)
    counts = {
        r["outcome"]: r["n"]
        for r in box.db.rows("select outcome, count(*) as n from receipts group by 1 order by 1")
    }
    degraded = box.db.value(
        "select count(*) from messages m join complaints c on c.id = m.id where c.degraded"
    )
    with capsys.disabled():
        sent = sum(len(same) for same in taken.values())
        print(
            f"\n  {sent} of {len(messages())} mails taken, {len(taken)} of them different; receipts: "
            + ", ".join(f"{outcome} {n}" for outcome, n in counts.items())
            + f"; degraded {degraded}"
        )
        print(f"  refused for a bare CR: {' '.join(bare)}")
        for name, answer in refused.items():
            print(f"  refused: {name}: {answer[0]} {answer[1]}")
    assert not refused
    assert all("/sisimai/mac/" in name for name in bare), "made by hand, with the line ends of an old Macintosh; no real sender"
    # of copies that differ in trace fields only, the first is stored
    model_check(
        box.db,
        [
            {"channel": "mail", "sha256": [mail_digest(raw) for raw in same.values()]}
            for same in taken.values()
        ],
        sent=box.path("outbox"),
        grace=30,
        allow_failed=True,
    )  # some of the corpus come from no address
    assert sum(counts.values()) == len(taken)
    assert "pending" not in counts
    assert box.metric("complaintd_worker_deaths_total") == 0


@pytest.mark.parametrize("name", FILES)
def test_complaint_texts(box, name, capsys):
    path = CORPUS / f"{name}.jsonl.gz"
    if not path.exists():
        pytest.skip(f"{path} is not there")
    with gzip.open(path, "rt", encoding="utf-8") as f:
        texts = [json.loads(line) for _, line in zip(range(500), f)]
    answers = []
    with box.line() as line:
        window = 50
        for start in range(0, len(texts), window):
            part = texts[start : start + window]
            line.send_raw(
                b"".join(
                    b"SUBMIT "
                    + json.dumps({"key": f"{name}-{t['id']}", "text": t["text"]}, ensure_ascii=False).encode()
                    + b"\n"
                    for t in part
                )
            )
            answers += [line.answer() for _ in part]
    assert all(word == "OK" for word, _, _ in answers), [b for w, b, _ in answers if w != "OK"][:3]
    refs = [body["ref"] for _, body, _ in answers if "ref" in body]
    wait_for(lambda: box.db.value("select count(*) from pending") == 0, 60)
    stored = box.db.rows(
        "select c.category, c.body from complaints c join receipts r on r.complaint_id = c.id and r.id = c.id"
        " where r.channel = 'line' and strpos(r.key, %s) > 0",
        f":{name}-",
    )
    assert len(stored) == len(texts)
    assert sorted(r["body"] for r in stored) == sorted(t["text"] for t in texts)
    assert len(set(refs)) == len(refs)
    counts = collections.Counter(r["category"] for r in stored)
    with capsys.disabled():
        print(f"\n  {name}: " + ", ".join(f"{c} {n}" for c, n in counts.most_common()))
    assert counts["unclassified"] < len(texts)
    model_check(
        box.db,
        [
            {"channel": "line", "key": f"{name}-{t['id']}", "sha256": digest(t["text"].encode())}
            for t in texts
        ],
    )
