"""Several clients change the same complaints at random. Each knows what it was told, and makes a good part of its changes only on what it has
seen (`if_seq`); afterwards every change that was answered is there, once, and nothing else is; the chains are whole. CD_TOGETHER_SECONDS
makes it longer, CD_TOGETHER_SEED repeats a run."""
import os
import random
import threading
import time

import letters
from model import settle, wait_for

CLIENTS, COMPLAINTS = 8, 100
SECONDS = float(os.environ.get("CD_TOGETHER_SECONDS", "6"))
SEED = int(os.environ.get("CD_TOGETHER_SEED") or random.SystemRandom().randrange(2**32))
KINDS = {"NOTE": "noted", "RECLASSIFY": "reclassified", "WAIT": "waiting", "RESOLVE": "resolved", "REOPEN": "reopened", "CLOSE": "closed",
         "ASSIGN": "assigned", "ACK": "acked", "REPLY": "replied", "MERGE": "merged-into"}


class Client(threading.Thread):
    def __init__(self, box, refs, n):
        super().__init__()
        self.box, self.refs, self.name = box, refs, f"c{n}"
        self.random = random.Random(SEED * 100 + n)
        self.done, self.refused, self.fault = [], {}, None

    def run(self):
        try:
            with self.box.line("agent") as line:
                end = time.monotonic() + SECONDS
                while time.monotonic() < end:
                    self.change(line)
        except Exception as e:  # noqa: BLE001: the test shows it
            self.fault = e

    def change(self, line):
        ref = self.random.choice(self.refs)
        verb = self.random.choices(list(KINDS), [25, 15, 10, 10, 10, 5, 15, 10, 3, 0.3])[0]
        word = f"{self.name}-{len(self.done)}"
        args = {
            "NOTE": lambda: {"text": word},
            "REPLY": lambda: {"text": word},
            "ASSIGN": lambda: {"assignee": word},
            "RECLASSIFY": lambda: {"priority": self.random.choice(["low", "normal", "high", "critical"])},
            "WAIT": lambda: {"for": f"{self.random.randint(1, 300)}d"},
            "RESOLVE": lambda: {"outcome": self.random.choice(["upheld", "rejected"]), "note": word},
            "MERGE": lambda: {"into": self.random.choice(self.refs)},
        }.get(verb, dict)()
        seen = None
        if self.random.random() < 0.7:
            shown = line.ok("SHOW", ref=ref)
            seen = args["if_seq"] = shown["events"][-1]["seq"]
        word, body, _ = line.request(verb, ref=ref, **args)
        if word == "OK":
            if body.get("changed", True) or body.get("steps_stopped"):
                self.done.append((verb, body["ref"], body["seq"], seen, args))
        else:
            assert body["code"] in ("conflict", "busy"), body
            self.refused[body["code"]] = self.refused.get(body["code"], 0) + 1


def test_clients_together(make_box):
    box = make_box()
    refs = []
    with box.line("intake") as line:
        for i in range(COMPLAINTS):
            address = f"{letters.mark()}@shop.example".lower()
            refs.append(line.ok("SUBMIT", key=f"k{i}", text=f"The bill {letters.mark()} is wrong", customer={"email": address})["ref"])
    wait_for(lambda: box.db.value("select count(*) from complaints") == COMPLAINTS, 30)
    clients = [Client(box, refs, n) for n in range(CLIENTS)]
    for c in clients:
        c.start()
    for c in clients:
        c.join()
    settle(box.db, 120)
    for c in clients:
        assert c.fault is None, f"{c.name} (CD_TOGETHER_SEED={SEED}): {c.fault!r}"
    done = [d for c in clients for d in c.done]
    rows = box.db.rows(
        "select c.ref, e.seq, e.kind, e.data, case when e.kind = 'noted' then (select body from complaintd.notes n where n.id = (e.data ->> 'note')::uuid) end"
        " as body from events e join complaints c on c.id = e.complaint_id where e.data ? 'via'"
    )
    stored = {(r["ref"], r["seq"]): r for r in rows}
    # no lost update: every change that was answered is an event, and its own
    for verb, ref, seq, seen, args in done:
        kinds = [stored[ref, s]["kind"] for s in range(seq, max(seq - 2, 0), -1) if (ref, s) in stored]
        assert kinds and kinds[0] == KINDS[verb], (CLIENTS, SEED, verb, ref, seq, kinds)
        if verb == "NOTE":
            assert stored[ref, seq]["body"] == args["text"]
        if seen is not None and verb != "MERGE":
            assert seq == seen + 1, (SEED, verb, ref, seen, seq)
    answered = [(ref, seq) for _, ref, seq, _, _ in done]
    assert len(set(answered)) == len(answered), f"two changes were answered with one event (CD_TOGETHER_SEED={SEED})"
    others = set(stored) - set(answered)
    # MERGE writes into both chains; besides that nothing is there that nobody was told of
    assert all(stored[o]["kind"] == "merged" for o in others), [stored[o] for o in others if stored[o]["kind"] != "merged"][:3]
    assert {v for v, *_ in done} >= set(KINDS) - {"MERGE"}, f"{len(done)} changes only"
    # the states are those that the last events say
    for r in box.db.rows("select c.ref, c.status, (select e.data ->> 'to' from events e where e.complaint_id = c.id and e.data ? 'to' and jsonb_typeof("
                         "e.data -> 'to') = 'string' order by seq desc limit 1) as said from complaints c where c.merged_into is null"):
        assert r["said"] is None or r["said"] == r["status"], r
    with box.line("agent") as line:
        page = {}
        while True:
            whole = line.ok("VERIFY", **page)
            assert whole["ok"], whole
            if "next" not in whole:
                break
            page = {"after": whole["next"]}
    refused = {}
    for c in clients:
        for code, n in c.refused.items():
            refused[code] = refused.get(code, 0) + n
    assert refused.get("conflict"), "they never met"
    print(f"seed {SEED}: {len(done)} changes in {SECONDS:g} s by {CLIENTS} clients on {COMPLAINTS} complaints; refused: {refused}")
