"""What the corpus of mails states, against what the decoder finds: the share met for each group and kind of fact is printed, a case that
cannot be compared counts as missed, and no share may fall below its floor. The corpus lies outside the tree (CD_CORPUS, else
../shared/corpus beside it); where it is absent the test is skipped and says so.

Text facts: what is stated must stand in the text found, white space ignored (it is folded and flowed differently by everybody). Where a mail
states a plain text and an HTML one, the plain one is what is read, and the HTML one is no fact of its own. To and Cc are no facts
of a complaint: the recipients are those of the envelope."""
import html
import json
import os
import pathlib
import re
import subprocess

import sandbox

import pytest

CORPUS = pathlib.Path(os.environ.get("CD_CORPUS") or os.path.join(sandbox.ROOT, "..", "shared", "corpus")) / "mail"
BUILD = os.environ.get("CD_BUILD", "build/debug")
KINDS = ("subject", "sender", "text", "html", "attachment name", "attachment size", "attachment sha256", "attachment count")
# Least shares in per cent, for each group, in the order of KINDS; None: the corpus states none of these.
FLOORS = {
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
        self.group, self.met, self.all, self.misses = group, dict.fromkeys(KINDS, 0), dict.fromkeys(KINDS, 0), []

    def fact(self, kind, met, name, want, got):
        self.all[kind] += 1
        self.met[kind] += bool(met)
        if not met:
            self.misses.append(f"  {self.group}/{name}: {kind}: {want!r:.150} expected, {got!r:.150} found")

    def text(self, name, kind, want, got):
        if squeeze(want):
            self.fact(kind, squeeze(want) in squeeze(got), name, want, got)

    def subject(self, name, want, got):
        self.fact("subject", squeeze(want) == squeeze(got), name, want, got)

    def sender(self, name, want, got):
        self.fact("sender", (want or "").lower() == (got or ""), name, want, got)

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


def both_texts(score, name, text, html_text, got):
    if squeeze(text or ""):
        score.text(name, "text", text, got["text"])
    elif html_text:
        score.text(name, "html", words_of_html(html_text), got["text"])


def ruby_mail(score, name, x, got):
    score.subject(name, x["subject"], got["subject"])
    score.sender(name, (x["from_values"] or {}).get("email") or None, got["email"])
    both_texts(score, name, x["text"], x["html"], got)
    score.attachments(
        name, [{"filename": a["filename"], "size": a["payload"]["bytes"], "sha256": a["payload"]["sha256"]} for a in x["attachments"]], got["attachments"]
    )


def hunnysoft(score, name, x, got):
    files = CORPUS / "hunnysoft" / "files"
    read = lambda key: (files / x[key]).read_bytes().decode("iso-8859-1") if key in x else None
    score.subject(name, x["Subject"], got["subject"])
    score.sender(name, x["From"]["email"], got["email"])
    both_texts(score, name, read("text"), read("html"), got)
    if isinstance(x.get("attachments"), int):
        n = len([a for a in got["attachments"] if not a["member"]])
        score.fact("attachment count", n == x["attachments"], name, x["attachments"], n)


def php_imap(score, name, x, got):
    if "subject" in x:
        score.subject(name, x["subject"], got["subject"])
    if x.get("from"):
        score.sender(name, x["from"], got["email"])
    both_texts(score, name, x.get("text"), x.get("html"), got)
    if "attachments" in x:
        score.fact("attachment count", len(got["attachments"]) == x["attachments"], name, x["attachments"], len(got["attachments"]))


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
    if "Subject" in fields:
        score.subject(name, fields["Subject"], got["subject"])
    address = re.search(r"<([^>]*)>|(\S+@\S+)", fields.get("From", ""))
    if address:
        score.sender(name, address.group(1) or address.group(2), got["email"])
    lines = [squeeze(line) for line in body.split("\n") if len(squeeze(line)) > 3]
    have = squeeze(got["text"])
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
                score.misses.append(f"  {group}/{name}: skipped, not in the corpus")
                got = {"subject": None, "email": None, "text": "", "attachments": []}
            judge(score, name, x, {**got, "subject": got["subject"] or ""})
        scores.append(score)
        for kind in KINDS:
            total.met[kind] += score.met[kind]
            total.all[kind] += score.all[kind]
    with capsys.disabled():
        print()
        for score in scores:
            for miss in score.misses:
                print(miss)
        for score in [*scores, total]:
            print(f"  {score.group:10}", ", ".join(f"{k} {score.met[k]}/{score.all[k]}" for k in KINDS if score.all[k]))
    for score in scores:
        for kind, floor in zip(KINDS, FLOORS[score.group]):
            assert (floor is None) == (score.all[kind] == 0), (score.group, kind)
            assert floor is None or score.met[kind] * 100 >= floor * score.all[kind], (score.group, kind)
