"""What a client may do: a table of verb by role and by desk, against a daemon with two desks; tokens by their hash; a token that is taken
away."""
import hashlib
import json
import os
import re
import secrets
import signal

import pytest

import conftest
import letters
from box import ROOT, Box
from clients import Line, LineError
from model import wait_for

NAMES = ("intake-care", "agent-care", "admin-care", "agent-both", "admin-all")
TOKENS = {name: secrets.token_urlsafe(32) for name in NAMES}


def hashed(name):
    return hashlib.sha256(TOKENS[name].encode()).hexdigest()


def overlay():
    return {
        "desks": [{"name": "shop", "addresses": ["shop@example.com"], "default_team": "general", "policy": "standard"}],
        "clients": [
            {"name": "intake-care", "role": "intake", "token_sha256": hashed("intake-care"), "desks": ["care"]},
            {"name": "agent-care", "role": "agent", "token_sha256": hashed("agent-care").upper(), "desks": ["care"]},
            {"name": "admin-care", "role": "admin", "token_sha256": hashed("admin-care"), "desks": ["care"]},
            {"name": "agent-both", "role": "agent", "token_sha256": hashed("agent-both"), "desks": ["shop", "care"], "desk": "care"},
            {"name": "admin-all", "role": "admin", "token_sha256": hashed("admin-all")},
        ],
    }


@pytest.fixture(scope="module")
def module_box():
    box = Box(overlay=overlay())
    yield box
    conftest.finish(box)


@pytest.fixture
def box(module_box):
    yield module_box
    conftest.assert_sound(module_box)


def ask(box, client, verb, **args):
    """"OK" or the code of the ERR, and the body."""
    with Line(box.line_port, TOKENS[client]) as line:
        word, body, rows = line.request(verb, **args)
        return ("OK" if word == "OK" else body["code"]), body, rows


# verb, arguments beside ref; for each client what it gets on a complaint of its desk "care" and on one of "shop"
TABLE = [
    # verb        arguments                    intake-care                   agent-care           admin-care           agent-both      admin-all
    ("SHOW", {}, ("OK", "not-found"), ("OK", "not-found"), ("OK", "not-found"), ("OK", "OK"), ("OK", "OK")),
    ("EXPLAIN", {}, ("forbidden",) * 2, ("OK", "not-found"), ("OK", "not-found"), ("OK", "OK"), ("OK", "OK")),
    ("ACK", {}, ("forbidden",) * 2, ("OK", "not-found"), ("OK", "not-found"), ("OK", "OK"), ("OK", "OK")),
    ("ASSIGN", {"assignee": "li"}, ("forbidden",) * 2, ("OK", "not-found"), ("OK", "not-found"), ("OK", "OK"), ("OK", "OK")),
    ("ATTACHMENT", {}, ("forbidden",) * 2, ("OK", "not-found"), ("OK", "not-found"), ("OK", "OK"), ("OK", "OK")),
    # of the message that opened it: a conflict, for who may see it
    ("SPLIT", {"message": "first"}, ("forbidden",) * 2, ("conflict", "not-found"), ("conflict", "not-found"), ("conflict",) * 2, ("conflict",) * 2),
    # of what was read in full: a conflict, for who may see it
    ("REREAD", {}, ("forbidden",) * 2, ("conflict", "not-found"), ("conflict", "not-found"), ("conflict",) * 2, ("conflict",) * 2),
    # into another one of the same desk
    ("MERGE", {"into": "another"}, ("forbidden",) * 2, ("OK", "not-found"), ("OK", "not-found"), ("OK", "OK"), ("OK", "OK")),
    ("VERIFY", {}, ("forbidden",) * 2, ("OK", "not-found"), ("OK", "not-found"), ("OK", "OK"), ("OK", "OK")),
    ("NOTE", {"text": "seen"}, ("forbidden",) * 2, ("OK", "not-found"), ("OK", "not-found"), ("OK", "OK"), ("OK", "OK")),
    # no address of the customer is known: a conflict, for who may see it
    ("REPLY", {"text": "seen"}, ("forbidden",) * 2, ("conflict", "not-found"), ("conflict", "not-found"), ("conflict",) * 2, ("conflict",) * 2),
    ("RECLASSIFY", {"priority": "high"}, ("forbidden",) * 2, ("OK", "not-found"), ("OK", "not-found"), ("OK", "OK"), ("OK", "OK")),
    ("WAIT", {"for": "1d"}, ("forbidden",) * 2, ("OK", "not-found"), ("OK", "not-found"), ("OK", "OK"), ("OK", "OK")),
    # of what is neither resolved nor closed: a conflict, for who may see it
    ("REOPEN", {}, ("forbidden",) * 2, ("conflict", "not-found"), ("conflict", "not-found"), ("conflict",) * 2, ("conflict",) * 2),
    ("CLOSE", {}, ("forbidden",) * 2, ("conflict", "not-found"), ("conflict", "not-found"), ("conflict",) * 2, ("conflict",) * 2),
    # nobody is known by it
    ("CUSTOMER", {}, ("forbidden",) * 2, ("not-found",) * 2, ("not-found",) * 2, ("not-found",) * 2, ("not-found",) * 2),
    ("FLAG", {"flag": "vip"}, ("forbidden",) * 2, ("not-found",) * 2, ("not-found",) * 2, ("not-found",) * 2, ("not-found",) * 2),
    ("RESOLVE", {"outcome": "upheld"}, ("forbidden",) * 2, ("OK", "not-found"), ("OK", "not-found"), ("OK", "OK"), ("OK", "OK")),
]


@pytest.mark.parametrize("row", TABLE, ids=lambda row: row[0])
def test_verbs_that_name_a_complaint(box, row):
    verb, args, *wanted = row
    for client, pair in zip(NAMES, wanted):
        for desk, code in zip(("care", "shop"), pair):
            ref = ask(box, "admin-all", "SUBMIT", key=letters.mark(), text="late", desk=desk)[1]["ref"]
            given = dict(args)
            if "into" in given:
                given["into"] = ask(box, "admin-all", "SUBMIT", key=letters.mark(), text="late", desk=desk)[1]["ref"]
            if "message" in given:
                given["message"] = str(box.db.value("select id from complaints where ref = %s", ref))
            before = box.db.row("select status, assignee, acked_by, outcome from complaints where ref = %s", ref)
            got, body, _ = ask(box, client, verb, ref=ref, **given)
            assert got == code, (client, verb, desk, body)
            if code != "OK":  # and nothing was changed
                assert box.db.row("select status, assignee, acked_by, outcome from complaints where ref = %s", ref) == before


def test_nothing_is_merged_into_what_one_may_not_see(box):
    care, shop = (ask(box, "admin-all", "SUBMIT", key=letters.mark(), text="late", desk=d)[1]["ref"] for d in ("care", "shop"))
    assert ask(box, "agent-care", "MERGE", ref=care, into=shop)[0] == "not-found"
    assert ask(box, "agent-both", "MERGE", ref=care, into=shop)[0] == "OK"
    assert ask(box, "agent-care", "SHOW", ref=care)[0] == "OK"  # it is of its desk still, and so is what it became part of
    assert ask(box, "agent-care", "SHOW", ref=shop)[0] == "OK"


def test_a_merge_that_is_undone_leaves_nobody_seeing_more(box):
    """Also when what it was merged into was merged on."""
    care, shop, third = (ask(box, "admin-all", "SUBMIT", key=letters.mark(), text="late", desk=d)[1]["ref"] for d in ("care", "shop", "shop"))
    first = str(box.db.value("select id from complaints where ref = %s", care))
    for way in ([(care, shop)], [(care, shop), (shop, third)]):
        for ref, into in way:
            assert ask(box, "agent-both", "MERGE", ref=ref, into=into)[0] == "OK"
        last = way[-1][1]
        assert ask(box, "agent-care", "SHOW", ref=last)[0] == "OK"
        assert ask(box, "agent-both", "SPLIT", ref=last, message=first)[1]["ref"] == care
        body = ask(box, "agent-care", "SHOW", ref=care)[1]
        assert body["desks"] == ["care"] and last not in str(body["links"]), "the other's reference is none of its business"
        assert ask(box, "agent-care", "SHOW", ref=last)[0] == "not-found"
        assert last in str(ask(box, "agent-both", "SHOW", ref=care)[1]["links"])
    assert ask(box, "agent-both", "MERGE", ref=care, into=third)[0] == "OK"  # and what stays merged keeps its desk
    opened = str(box.db.value("select id from complaints where ref = %s", shop))
    assert ask(box, "agent-both", "SPLIT", ref=third, message=opened)[1]["ref"] == shop
    assert [ask(box, "agent-care", "SHOW", ref=r)[0] for r in (third, shop)] == ["OK", "not-found"]

def test_a_client_joins_nothing_of_other_desks(box):
    """Who knows a reference and the customer would otherwise be told the category and team of what they may not see."""
    customer = {"email": f"{letters.mark()}@shop.example"}
    shop = ask(box, "admin-all", "SUBMIT", key=letters.mark(), text="The parcel is late", desk="shop", customer=customer)[1]["ref"]
    more = {"text": f"It came today, see {shop}", "customer": customer}
    word, body, _ = ask(box, "agent-care", "SUBMIT", key=letters.mark(), desk="care", **more)
    assert word == "OK" and body["ref"] != shop
    assert ask(box, "agent-care", "SHOW", ref=body["ref"])[0] == "OK"
    assert shop in str(ask(box, "admin-all", "SHOW", ref=body["ref"])[1]["links"])
    reasons = ask(box, "admin-all", "EXPLAIN", ref=body["ref"])[1]["decision"]["thread"]
    assert [r["verdict"] for r in reasons if r["ref"] == shop] == ["of desks that the client has nothing to do with"]
    for client in ("agent-both", "admin-all"):
        assert ask(box, client, "SUBMIT", key=letters.mark(), desk="care", **more)[1]["ref"] == shop


def linked(box):
    """A complaint of each desk, of which the one of "care" names the other: (care, shop)."""
    shop = ask(box, "admin-all", "SUBMIT", key=letters.mark(), text="late", desk="shop", customer={"email": f"{letters.mark()}@shop.example"})[1]["ref"]
    text = f"late as well, like {shop}"
    care = ask(box, "admin-all", "SUBMIT", key=letters.mark(), text=text, desk="care", customer={"email": f"{letters.mark()}@shop.example"})[1]["ref"]
    assert care != shop
    return care, shop


def told(box, client, verb, ref):
    word, body, _ = ask(box, client, verb, ref=ref)
    assert word == "OK", body
    body.pop("messages", None) if verb == "SHOW" else None  # what the customer wrote is what they wrote
    return json.dumps(body)


def events_of(box, client, ref, *kinds):
    return [r for r in ask(box, client, "SUBSCRIBE", after="0", follow=False, **({"kinds": list(kinds)} if kinds else {}))[2] if r.get("ref") == ref]


def test_links_and_reasons_do_not_name_what_one_may_not_see(box):
    care, shop = linked(box)
    for verb in ("SHOW", "EXPLAIN"):
        assert shop in told(box, "admin-all", verb, care) and shop in told(box, "agent-both", verb, care)
        assert shop not in told(box, "agent-care", verb, care)
        assert care in told(box, "agent-care", verb, care)
    assert [x["ref"] for x in ask(box, "agent-both", "SHOW", ref=care)[1]["links"]] == [shop]
    assert ask(box, "agent-care", "SHOW", ref=care)[1]["links"] == []
    evidence = ask(box, "agent-care", "EXPLAIN", ref=care)[1]["decision"]["thread"]
    assert evidence and all(e["ref"] is None and e["evidence"] for e in evidence)
    for row in ask(box, "agent-care", "LIST", limit=500)[2]:
        assert shop not in json.dumps(row)


def test_what_a_further_message_names(box):
    """Its evidence stands in its event, which SHOW, EXPLAIN and SUBSCRIBE give."""
    _, shop = linked(box)
    mark = letters.mark()
    sender = f"{mark}@shop.example"
    assert box.mail(letters.mail(f"Late {mark}", "late", sender=f"<{sender}>", message_id=f"{mark}@x"), sender)[0] == 250
    care = box.complaint_of(mark)["ref"]
    more = letters.mail(f"Re: Late {mark}", f"It is like {shop}", sender=f"<{sender}>", extra=[("In-Reply-To", f"<{mark}@x>")])
    assert box.mail(more, sender)[0] == 250
    for verb in ("SHOW", "EXPLAIN"):
        body = ask(box, "agent-both", verb, ref=care)[1]
        assert shop in json.dumps(body["events"] if verb == "SHOW" else body["messages"])
        assert shop not in told(box, "agent-care", verb, care)
    (all_of_it,) = events_of(box, "admin-all", care, "message-received")
    (row,) = events_of(box, "agent-care", care, "message-received")
    assert shop in json.dumps(all_of_it) and shop not in json.dumps(row)
    assert care in json.dumps(row["data"]) and row["data"]["digest"] == all_of_it["data"]["digest"]
    assert [e["evidence"] for e in row["data"]["thread"]] == [e["evidence"] for e in all_of_it["data"]["thread"]]


def test_what_became_of_a_notification_names_no_other_desk_either(box):
    """What was dropped by MERGE says into what, also after SPLIT has brought it back."""
    _, shop = linked(box)
    care = ask(box, "admin-all", "SUBMIT", key=letters.mark(), text="late", desk="care", customer={"email": f"{letters.mark()}@shop.example"})[1]["ref"]
    n = box.db.value("select n.id from notifications n join complaints c on c.id = n.complaint_id where c.ref = %s and purpose = 'acknowledgement'", care)
    wait_for(lambda: box.db.value("select state from notifications where id = %s", n) == "sent", 30, "its acknowledgement")
    box.db.execute("update notifications set last_error = 'merged into ' || %s where id = %s", shop, n)
    for verb in ("SHOW", "EXPLAIN"):
        assert shop in told(box, "agent-both", verb, care)
        got = told(box, "agent-care", verb, care)
        assert shop not in got and "merged into another complaint" in got


def test_what_is_split_off_for_another_desk_is_not_named(box):
    care, shop = (ask(box, "admin-all", "SUBMIT", key=letters.mark(), text="late", desk=d)[1]["ref"] for d in ("care", "shop"))
    opened = str(box.db.value("select id from complaints where ref = %s", shop))
    answer = ask(box, "agent-both", "MERGE", ref=shop, into=care)[1]
    assert (answer["ref"], answer["into"]) == (shop, care)
    assert shop in told(box, "agent-care", "SHOW", care)  # it leads to what the client has
    answer = ask(box, "agent-care", "SPLIT", ref=care, message=opened)[1]
    assert answer["from"] == care and answer["ref"] is None and shop not in json.dumps(answer)
    assert ask(box, "agent-care", "SHOW", ref=shop)[0] == "not-found"
    for verb in ("SHOW", "EXPLAIN"):
        assert shop not in told(box, "agent-care", verb, care)
    kinds = {r["kind"]: r["data"] for r in events_of(box, "agent-care", care)}
    assert {"merged", "split"} <= set(kinds) and shop not in json.dumps(kinds)
    assert shop in json.dumps(events_of(box, "admin-all", care))
    for verb in ("SHOW", "EXPLAIN"):
        assert shop in told(box, "agent-both", verb, care)


def test_what_names_no_complaint_has_desks_as_well(box):
    """VERIFY of all, a customer by a handle, and words that are searched."""
    word = letters.mark()
    email, elsewhere = (f"{letters.mark()}@shop.example" for _ in range(2))
    refs = {}
    for desk, address in (("care", email), ("shop", email), ("shop", elsewhere)):
        refs[desk] = ask(box, "admin-all", "SUBMIT", key=letters.mark(), text=f"late {word}", desk=desk, customer={"email": address})[1]["ref"]
    for client, mine in (("agent-care", ["care"]), ("agent-both", ["care", "shop"])):
        n = box.db.value("select count(*) from complaints where desks && %s", mine)
        assert ask(box, client, "VERIFY", limit=500)[1]["complaints"] == n
    assert ask(box, "agent-care", "CUSTOMER", handle=elsewhere)[0] == "not-found"
    assert ask(box, "agent-care", "FLAG", handle=elsewhere, flag="vip")[0] == "not-found"
    for client, total in (("agent-care", 1), ("agent-both", 2)):
        body = ask(box, client, "CUSTOMER", handle=email)[1]
        assert body["total"] == total == len(body["complaints"])
    seen = {client: {str(r["handles"]) for r in ask(box, client, "CUSTOMERS", limit=500)[2]} for client in ("agent-care", "agent-both")}
    assert any(email in h for h in seen["agent-care"]) and not any(elsewhere in h for h in seen["agent-care"])
    assert any(elsewhere in h for h in seen["agent-both"])
    wait_for(lambda: len(ask(box, "admin-all", "LIST", search=word)[2]) == 3, 30, "their words are written")
    assert [r["desk"] for r in ask(box, "agent-care", "LIST", search=word)[2]] == ["care"]
    assert ask(box, "agent-care", "LIST", search=refs["shop"])[2] == []


def test_every_verb_of_the_table_is_one_of_the_daemon(box):
    """A verb that takes a reference and stands in no row above has no test of its scope."""
    with open(os.path.join(ROOT, "daemon/cases/verbs.c"), encoding="utf-8") as f:
        verbs = set(re.findall(r'^    \{"([A-Z]+)", ROLE_', f.read(), re.M))
    assert verbs == {row[0] for row in TABLE} | {"LIST", "STATS", "ABSENT", "PRESENT", "ABSENCES", "CUSTOMERS", "QUEUE", "PENDING"}


def test_submit_list_stats_clock(box):
    for client, desk, code in (
        ("intake-care", "care", "OK"),
        ("intake-care", "shop", "bad-argument"),
        ("agent-care", "shop", "bad-argument"),
        ("agent-both", "shop", "OK"),
        ("admin-all", "shop", "OK"),
    ):
        assert ask(box, client, "SUBMIT", key=letters.mark(), text="late", desk=desk)[0] == code, (client, desk)
    ref = ask(box, "agent-care", "SUBMIT", key=letters.mark(), text="late")[1]["ref"]
    assert box.db.value("select desk from complaints where ref = %s", ref) == "care"
    for client, desks in (("agent-care", ["care"]), ("agent-both", ["care", "shop"]), ("admin-all", ["care", "shop"])):
        theirs = {r["ref"] for r in box.db.rows("select ref from complaints where desks && %s", desks)}
        assert {r["ref"] for r in ask(box, client, "LIST", limit=500)[2]} == theirs
    of_both = box.db.value("select count(*) from complaints where desks @> array['care', 'shop']")  # what was merged
    assert len(ask(box, "agent-care", "LIST", desk="shop")[2]) == of_both
    of_care = box.db.value("select count(*) from complaints where 'care' = any (desks) and status in ('new', 'open', 'waiting')")
    of_all = box.db.value("select count(*) from complaints where status in ('new', 'open', 'waiting')")
    assert of_care < of_all
    body = ask(box, "agent-care", "STATS")[1]
    assert body["open"]["total"] == of_care and "process" not in body and "notifications" not in body
    body = ask(box, "admin-all", "STATS")[1]
    assert body["open"]["total"] == of_all and "process" in body and "pending_triage" in body
    for verb in ("CLOCK", "QUEUE", "PENDING", "CONFIG"):  # no desk has them
        assert ask(box, "admin-care", verb)[0] == "forbidden"
        assert ask(box, "admin-all", verb)[0] == "OK"


def test_scopes_of_requests_on_one_connection_do_not_mix(box):
    """The daemon has one connection to the database for all of them."""
    care, shop = (ask(box, "admin-all", "SUBMIT", key=letters.mark(), text="late", desk=d)[1]["ref"] for d in ("care", "shop"))
    lines = [Line(box.line_port, TOKENS[c]) for c in ("agent-care", "agent-both", "admin-all")]
    for _ in range(20):
        for line in lines:
            for ref in (care, shop):
                line.send("EXPLAIN", {"ref": ref})
    for i, line in enumerate(lines):
        words = [line.answer()[0] for _ in range(40)]
        assert words == ["OK", "ERR" if i == 0 else "OK"] * 20
        line.close()


def test_a_subscriber_sees_the_events_of_its_desks(box):
    care, shop = (ask(box, "admin-all", "SUBMIT", key=letters.mark(), text="late", desk=d)[1]["ref"] for d in ("care", "shop"))
    seen = {c: {r["ref"] for r in ask(box, c, "SUBSCRIBE", after="0", follow=False)[2]} for c in ("agent-care", "agent-both")}
    assert care in seen["agent-care"] and shop not in seen["agent-care"]
    assert {care, shop} <= seen["agent-both"]
    assert ask(box, "agent-care", "SUBSCRIBE", desk="shop")[0] == "bad-argument"
    assert ask(box, "intake-care", "SUBSCRIBE")[0] == "forbidden"


def test_a_token_that_is_taken_away_ends_its_sessions(make_box):
    box = make_box(overlay=overlay())
    with Line(box.line_port, TOKENS["agent-care"]) as gone, Line(box.line_port, TOKENS["agent-both"]) as stays:
        gone.send("SUBSCRIBE")
        config = box.path("complaintd.yaml")
        with open(config, encoding="utf-8") as f:
            text = f.read()
        assert hashed("agent-care").upper() in text
        with open(config, "w", encoding="utf-8") as f:
            f.write(text.replace(hashed("agent-care").upper(), "0" * 64))
        os.kill(box.state["daemon"]["pid"], signal.SIGHUP)
        word, body, _ = gone.answer()
        assert word == "OK" and body["rows"] == 0
        assert gone.file.readline() == b""
        assert stays.ok("PING") == {}
        with pytest.raises(LineError) as e:
            Line(box.line_port, TOKENS["agent-care"])
        assert e.value.code == "auth-failed"


def test_complaintctl_token(box):
    shown = json.loads(box.ctl("--json", "token").stdout)
    assert hashlib.sha256(shown["token"].encode()).hexdigest() == shown["token_sha256"] and len(shown["token"]) >= 40
    assert shown["token"] != json.loads(box.ctl("--json", "token").stdout)["token"]
    text = box.ctl("token").stdout
    assert "token_sha256: " in text
