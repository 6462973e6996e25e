"""Complaints by HTTP: what becomes of them, keys, who may, what is refused and with which words. Every answer is compared with
docs/openapi.yaml: a status, a type of body or a field that is not written there is a fault."""
import hashlib
import json
import os
import re
import secrets
import signal
import socket
import threading
import time

import pytest
import yaml

import clients
import letters
from model import wait_for
from sandbox import ROOT

with open(os.path.join(ROOT, "docs", "openapi.yaml"), encoding="utf-8") as described:
    API = yaml.safe_load(described)
SCHEMAS = API["components"]["schemas"]
JSON_TYPES = {"string": str, "integer": int, "boolean": bool, "object": dict, "null": type(None)}


def holds(value, schema):
    """Whether the value is as the part of JSON schema that the description uses says."""
    if "$ref" in schema:
        return holds(value, SCHEMAS[schema["$ref"].rsplit("/", 1)[1]])
    kinds = schema["type"] if isinstance(schema["type"], list) else [schema["type"]]
    if not any(type(value) is JSON_TYPES[k] for k in kinds):  # a bool is no integer
        return False
    if isinstance(value, dict):
        known = schema.get("properties", {})
        return set(schema.get("required", [])) <= set(value) <= set(known) and all(holds(v, known[k]) for k, v in value.items())
    return value in schema.get("enum", [value])


def as_described(answer, method="post", path="/v1/complaints"):
    responses = API["paths"][path][method]["responses"]
    assert str(answer.status) in responses, f"{answer.status} is not in docs/openapi.yaml: {answer.raw}"
    (kind, content), = responses[str(answer.status)]["content"].items()
    assert answer.type == kind and holds(answer.json, content["schema"]), (answer.type, answer.raw)
    assert answer.headers["Connection"] == "close" and answer.headers["Cache-Control"] == "no-store"
    if answer.status >= 400:
        assert answer.json["status"] == answer.status and answer.json["retry"] == (answer.status in (429, 503))
        codes = responses[str(answer.status)]["description"]
        assert re.search(rf"\b{answer.json['code']}:", codes), f"{answer.json['code']} is not said of {answer.status}"
    return answer


def stored(box, mark):
    return box.db.value("select count(*) from messages where strpos(coalesce(body, ''), %s) > 0", mark)


# ---- what becomes of a complaint ----


def test_json_becomes_a_complaint_after_the_commit(box):
    mark = letters.mark()
    complaint = {"channel": "kiosk", "subject": "Refund", "customer": {"phone": "13800138000", "name": "陈女士", "external_id": "客" * 200},
                 "text": f"I was charged twice, the refund never came {mark}", "remedy_sought": "My money back",
                 "representative": {"name": "Li Wei", "email": "Li.Wei@Law.example", "relation": "lawyer"}}
    answer = as_described(box.web(complaint, mark))
    assert answer.status == 201
    row = box.db.row("select * from complaints where ref = %s", answer.json["ref"])
    assert (row["channel"], row["desk"], row["subject"], row["degraded"]) == ("kiosk", "care", "Refund", False)
    assert (row["customer_phone"], row["customer_name"]) == ("+8613800138000", "陈女士")
    assert row["remedy_sought"] == "My money back"
    assert row["representative"] == {"name": "Li Wei", "email": "li.wei@law.example", "relation": "lawyer"}
    assert [answer.json[k] for k in ("category", "priority", "team")] == [row["category"], row["priority"], row["team"]]
    assert answer.json["outcome"] == "new" and answer.json["due"].endswith("Z")
    message = box.db.row("select m.raw, m.channel from messages m join complaints c on c.id = m.complaint_id where c.ref = %s", answer.json["ref"])
    assert message["channel"] == "web" and bytes(message["raw"]) == json.dumps(complaint, ensure_ascii=False).encode()
    shown = as_described(box.web(method="GET", path=answer.headers["Location"]), "get", "/v1/complaints/{ref}")
    assert shown.status == 200 and shown.json["ref"] == answer.json["ref"] and shown.json["status"] == "new"


def test_a_form_brings_files(box):
    mark, picture = letters.mark(), letters.png() + b"\r\n--not the boundary\r\n\0\xff"
    files = [("photo", picture, r"C:\pics\发票.png", "image/PNG"), ("mail", b"From: a\r\n\r\nb", "../../a.eml", "message/rfc822"),
             ("plain", b"", "", "text/plain"), ("nameless", b"just bytes")]
    sent, kind = clients.form([("complaint", json.dumps({"text": f"See the photo {mark}"}).encode()), *files])
    answer = as_described(box.web(body=sent, kind=kind, key=mark))
    assert answer.status == 201
    rows = box.db.rows(
        "select a.filename, a.content_type, a.size_bytes, encode(a.sha256, 'hex') as sha256,"
        " substr(m.raw, a.raw_offset::int + 1, a.raw_length::int) as bytes"
        " from complaintd.attachments a join complaintd.messages m on m.id = a.message_id join complaints c on c.id = m.complaint_id"
        " where c.ref = %s order by a.n", answer.json["ref"])
    assert [(r["filename"], r["content_type"]) for r in rows] == [
        ("发票.png", "image/png"), ("a.eml", "message/rfc822"), ("plain", "text/plain"), ("nameless", "application/octet-stream")]
    for r, (_, data, *_) in zip(rows, files):
        assert bytes(r["bytes"]) == data and r["size_bytes"] == len(data) and r["sha256"] == hashlib.sha256(data).hexdigest()
    row = box.db.row("select * from complaints where ref = %s", answer.json["ref"])
    assert row["body"] == f"See the photo {mark}" and not row["degraded"]
    raw = box.db.value("select m.raw from messages m where m.complaint_id = %s", row["id"])
    assert hashlib.sha256(raw).hexdigest() == hashlib.sha256(sent).hexdigest(), "the body as it came"
    with box.line("agent") as agent:
        (message,) = agent.ok("SHOW", ref=answer.json["ref"])["messages"]
        assert [(a["filename"], a["size_bytes"]) for a in message["attachments"]] == [
            (r["filename"], r["size_bytes"]) for r in rows]


def by_json_or_form(box, way, complaint, key):
    return as_described(box.web(complaint, key) if way == "json" else box.web_form(complaint, [("bill", b"%PDF-1.4", "bill.pdf", "application/pdf")], key))


@pytest.mark.parametrize("way", ["json", "form"])
def test_what_is_sought_and_who_complains_for_whom(box, way):
    mark = letters.mark()
    who = {"name": "李雷", "email": "Li.Lei@Law.example", "phone": "+86 138 0013 8555", "relation": "lawyer", "authority": "power of attorney of 2026-11-01"}
    complaint = {"text": f"I was charged twice {mark}", "customer": {"name": "Ann"}, "remedy_sought": "我要退款,\nand a word.", "representative": who}
    answer = by_json_or_form(box, way, complaint, mark)
    assert answer.status == 201
    stored = {**who, "email": "li.lei@law.example", "phone": "+8613800138555"}
    row = box.db.row("select * from complaints where ref = %s", answer.json["ref"])
    assert (row["remedy_sought"], row["representative"], row["degraded"]) == (complaint["remedy_sought"], stored, False)
    assert (row["customer_name"], row["customer_email"], row["customer_phone"]) == ("Ann", None, None)  # they are nobody's customer
    with box.line("agent") as agent:
        shown = agent.ok("SHOW", ref=answer.json["ref"])
        assert (shown["remedy_sought"], shown["representative"]) == (complaint["remedy_sought"], stored)
        assert len(shown["messages"][0].get("attachments", [])) == (way == "form")
        assert agent.ok("REPLY", ref=answer.json["ref"], text=f"We write to you {mark}")["transport"] == "mail"
    wait_for(lambda: [m for m in box.mails("li.lei@law.example") if mark in m.get_content()], 30, "the reply")
    assert by_json_or_form(box, way, complaint, mark).json["ref"] == answer.json["ref"]  # the same again
    other = {**complaint, "representative": {**who, "name": "Han Meimei"}}
    assert by_json_or_form(box, way, other, mark).json["code"] == "key-reused"


@pytest.mark.parametrize("way", ["json", "form"])
def test_what_cannot_be_sought_or_represent(box, way):
    before = box.db.value("select count(*) from receipts")
    for field, value in (("remedy_sought", " "), ("remedy_sought", 7), ("remedy_sought", "退" * 2001), ("representative", "Li"), ("representative", []),
                         ("representative.name", {}), ("representative.name", {"email": "a@b.example"}), ("representative.email", {"name": "x", "email": "a b"}),
                         ("representative.phone", {"name": "x", "phone": "13800138000"}), ("representative.relation", {"name": "x", "relation": "a\nb"}),
                         ("representative.authority", {"name": "x", "authority": "a" * 201}), ("representative.shoe_size", {"name": "x", "shoe_size": "44"})):
        answer = by_json_or_form(box, way, {"text": "x", field.partition(".")[0]: value}, letters.mark())
        assert (answer.status, answer.json["code"], answer.json["field"]) == (422, "bad-argument", field), (value, answer.json)
    assert box.db.value("select count(*) from receipts") == before
    assert by_json_or_form(box, way, {"text": "x", "remedy_sought": "退" * 2000}, letters.mark()).status == 201


def test_an_encoded_part_is_kept_as_it_came_and_seen_by_people(box):
    mark = letters.mark()
    body = (f'--b\r\nContent-Disposition: form-data; name="complaint"\r\n\r\n{{"text":"{mark}"}}\r\n'
            '--b\r\nContent-Disposition: form-data; name="f"; filename*=UTF-8\'\'%E5%8F%91.txt\r\n'
            'Content-Transfer-Encoding: base64\r\n\r\nYQ==\r\n--b--').encode()
    answer = as_described(box.web(body=body, kind='Multipart/Form-Data; Boundary="b"', key=mark))
    row = box.db.row("select * from complaints where ref = %s", answer.json["ref"])
    assert row["degraded"] and row["body"] == mark
    kept = box.db.row("select a.filename, a.size_bytes, a.encoding from complaintd.attachments a join complaintd.messages m"
                      " on m.id = a.message_id where m.complaint_id = %s", row["id"])
    assert (kept["filename"], kept["size_bytes"], kept["encoding"]) == ("发.txt", 4, "binary")


def test_25_megabytes(make_box):
    box = make_box()
    mark, data = letters.mark(), secrets.token_bytes(25 * 1024 * 1024 - 2000)
    answer = as_described(box.web_form({"text": f"A film {mark}"}, [("film", data, "f.mp4", "video/mp4")], mark))
    assert answer.status in (201, 202)
    wait_for(lambda: box.db.value("select count(*) from pending") == 0, 60, "triaged")
    row = box.complaint_of(mark)
    kept = box.db.row("select encode(a.sha256, 'hex') as sha256, encode(sha256(substr(m.raw, a.raw_offset::int + 1, a.raw_length::int)), 'hex')"
                      " as bytes from complaintd.attachments a join complaintd.messages m on m.id = a.message_id where m.complaint_id = %s", row["id"])
    assert kept["sha256"] == kept["bytes"] == hashlib.sha256(data).hexdigest() and not row["degraded"]
    assert box.metric("complaintd_intake_reading_bytes") == 0
    assert as_described(box.web_form({"text": f"A film {mark}"}, [("film", data, "f.mp4", "video/mp4")], mark)).status == 200


# ---- keys ----


def test_the_same_key_again(box):
    key = secrets.token_hex(8)
    one = as_described(box.web({"text": "The invoice is wrong", "customer": {"name": "A"}}, key))
    again = as_described(box.web(body=b' { "customer":{"name":"A"},\n"text":"The invoice is wr\\u006fng"}', key=f'"{key}"'))
    assert (one.status, again.status) == (201, 200) and again.json == {**one.json, "outcome": "duplicate"}
    other = as_described(box.web({"text": "Something else"}, key))
    assert (other.status, other.json["code"], other.json["field"]) == (422, "key-reused", "Idempotency-Key")
    theirs = as_described(box.web({"text": "Something else"}, key, role="admin"))
    assert theirs.status == 201 and theirs.json["ref"] != one.json["ref"], "keys are each client's own"


def test_the_same_form_again_has_another_boundary(box):
    key, complaint = secrets.token_hex(8), {"text": "See the photo"}
    photo = ("photo", b"\x89PNG", "a.png", "image/png")
    one = as_described(box.web_form(complaint, [photo], key, "one"))
    again = as_described(box.web_form(complaint, [photo], key, "another-one"))
    assert (one.status, again.status) == (201, 200) and again.json["ref"] == one.json["ref"]
    for files in ([], [("photo", b"\x89PNF", "a.png", "image/png")], [("photo", b"\x89PNG", "b.png", "image/png")], [photo, photo]):
        assert as_described(box.web_form(complaint, files, key)).json["code"] == "key-reused"
    assert as_described(box.web(complaint, key)).json["code"] == "key-reused"


def test_30_the_same_key_50_times_at_once(make_box):
    box = make_box(overlay={"triage": {"budget": "30s"}})  # a slow machine shall not make it 202
    mark, answers = letters.mark(), []
    before = box.metrics()['complaintd_intake_total{channel="web",outcome="duplicate"}']

    def send():
        answers.append(as_described(box.web_form({"text": f"Charged twice {mark}"}, [("f", b"x" * 5000, "f.txt", "text/plain")], mark)))

    threads = [threading.Thread(target=send) for _ in range(50)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert len(answers) == 50 and sorted(a.status for a in answers) == [200] * 49 + [201]
    assert len({(a.json["ref"], a.json["category"], a.json["team"], a.json["due"]) for a in answers}) == 1
    assert stored(box, mark) == 1
    assert box.db.value("select count(*) from receipts where channel = 'web' and key = %s", f"sandbox:{mark}") == 1
    assert box.metrics()['complaintd_intake_total{channel="web",outcome="duplicate"}'] == before + 49


# ---- who may ----


def test_only_clients_may(box):
    mark, before = letters.mark(), box.metric("complaintd_web_auth_failures_total")
    body = json.dumps({"text": mark}).encode()
    good = box.token("intake")
    for value in (None, "Bearer", "Bearer ", "Bearer wrong", f"Bearer {good}x", f"Bearer {good[:-1]}", f"Basic {good}", good, f"Bearer {good} x"):
        headers = {"Content-Type": "application/json", "Idempotency-Key": mark, **({"Authorization": value} if value is not None else {})}
        answer = as_described(clients.http_request(box.e["HTTP_PORT"], "POST", "/v1/complaints", body, headers))
        assert (answer.status, answer.headers["WWW-Authenticate"]) == (401, 'Bearer realm="complaintd"'), value
    assert as_described(box.web(method="GET", path="/v1/complaints/C-0000-0000-0012", role=None), "get", "/v1/complaints/{ref}").status == 401
    assert box.metric("complaintd_web_auth_failures_total") == before + 10
    assert stored(box, mark) == 0
    for role in ("intake", "agent", "admin"):
        assert as_described(box.web({"text": mark}, mark, role=role)).status == 201


def head_of(box, length, token, key="k", kind="application/json", more=""):
    return (f"POST /v1/complaints HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {token}\r\nContent-Type: {kind}\r\n"
            f"Idempotency-Key: {key}\r\nContent-Length: {length}\r\n{more}\r\n").encode()


def test_a_body_is_not_waited_for_when_the_head_says_no(box):
    """Before any of it is read, and the answer arrives although the client goes on sending."""
    for token, length, status in (("wrong", 20_000_000, 401), (box.token("intake"), 300_000, 413), (box.token("intake"), 10**15, 413)):
        with socket.create_connection(("127.0.0.1", int(box.e["HTTP_PORT"])), timeout=5) as sock:
            sock.sendall(head_of(box, length, token))
            answer = sock.makefile("rb").readline()
        assert answer.startswith(b"HTTP/1.1 %d " % status)
    got, closed = clients.http_bytes(box.e["HTTP_PORT"], head_of(box, 20_000_000, "wrong") + b"x" * 20_000_000)
    assert got.startswith(b"HTTP/1.1 401 ") and closed and got.count(b"HTTP/1.1") == 1
    assert box.metric("complaintd_intake_reading_bytes") == 0


# ---- what is refused ----


def test_methods_kinds_and_keys(box):
    before = box.metric("complaintd_web_refused_total")
    for method, path, allow in (("GET", "/v1/complaints", "POST"), ("DELETE", "/v1/complaints", "POST"), ("PUT", "/v1/complaints", "POST"),
                                ("POST", "/v1/complaints/C-0000-0000-0012", "GET, HEAD"), ("POST", "/healthz", "GET, HEAD")):
        answer = box.web(method=method, path=path, body=b"" if method != "GET" else None, key="k")
        assert (answer.status, answer.json["code"], answer.headers["Allow"]) == (405, "method", allow)
    for kind in ("text/plain", "application/jsonx", "application/json; charset=gb2312", "application/x-www-form-urlencoded", ""):
        assert as_described(box.web(body=b"{}", kind=kind, key="k")).status == 415
    for kind in ("multipart/form-data", "multipart/form-data; boundary=", "multipart/form-data; boundary=" + "b" * 71,
                 "multipart/form-data; boundary=a; boundary=b", 'multipart/form-data; boundary="a b "'):
        assert as_described(box.web(body=b"{}", kind=kind, key="k")).json["code"] == "bad-form"
    for key in (None, '""', "k" * 201, 'a"b', "\xe9"):
        answer = as_described(box.web({"text": "x"}, key=key))
        assert (answer.status, answer.json["code"]) == (400, "key-missing"), key
    assert as_described(box.web({"text": "x"}, key="k" * 200)).status in (200, 201)
    for ref in ("nonsense", "C-0000-0000-0012", "%ff", "C-0000-0000-0012/x"):
        answer = as_described(box.web(method="GET", path="/v1/complaints/" + ref), "get", "/v1/complaints/{ref}")
        assert answer.status == 404
    assert box.web(method="GET", path="/v1/complaint").json["code"] == "not-found"
    assert box.metric("complaintd_web_refused_total") >= before + 14


@pytest.mark.parametrize("body, status, code, field", [
    (b"", 400, "bad-json", None),
    (b"{", 400, "bad-json", None),
    (b"[]", 400, "bad-json", None),
    (b'"text"', 400, "bad-json", None),
    (b'{"text":"x"} {}', 400, "bad-json", None),
    (b'\xef\xbb\xbf{"text":"x"}', 400, "bad-json", None),
    (b'{"text":"\xff\xfe"}', 400, "bad-json", None),
    (b'{"text":"\xed\xa0\x80"}', 400, "bad-json", None),
    (b'{"text":"\\ud800"}', 400, "bad-json", None),
    (b'{"text":"a\\u0000b"}', 400, "bad-json", None),
    (b'{"text":"x"}\0', 400, "bad-json", None),
    (b'{"text":"x","text":"y"}', 400, "bad-json", None),
    (b'{"text":' + b"[" * 17 + b"]" * 17 + b"}", 400, "bad-json", None),
    (b'{"a":' * 100_00 + b"1" + b"}" * 10_000, 400, "bad-json", None),
    (b'{"text":' + b"1" * 400 + b"}", 400, "bad-json", None),
    (b'{"text":1}', 422, "bad-argument", "text"),
    (b'{"text":null}', 422, "bad-argument", "text"),
    (b'{"text":" \\n"}', 422, "bad-argument", "text"),
    (b"{}", 422, "bad-argument", "text"),
    (b'{"text":"x","key":"k"}', 422, "bad-argument", "key"),
    (b'{"text":"x","typo":1}', 422, "bad-argument", "typo"),
    (b'{"text":"x","subject":"a\\nb"}', 422, "bad-argument", "subject"),
    (b'{"text":"x","subject":"' + b"s" * 1001 + b'"}', 422, "bad-argument", "subject"),
    (b'{"text":"x","priority":"urgent"}', 422, "bad-argument", "priority"),
    (b'{"text":"x","desk":"nobody"}', 422, "bad-argument", "desk"),
    (b'{"text":"x","customer":"me"}', 422, "bad-argument", "customer"),
    (b'{"text":"x","customer":{"email":"a@b@c"}}', 422, "bad-argument", "customer.email"),
    (b'{"text":"x","customer":{"phone":13800138000}}', 422, "bad-argument", "customer.phone"),
    (b'{"text":"x","customer":{"age":"7"}}', 422, "bad-argument", "customer.age"),
    (b'{"text":"' + b"x" * 1_000_000 + b'"}', 413, "too-large", None),
])
def test_bad_json(box, body, status, code, field):
    answer = as_described(box.web(body=body, key=secrets.token_hex(8)))
    assert (answer.status, answer.json["code"], answer.json.get("field")) == (status, code, field), answer.raw


GOOD = b'Content-Disposition: form-data; name="complaint"\r\n\r\n{"text":"x"}\r\n'
FILE = b'Content-Disposition: form-data; name="f"; filename="f"\r\n\r\nx\r\n'


@pytest.mark.parametrize("body", [
    b"",
    b"--b--",
    b"--b\r\n" + GOOD,
    b"--b\r\n" + GOOD + b"--b",
    b"--b\r\n" + GOOD + b"--b-",
    b"--b\r\n" + GOOD + b"--b--\r\nepilogue",
    b"prologue\r\n--b\r\n" + GOOD + b"--b--",
    b"--b\n" + GOOD.replace(b"\r\n", b"\n") + b"--b--",
    b"--b \r\n" + GOOD + b"--b--",
    b"--b\r\n" + GOOD + b"--b2\r\n" + FILE + b"--b--",
    b"--b\r\n" + GOOD + b"--b\r\n" + GOOD + b"--b--",
    b"--b\r\n" + FILE + b"--b--",
    b"--b\r\n" + GOOD + b"--b\r\n\r\nno head\r\n--b--",
    b"--b\r\n" + GOOD + b"--b\r\nContent-Type: text/plain\r\n\r\nno name\r\n--b--",
    b"--b\r\n" + GOOD + b'--b\r\nContent-Disposition: attachment; name="f"\r\n\r\nx\r\n--b--',
    b"--b\r\n" + GOOD + b'--b\r\nContent-Disposition: form-data; name="f"; name="complaint"\r\n\r\nx\r\n--b--',
    b"--b\r\n" + GOOD + b'--b\r\nContent-Disposition: form-data; name="f\r\n\r\nx\r\n--b--',
    b"--b\r\n" + GOOD + b'--b\r\nnonsense\r\nContent-Disposition: form-data; name="f"\r\n\r\nx\r\n--b--',
    b"--b\r\n" + GOOD + b"--b\r\nX: " + b"x" * 5000 + b"\r\n" + FILE + b"--b--",
])
def test_bad_forms(box, body):
    answer = as_described(box.web(body=body, kind="multipart/form-data; boundary=b", key=secrets.token_hex(8)))
    assert (answer.status, answer.json["code"]) == (400, "bad-form"), answer.raw


# ---- limits ----

SMALL = {"web": {"max_body": "200kB", "max_json": "2kB", "max_files": 2, "max_client_requests": 3, "max_client_bytes": "256kB",
                 "body_timeout": "6s"},
         "intake": {"max_bytes": "1MB"}, "mail": {"max_message": "512kB"}}


def hits(box, limit):
    return box.metrics()[f'complaintd_web_limit_hits_total{{limit="{limit}"}}']


def test_each_limit_is_reached_and_counted(make_box):
    box = make_box(overlay=SMALL)
    file = ("f", b"x", "f", "text/plain")
    for limit, send in (
        ("json", lambda: box.web({"text": "x" * 3000}, "k")),
        ("json", lambda: box.web_form({"text": "x" * 3000}, [], "k")),
        ("body", lambda: box.web_form({"text": "x"}, [("f", b"x" * 300_000, "f", "text/plain")], "k")),
        ("files", lambda: box.web_form({"text": "x"}, [file] * 3, "k")),
    ):
        before = hits(box, limit)
        answer = as_described(send())
        assert (answer.status, answer.json["code"], hits(box, limit)) == (413, "too-large", before + 1), limit
    assert as_described(box.web_form({"text": "x"}, [file] * 2, "k")).status == 201


def test_a_client_has_its_share_and_no_more(make_box):
    box = make_box(overlay=SMALL)
    kind, token, port = "multipart/form-data; boundary=b", box.token("intake"), int(box.e["HTTP_PORT"])

    def hold(length):
        sock = socket.create_connection(("127.0.0.1", port), timeout=20)
        sock.sendall(head_of(box, length, token, kind=kind))
        return sock

    one = hold(150_000)
    wait_for(lambda: box.metric("complaintd_intake_reading_bytes") == 150_000, 5, "its place is kept")
    answer = as_described(box.web_form({"text": "x"}, [("f", b"x" * 150_000, "f", "text/plain")], "k"))
    assert (answer.status, answer.json["code"], answer.headers["Retry-After"]) == (429, "too-many", "5")
    assert hits(box, "client-bytes") == 1
    assert as_described(box.web_form({"text": "x"}, [("f", b"x" * 150_000, "f", "text/plain")], "k2", None)).status == 429
    assert as_described(box.web({"text": "x"}, "k3", role="admin")).status == 201, "another client has its own"
    two, three = hold(1000), hold(1000)
    wait_for(lambda: box.metric("complaintd_intake_reading_bytes") == 152_000, 5)
    answer = as_described(box.web({"text": "x"}, "k4"))
    assert (answer.status, hits(box, "client-requests")) == (429, 1)
    timeouts = box.metric("complaintd_http_timeouts_total")
    three.close()  # a client that goes away gives its place back before its time is over
    wait_for(lambda: box.metric("complaintd_intake_reading_bytes") == 151_000, 5, "the place of who went")
    assert as_described(box.web({"text": "x"}, "k4")).status == 201
    assert one.recv(100) == b"" and two.recv(100) == b"", "web.body_timeout"
    wait_for(lambda: box.metric("complaintd_intake_reading_bytes") == 0, 5)
    assert box.metric("complaintd_http_timeouts_total") == timeouts + 2
    one.close()
    two.close()


def test_over_the_budget_a_large_body_is_put_off_before_it_is_sent(make_box):
    box = make_box(overlay={"intake": {"max_bytes": "1MB"}, "mail": {"max_message": "512kB"}})
    before = box.metrics()['complaintd_intake_busy_total{channel="web"}']
    with socket.create_connection(("127.0.0.1", int(box.e["HTTP_PORT"])), timeout=5) as sock:
        sock.sendall(head_of(box, 2_000_000, box.token("intake"), kind="multipart/form-data; boundary=b", more="Expect: 100-continue\r\n"))
        answer = sock.recv(2000)
    assert answer.startswith(b"HTTP/1.1 503 ") and b"\r\nRetry-After: 5\r\n" in answer and b'"retry":true' in answer
    assert box.metrics()['complaintd_intake_busy_total{channel="web"}'] == before + 1
    assert as_described(box.web({"text": "x"}, "k")).status == 201


def test_a_client_that_asks_first_is_told_to_go_on(box):
    mark = letters.mark()
    body = json.dumps({"text": mark}).encode()
    with socket.create_connection(("127.0.0.1", int(box.e["HTTP_PORT"])), timeout=5) as sock:
        sock.sendall(head_of(box, len(body), box.token("intake"), mark, more="Expect: 100-continue\r\n"))
        assert sock.recv(2000) == b"HTTP/1.1 100 Continue\r\n\r\n"
        sock.sendall(body)
        assert sock.recv(2000).startswith(b"HTTP/1.1 201 ")
    assert stored(box, mark) == 1


# ---- later ----


def test_no_worker_in_time_is_202_and_triaged_later(make_box):
    box = make_box(overlay={"triage": {"workers": 1, "budget": "100ms", "deadline": "3s"}})
    wait_for(lambda: as_described(box.web({"text": "Before"}, letters.mark())).status == 201, 30, "a worker that answers in time")
    (worker,) = box.workers("triage")
    os.kill(worker, signal.SIGSTOP)
    mark = letters.mark()
    answer = as_described(box.web({"text": mark}, mark))
    assert answer.status == 202 and answer.json["outcome"] == "accepted" and "ref" not in answer.json
    again = as_described(box.web({"text": mark}, mark))
    assert again.status == 202 and again.json["outcome"] == "accepted"
    row = wait_for(lambda: stored(box, mark) and box.complaint_of(mark), 30, "triaged by a new worker")
    assert as_described(box.web({"text": mark}, mark)).json["ref"] == row["ref"]


def test_a_client_that_does_not_wait_loses_nothing(box):
    mark = letters.mark()
    body = json.dumps({"text": mark}).encode()
    with socket.create_connection(("127.0.0.1", int(box.e["HTTP_PORT"])), timeout=5) as sock:
        sock.sendall(head_of(box, len(body), box.token("intake"), mark) + body)
    wait_for(lambda: stored(box, mark) == 1, 10, "stored")
    time.sleep(0.2)
    assert as_described(box.web({"text": mark}, mark)).status == 200


def test_every_path_that_is_described_is_there(box):
    for path, methods in API["paths"].items():
        real = path.replace("{ref}", "C-0000-0000-0012")
        for method in methods:
            answer = box.web(method=method.upper(), path=real, body=b"{}" if method == "post" else None, key="k", role=None)
            as_described(answer, method, path)
            assert (answer.status == 401) == bool(methods[method]["security"])
