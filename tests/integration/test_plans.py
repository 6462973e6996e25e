"""Every statement that the daemon sends, and those in the functions that it calls, go by index even when they were planned on an empty
database: such plans stay for as long as a connection lives. The server's auto_explain tells the plans."""
import os
import re
import secrets
import signal

import clients
import letters
from model import settle, wait_for
from scanners import Odd
from test_threads import message_of, send

# Tables that stay small, or are no larger than a team. The rest grows with every complaint.
SMALL = {"clock", "migrations", "ref_aliases", "notes", "pg_class", "pg_inherits", "search_state", "absences", "rota", "vulnerable_customers"}
# Indexes that hold only what is open, due or in hand, and may be walked; ordered ones that are walked up to a limit.
WALKED = {"notifications_due", "notifications_leased", "timers_next", "complaint_open", "pending_next", "pending_pkey", "scans_again",
          "complaint_unassigned", "absences_open", "customers_flagged", "closings_pkey"}


def everything(box):
    """Something of every kind: each channel, a follow-up by header, one by reference, a duplicate, a complaint's life, steps."""
    first, one, two, three = f"{secrets.token_hex(6)}@shop.example", letters.mark(), letters.mark(), letters.mark()
    send(box, one, "plan@shop.example", first)
    ref = box.complaint_of(one)["ref"]
    send(box, one, "plan@shop.example", first)
    send(box, two, "plan@shop.example", None, [("In-Reply-To", f"<{first}>")], "Re: A matter")
    send(box, three, "plan@shop.example", None, (), f"About {ref}")
    assert message_of(box, two)["complaint_id"] == message_of(box, three)["complaint_id"]
    assert box.sms(clients.sms_params(f"Nobody answers {letters.mark()}", "+8613800138000"))[0] == 200
    with box.line("admin") as line:
        line.ok("SUBMIT", key=letters.mark(), text="The agent was rude to me", channel="counter")
        settle(box.db)
        wait_for(lambda: box.db.value("select count(*) from complaint where assignee in ('li', 'wu')"), 15, "given to a member")
        for verb, args in (("FLAG", {"ref": ref, "flag": "vip"}), ("CUSTOMER", {"ref": ref}), ("CUSTOMERS", {"flag": "vip", "limit": 5}),
                           ("FLAG", {"ref": ref, "flag": "vulnerable", "driver": "health", "review": "2099-01-01"}),
                           ("CUSTOMER", {"handle": "plan@shop.example"}), ("CUSTOMERS", {"review_due": True}), ("CUSTOMERS", {}),
                           ("ABSENT", {"who": "wu", "reassign": True}), ("ABSENCES", {}), ("PRESENT", {"who": "wu"})):
            line.ok(verb, **args)
        box.advance("3d")
        for verb, args in (("SHOW", {"ref": ref}), ("EXPLAIN", {"ref": ref}), ("ACK", {"ref": ref}), ("STATS", {}),
                           ("ASSIGN", {"ref": ref, "assignee": "li"}), ("RESOLVE", {"ref": ref, "outcome": "upheld"})):
            line.ok(verb, **args)
        off = line.ok("SPLIT", ref=ref, message=str(message_of(box, two)["id"]), later=True)
        line.ok("MERGE", ref=off["ref"], into=ref)
        send(box, letters.mark(), "plan@shop.example", None, (), f"About {off['ref']}")
        line.ok("SPLIT", ref=ref, message=off["id"])
        line.ok("LIST", limit=5)
        line.ok("LIST", scan="clean")
        wait_for(lambda: box.db.value("select count(*) from search") >= 3, 20, "words written")
        line.ok("LIST", search="matter", limit=5)
        line.ok("LIST", search="matter", status="closed")
        with box.line("admin") as admin:
            admin.ok("QUEUE")
            admin.ok("PENDING")


def faults(log):
    """(line of the plan, statement) for what reads a large table whole."""
    for entry in re.split(r"\n(?=\d{4}-\d\d-\d\d )", log):
        query, _, plan = entry.partition("Query Text:")[2].partition("  (cost=")
        lines = ("  (cost=" + plan).split("\n")
        rows = query.rsplit("\n", 1)[-1] + lines[0]
        lines = [rows, *lines[1:]]
        for i, text in enumerate(lines):
            table = re.search(r"Scan(?: Backward)?(?: using (\S+))? on (\S+)", text)
            if not table or table[2] in SMALL or table[1] in WALKED or "Bitmap" in text:
                continue
            by_index = any("Index Cond" in x or "Recheck Cond" in x for x in lines[i + 1 : i + 2])
            listed = "order by c.id desc limit" in query  # LIST walks back from the newest
            if not by_index and not listed and ("Seq Scan" in text or "Index" in text):
                yield text.strip(), " ".join(query.split())[:160]


def test_nothing_reads_a_table_whole(make_box):
    checker = Odd("clamd")  # what it first has no word for is checked again
    checker.behaviour = b"not yet ERROR\0"
    team = {"name": "service", "assign": "load", "members": [{"name": "li"}, {"name": "wu"}]}
    box = make_box(overlay={"scan": {"clamd": {"address": [checker.address]}, "rescan": "100ms"}, "teams": [team]})
    settings = {
        "session_preload_libraries": "auto_explain",
        "auto_explain.log_min_duration": "0",
        "auto_explain.log_nested_statements": "on",
        "log_line_prefix": "%m [%a] ",
    }
    box.db.execute("load 'auto_explain'")  # or its settings are unknown
    for name, value in settings.items():
        box.db.connection.cursor().execute(f"alter system set {name} = '{value}'")
    assert box.db.value("select pg_reload_conf()")
    box.kill_daemon(signal.SIGTERM)
    server_log = os.path.join(box.state["cluster"], "server.log")
    before = os.path.getsize(server_log)
    box.restart()
    everything(box)
    checker.behaviour = b"stream: OK\0"
    wait_for(lambda: box.db.value("select count(*) from scans where verdict <> 'clean'") == 0, 60, "all are checked again")
    wait_for(lambda: box.metric("complaintd_notifications_total") > 0, 10)
    with open(server_log, encoding="utf-8", errors="replace") as f:
        f.seek(before)
        ours = "".join(e for e in re.split(r"(?m)^(?=\d{4}-\d\d-\d\d )", f.read()) if "[complaintd]" in e.split("\n")[0])
    for name in ("receipts", "thread_keys", "customer_handles", "notification_outcome", "fire_steps", "add_event", "api_show", "api_merge", "api_split",
                 "thread_state", "rescan_claim", "rescanned", "assign_open", "api_customer", "api_customers", "api_absent"):
        assert name in ours, f"no statement on {name} was seen"
    found = sorted(set(faults(ours)))
    checker.stop()
    assert not found, "\n".join(f"{plan}   in: {query}" for plan, query in found)
