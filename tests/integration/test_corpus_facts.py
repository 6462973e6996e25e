"""What the corpus of mails states, against what the decoder finds: the share met for each group and kind of fact is printed, a case that
cannot be compared counts as missed, and none may be missed but those whose reason stands in DISPUTED. The corpus lies outside the tree (CD_CORPUS, else
../shared/corpus beside it); where it is absent the test is skipped and says so.

Text facts: what is stated must stand in the text found, white space ignored (it is folded and flowed differently by everybody). Where a mail
states a plain text and an HTML one, the plain one is what is read, and the HTML one is no fact of its own. To and Cc are no facts
of a complaint: the recipients are those of the envelope."""
import email
import hashlib
import html
import json
import os
import pathlib
import re
import subprocess

import sandbox

import pytest

CORPUS = pathlib.Path(os.environ.get("CD_CORPUS") or os.path.join(sandbox.ROOT, "..", "shared", "corpus")) / "mail"
BUILD = os.path.join(sandbox.ROOT, os.environ.get("CD_BUILD", "build/debug"))
KINDS = ("subject", "sender", "text", "html", "attachment name", "attachment size", "attachment sha256", "attachment count")
# Facts that are not met, and why: they count as missed. A miss that is not here fails the test.
DISPUTED = {
    ("ruby-mail/error_emails/content_transfer_encoding_7-bit.eml", "text"): "the bytes are UTF-8, stated as Latin-1",
    ("ruby-mail/error_emails/content_transfer_encoding_empty.eml", "html"): "encoded twice by its sender: UTF-8 of Latin-1 of Big5, stated as Big5 of it all",
    ("ruby-mail/error_emails/content_transfer_encoding_plain.eml", "text"): "stated without the characters that are not ASCII",
    ("ruby-mail/error_emails/invalid_subject_characters.eml", "subject"): "stated without the characters that are not ASCII",
    ("ruby-mail/plain_emails/raw_email6.eml", "text"): "stated without the characters that are not ASCII",
    ("ruby-mail/plain_emails/mix_caps_content_type.eml", "sender"): "no brackets: stated with the name in the address",
    ("ruby-mail/plain_emails/raw_email_incorrect_header.eml", "subject"): "stated as if the header ended at a broken line",
    ("ruby-mail/plain_emails/raw_email_incorrect_header.eml", "sender"): "the same",
    ("ruby-mail/plain_emails/raw_email_incorrect_header.eml", "text"): "the same",
    ("ruby-mail/rfc2822/example13.eml", "subject"): "stated as if 'Subject   :' were no field; RFC 5322 4.5 has it",
    ("ruby-mail/rfc2822/example13.eml", "sender"): "the same",
    ("ruby-mail/rfc2822/example13.eml", "text"): "the same",
    ("hunnysoft/m1009.eml", "attachment count"): "stated without a text file that is named and shown inline",
    ("hunnysoft/m1011.eml", "text"): "its UTF-7 was damaged by its sender: the characters stated are not in it",
    ("php-imap/references.eml", "sender"): "stated as an address without a domain",
    ("mailcore/2765-korean.eml", "sender"): "stated with the undecoded name in the address",
    ("mailcore/6144-russian.eml", "subject"): "KOI8-R, stated as Latin-1",
    ("mailcore/6144-russian.eml", "text"): "stated from the HTML part; the plain one is read",
}


def squeeze(s):
    """Without white space, invisible characters, and the marks of quoting."""
    return re.sub("[\\s\u00a0\u200b\u00ad\ufeff>]+", "", s)


def words_of_html(s):
    s = re.sub(r"(?is)<!--.*?-->|<(script|style|title)\b.*?</\1\s*>", " ", s)
    return html.unescape(re.sub(r"(?s)<[^>]*>", " ", s))


def decoded(paths):
    program = os.path.join(BUILD, "tests", "unit_mail_decode_test_corpus")
    done = subprocess.run([program, "--dump", *map(str, paths)], capture_output=True, check=True, timeout=300)
    return {line["path"]: line for line in map(json.loads, done.stdout.decode().splitlines())}


class Score:
    def __init__(self, group):
        self.group, self.misses = group, []
        self.met, self.all, self.disputed = (dict.fromkeys(KINDS, 0) for _ in range(3))

    def fact(self, kind, met, name, want, got):
        self.all[kind] += 1
        self.met[kind] += bool(met)
        if met:
            return
        why = DISPUTED.get((f"{self.group}/{name}", kind))
        self.disputed[kind] += why is not None
        self.misses.append((why, f"  {self.group}/{name}: {kind}: {want!r:.100} stated, {got!r:.100} found" + (f": {why}" if why else "")))

    def share(self, kind):
        disputed = f" ({self.disputed[kind]} disputed)" if self.disputed[kind] else ""
        return f"{kind} {self.met[kind]}/{self.all[kind]}{disputed}"

    def text(self, name, kind, want, got):
        if squeeze(want):
            self.fact(kind, squeeze(want) in squeeze(got), name, want, got)

    def subject(self, name, want, got):
        self.fact("subject", squeeze(want) == squeeze(got), name, want, got)

    def sender(self, name, want, got):
        self.fact("sender", (want or "").lower() == (got or ""), name, want, got)

    def count(self, name, want, found):
        """Upstream counts what is attached to the mail itself: not what is inside an attached mail or a container, nor signatures without a name."""
        inside = [m for m in found if m["kind"] == "message"]
        outer = [a for a in found if not a["member"] and (a["kind"] != "signature" or a["filename"]) and not any(m is not a and m["offset"] <= a["offset"] < m["offset"] + m["length"] for m in inside)]
        self.fact("attachment count", len(outer) == want, name, want, [a["filename"] for a in outer])

    def attachments(self, name, wanted, found):
        """Each has a name, a size and a digest as far as they are stated; each of ours serves once."""
        left = list(found)
        for w in wanted:
            best = max(left, key=lambda f: sum(f.get(k) == v for k, v in w.items()), default=None)
            if best is not None and any(best.get(k) == v for k, v in w.items()):
                left.remove(best)
            else:
                best = {}
            for field, kind in (("filename", "attachment name"), ("size", "attachment size"), ("sha256", "attachment sha256")):
                if field in w:
                    self.fact(kind, best.get(field) == w[field], name, w[field], best.get(field))


def rendered(got, marks=False):
    """The text without what it has beyond the words of the mail: addresses of links, heads of mails within it, rules and marks of lists."""
    got = re.sub(r" ?\((?:https?|mailto|tel):[^)\s]*\)", "", got)
    got = re.sub(r"(?m)^-{10} Forwarded message -{10}\n(?:From: .*\n)?(?:Subject: .*\n)?", "", got)
    return got if marks else re.sub(r"(?m)^\s*(-{10}|- |\d+\. )", "", got)


def both_texts(score, name, text, html_text, got):
    if squeeze(text or ""):
        score.text(name, "text", text, got["text"] if squeeze(text) in squeeze(got["text"]) else rendered(got["text"]))
    elif html_text:
        want, forms = words_of_html(html_text), [rendered(got["text"]), rendered(got["text"], marks=True)]
        score.text(name, "html", want, next((f for f in forms if squeeze(want) in squeeze(f)), forms[0]))


def ruby_mail(score, name, x, got):
    score.subject(name, x["subject"], got["subject"])
    score.sender(name, (x["from_values"] or {}).get("email") or None, got["email"])
    both_texts(score, name, x["text"], x["html"], got)
    wanted = [
        {"filename": a["filename"], "type": a["content_type"], "size": a["payload"]["bytes"], "sha256": a["payload"]["sha256"]} for a in x["attachments"]
    ]
    score.attachments(name, wanted, [in_lf(name, a, [w["sha256"] for w in wanted]) if a["kind"] == "message" else a for a in got["attachments"]])


def in_lf(name, a, stated):
    """Upstream hands a mail within a mail out with LF, and as its library writes it anew."""
    raw = (CORPUS / "ruby-mail" / name).read_bytes()[a["offset"] : a["offset"] + a["length"]].replace(b"\r\n", b"\n").rstrip(b"\n")
    forms = [raw + b"\n" * i for i in range(4)]  # the last line ends are the boundary's, or not
    forms += [email.message_from_bytes(f).as_bytes() for f in forms]
    best = next((f for f in forms if hashlib.sha256(f).hexdigest() in stated), raw)
    return {**a, "size": len(best), "sha256": hashlib.sha256(best).hexdigest()}


def hunnysoft(score, name, x, got):
    files = CORPUS / "hunnysoft" / "files"
    read = lambda key: (files / x[key]).read_bytes().decode("iso-8859-1") if key in x else None
    score.subject(name, x["Subject"], got["subject"])
    score.sender(name, x["From"]["email"], got["email"])
    both_texts(score, name, read("text"), read("html"), got)
    if isinstance(x.get("attachments"), int):
        score.count(name, x["attachments"], got["attachments"])


def php_imap(score, name, x, got):
    if "subject" in x:
        score.subject(name, x["subject"], got["subject"])
    if x.get("from"):
        score.sender(name, x["from"], got["email"])
    both_texts(score, name, x.get("text"), x.get("html"), got)
    if "attachments" in x:
        score.count(name, x["attachments"], got["attachments"])


def php_mime(score, name, x, got):
    score.subject(name, x["subject"], got["subject"])
    address = re.search(r"<([^>]*)>", x["from"])
    score.sender(name, address.group(1) if address else x["from"], got["email"])
    rule = x["text_rule"]
    if rule[0] == "COUNT":
        score.fact("text", squeeze(got["text"]).count(squeeze(rule[2])) >= 1, name, rule, got["text"])
    score.attachments(name, [{"filename": a["filename"], "size": a["size"]} for a in x["attachments"]], got["attachments"])


def mailcore(score, name, text, got):
    head, _, body = text.partition("\n\n")
    fields = dict(re.findall(r"(?m)^(\w+): (.*)$", head))
    if "Subject" in fields: # upstream leaves "Re:" out and says "No Subject"
        mine = re.sub(r"^Re: ", "", got["subject"]) or "No Subject"
        score.subject(name, fields["Subject"], mine)
    address = re.search(r"<([^>]*)>|(\S+@\S+)", fields.get("From", ""))
    if address:
        score.sender(name, address.group(1) or address.group(2), got["email"])
    plain = lambda s: squeeze(re.sub(r"\((?:https?:)?//[^)]*\)|\(mailto:[^)]*\)", "", s))
    lines = [plain(line) for line in body.split("\n") if len(plain(line)) > 3]
    have = plain(got["text"])
    if lines:
        score.fact("text", sum(line in have for line in lines) * 100 >= len(lines) * 90, name, [line for line in lines if line not in have], got["text"])


JUDGES = {"ruby-mail": ruby_mail, "hunnysoft": hunnysoft, "php-imap": php_imap, "php-mime": php_mime, "mailcore": mailcore}


def expectations(group):
    folder = CORPUS / group
    if group == "mailcore":
        return {p.stem + ".eml": p.read_text(encoding="utf-8") for p in sorted((folder / "expected").glob("*.txt"))}
    return json.loads((folder / "expected.json").read_text(encoding="utf-8"))


@pytest.mark.skipif(not CORPUS.is_dir(), reason="no corpus: set CD_CORPUS to its folder")
def test_facts_of_the_corpus(capsys):
    scores, total = [], Score("all")
    for group, judge in JUDGES.items():
        score, facts = Score(group), expectations(group)
        paths = {name: CORPUS / group / name for name in facts}
        there = decoded(p for p in paths.values() if p.is_file() and p.stat().st_size > 0)
        for name, x in facts.items():
            got = there.get(str(paths[name]))
            if got is None:
                score.misses.append((None, f"  {group}/{name}: skipped, not in the corpus"))
                got = {"subject": None, "email": None, "text": "", "attachments": []}
            judge(score, name, x, {**got, "subject": got["subject"] or ""})
        scores.append(score)
        for kind in KINDS:
            total.met[kind] += score.met[kind]
            total.all[kind] += score.all[kind]
            total.disputed[kind] += score.disputed[kind]
    with capsys.disabled():
        print()
        for score in scores:
            for _, miss in score.misses:
                print(miss)
        for score in [*scores, total]:
            print(f"  {score.group:10}", ", ".join(score.share(k) for k in KINDS if score.all[k]))
    assert [miss for score in scores for why, miss in score.misses if why is None] == []
    assert total.all["subject"] >= 180 and total.all["text"] + total.all["html"] >= 160, "the corpus has shrunk"
