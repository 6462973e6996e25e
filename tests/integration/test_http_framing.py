"""reliability: HTTP requests that two readers could cut differently (test 29). Direct: 400 (411 for sound chunks) and a closed connection, and what is hidden
behind never executed. Behind nginx and HAProxy, where they are installed: a complaint is executed only where the proxy itself saw a
request and answered it."""
import json
import os
import secrets
import shutil
import socket
import subprocess
import time

import pytest

import clients
import letters
import processes
from model import wait_for


def hidden(box, mark):
    """A whole request that would be taken if anything executed it."""
    body = json.dumps({"text": mark}).encode()
    return (f"POST /v1/complaints HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {box.token('intake')}\r\nContent-Type: application/json\r\n"
            f"Idempotency-Key: {mark}\r\nContent-Length: {len(body)}\r\n\r\n").encode() + body


def head(box, *fields, key=None):
    lines = [b"POST /v1/complaints HTTP/1.1", b"Host: x", b"Authorization: Bearer " + box.token("intake").encode(),
             b"Content-Type: application/json", b"Idempotency-Key: " + (key or secrets.token_hex(8)).encode(), *fields]
    return b"\r\n".join(lines) + b"\r\n\r\n"


def chunked(data):
    return b"%x\r\n%s\r\n0\r\n\r\n" % (len(data), data)


def length(n):
    return b"Content-Length: %d" % n


BODY = b'{"text":"front"}'
# name -> the bytes in front of, around, or with the hidden request
VECTORS = {
    "cl-te": lambda box, h: head(box, length(5 + len(h)), b"Transfer-Encoding: chunked") + b"0\r\n\r\n" + h,
    "te-cl": lambda box, h: head(box, b"Transfer-Encoding: chunked", length(4)) + chunked(h),
    "te-te": lambda box, h: head(box, b"Transfer-Encoding: chunked", b"Transfer-Encoding: identity") + chunked(h),
    "te-obscured": lambda box, h: head(box, b"Transfer-Encoding: xchunked", length(len(BODY))) + BODY + h,
    "te-tab": lambda box, h: head(box, b"Transfer-Encoding:\tchunked", length(4)) + chunked(h),
    "te-list": lambda box, h: head(box, b"Transfer-Encoding: gzip, chunked") + chunked(h),
    "te-quoted": lambda box, h: head(box, b'Transfer-Encoding: "chunked"', length(len(BODY))) + BODY + h,
    "chunked": lambda box, h: head(box, b"Transfer-Encoding: chunked") + chunked(BODY) + h,
    "duplicate-length": lambda box, h: head(box, length(len(BODY)), length(len(BODY) + len(h))) + BODY + h,
    "same-length-twice": lambda box, h: head(box, length(len(BODY)), length(len(BODY))) + BODY + h,
    "length-list": lambda box, h: head(box, b"Content-Length: %d, %d" % (len(BODY), len(BODY))) + BODY + h,
    "space-before-colon": lambda box, h: head(box, b"Content-Length : %d" % len(BODY)) + BODY + h,
    "plus-length": lambda box, h: head(box, b"Content-Length: +%d" % len(BODY)) + BODY + h,
    "minus-length": lambda box, h: head(box, b"Content-Length: -1") + BODY + h,
    "hex-length": lambda box, h: head(box, b"Content-Length: 0x10") + BODY + h,
    "huge-length": lambda box, h: head(box, b"Content-Length: 18446744073709551632") + BODY + h,
    "obs-fold": lambda box, h: head(box, b"X: a", b" Content-Length: 999", length(len(BODY))) + BODY + h,
    "obs-fold-value": lambda box, h: head(box, b"Content-Length:", b" %d" % len(BODY)) + BODY + h,
    "bare-lf": lambda box, h: head(box, b"X: a\nContent-Length: %d" % len(BODY)) + BODY + h,
    "bare-lf-all": lambda box, h: head(box, length(len(BODY))).replace(b"\r\n", b"\n") + BODY + h,
    "bare-cr": lambda box, h: head(box, b"X: a\rContent-Length: 0", length(len(BODY))) + BODY + h,
    "nul": lambda box, h: head(box, b"X: a\0b", length(len(BODY))) + BODY + h,
    "chunk-extension": lambda box, h: head(box, b"Transfer-Encoding: chunked") + b"10;x=\ny\r\n" + BODY + b"\r\n0\r\n\r\n" + h,
    "chunk-bare-lf": lambda box, h: head(box, b"Transfer-Encoding: chunked") + b"10\n" + BODY + b"\r\n0\r\n\r\n" + h,
    "two-hosts": lambda box, h: head(box, b"Host: y", length(len(BODY))) + BODY + h,
    "absolute-target": lambda box, h: head(box, length(len(BODY))).replace(b" /v1", b" http://y/v1") + BODY + h,
    "http-2": lambda box, h: head(box, length(len(BODY))).replace(b"HTTP/1.1", b"HTTP/2.0") + BODY + h,
    "get-with-hidden-body": lambda box, h: b"GET /healthz HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\nContent-Length: %d\r\n\r\n" % len(h) + h,
}


def executed(box, mark):
    return box.db.value("select count(*) from messages where strpos(coalesce(body, ''), %s) > 0", mark) + box.db.value(
        "select count(*) from pending")


@pytest.mark.parametrize("vector", VECTORS)
def test_29_direct(box, vector):
    mark = letters.mark()
    bad = box.metric("complaintd_http_bad_requests_total")
    got, closed = clients.http_bytes(box.e["HTTP_PORT"], VECTORS[vector](box, hidden(box, mark)))
    assert closed and got.count(b"HTTP/1.1 ") == 1, got
    assert got[9:12] == (b"411" if vector == "chunked" else b"400"), got  # honest chunks are refused as well, and told why
    assert b"\r\nConnection: close\r\n" in got and executed(box, mark) == 0
    assert box.metric("complaintd_http_bad_requests_total") == bad + 1


@pytest.mark.parametrize("size", [1, 7, 100])
def test_29_direct_in_pieces(box, size):
    """The same verdict however the bytes arrive."""
    mark = letters.mark()
    data = VECTORS["duplicate-length"](box, hidden(box, mark))
    with socket.create_connection(("127.0.0.1", int(box.e["HTTP_PORT"])), timeout=10) as sock:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        try:
            for i in range(0, len(data), size):
                sock.sendall(data[i:i + size])
        except OSError:
            pass
        got = b""
        try:
            while piece := sock.recv(4096):
                got += piece
        except ConnectionResetError:
            pass
    assert got.startswith(b"HTTP/1.1 400 ") and got.count(b"HTTP/1.1 ") == 1 and executed(box, mark) == 0


def test_29_a_pipelined_second_request_is_never_executed(box):
    first, second = letters.mark(), letters.mark()
    got, closed = clients.http_bytes(box.e["HTTP_PORT"], hidden(box, first) + hidden(box, second))
    assert closed and got.count(b"HTTP/1.1 ") == 1 and got.startswith(b"HTTP/1.1 201 ")
    got, closed = clients.http_bytes(box.e["HTTP_PORT"], b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n" + hidden(box, second))
    assert closed and got.count(b"HTTP/1.1 ") == 1
    time.sleep(0.3)
    assert executed(box, first) == 1 and executed(box, second) == 0


# ---- behind a proxy ----

NGINX = """daemon off; master_process off; pid {dir}/pid; error_log {dir}/error;
events {{}}
http {{
  access_log off; client_body_temp_path {dir}/a; proxy_temp_path {dir}/b; fastcgi_temp_path {dir}/c; uwsgi_temp_path {dir}/d; scgi_temp_path {dir}/e;
  server {{ listen 127.0.0.1:{port}; client_max_body_size 26m;
    location / {{ proxy_pass http://127.0.0.1:{to}; proxy_http_version 1.1; proxy_set_header Connection close; }} }}
}}
"""
HAPROXY = """defaults
  mode http
  timeout connect 5s
  timeout client 5s
  timeout server 20s
listen a
  bind 127.0.0.1:{port}
  option httpclose
  http-request wait-for-body time 5s at-least 1
  server s 127.0.0.1:{to}
"""


def free_port():
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return sock.getsockname()[1]


@pytest.fixture(params=["nginx", "haproxy"])
def proxy(request, box, tmp_path):
    """The port of the proxy in front of the shared sandbox's HTTP server."""
    program = shutil.which(request.param, path=os.environ["PATH"] + ":/usr/sbin")
    if not program:
        pytest.skip(f"{request.param} is not installed")
    port = free_port()
    config = tmp_path / "config"
    config.write_text((NGINX if request.param == "nginx" else HAPROXY).format(dir=tmp_path, port=port, to=box.e["HTTP_PORT"]))
    argv = [program, "-c" if request.param == "nginx" else "-f", str(config)]
    child = subprocess.Popen(argv, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        wait_for(lambda: processes.http_status(f"http://127.0.0.1:{port}/healthz") == 200, 10, f"{request.param} answers")
        yield port
    finally:
        child.terminate()
        child.wait(10)


@pytest.mark.parametrize("vector", VECTORS)
def test_29_behind_a_proxy(box, proxy, vector):
    """What the proxy lets through is one request for both, or none: never more complaints than answers that say so."""
    mark = letters.mark()
    got, _ = clients.http_bytes(proxy, VECTORS[vector](box, hidden(box, mark)), timeout=7)
    time.sleep(0.2)
    taken = got.count(b"HTTP/1.1 201 ")
    assert executed(box, mark) <= taken and got.count(b"HTTP/1.1 ") <= 2, got


def test_a_complaint_comes_through_a_proxy(box, proxy):
    mark = letters.mark()
    body, kind = clients.form([("complaint", json.dumps({"text": mark}).encode()), ("f", b"x" * 300_000, "f.bin", "application/octet-stream")])
    headers = {"Authorization": "Bearer " + box.token("intake"), "Idempotency-Key": mark, "Content-Type": kind}
    answer = clients.http_request(proxy, "POST", "/v1/complaints", body, headers)
    assert answer.status == 201 and executed(box, mark) == 1
    assert clients.http_request(proxy, "POST", "/v1/complaints", body, {**headers, "Authorization": "Bearer wrong"}).status == 401
