#!/usr/bin/python3
"""A client of complaintd's line protocol (docs/protocol.md), on the standard library alone.

    line_client.py [OPTIONS] submit < FILE      a complaint a line: the object of a SUBMIT, with its "key"; prints its answer, a line each
    line_client.py [OPTIONS] follow CURSORFILE  prints events as they come; the file keeps how far they were dealt with

Both survive a connection that breaks: a SUBMIT without an answer is sent again with its key, which is safe, and events go on from the
cursor. Options: --host --port --token-file, --tls (from the first byte) or --starttls, --ca-file, --tls-name, --pipeline N.
"""
import argparse
import collections
import json
import os
import socket
import ssl
import sys
import time


class Refused(Exception):
    """ERR: `code`, `message`, `retry`."""

    def __init__(self, body):
        super().__init__(f"{body['code']}: {body['message']}")
        self.body = body


class Line:
    """One connection."""

    def __init__(self, options):
        self.sock = socket.create_connection((options.host, options.port), timeout=60)
        if options.tls:
            self.secure(options)
        self.file = self.sock.makefile("rb")
        if options.starttls:
            self.call("STARTTLS")
            self.secure(options)
            self.file = self.sock.makefile("rb")
        with open(options.token_file, encoding="utf-8") as f:
            self.call("AUTH", token=f.readline().strip())

    def secure(self, options):
        context = ssl.create_default_context(cafile=options.ca_file)
        self.sock = context.wrap_socket(self.sock, server_hostname=options.tls_name or options.host)

    def send(self, verb, args):
        self.sock.sendall(f"{verb} {json.dumps(args, ensure_ascii=False)}\n".encode())

    def receive(self):
        """(word, object): ROW, OK or ERR."""
        line = self.file.readline()
        if not line.endswith(b"\n"):
            raise ConnectionError("the connection broke")
        word, _, body = line.decode().partition(" ")
        return word, json.loads(body)

    def call(self, verb, **args):
        self.send(verb, args)
        word, body = self.receive()
        if word == "ERR":
            raise Refused(body)
        return body


def submit(options, complaints, answered):
    """Keeps `options.pipeline` requests under way; those without an answer are sent again on a new connection."""
    waiting, rest = collections.deque(), iter(complaints)
    while True:
        try:
            line = Line(options)
            for complaint in waiting:
                line.send("SUBMIT", complaint)
            while True:
                while len(waiting) < options.pipeline and (complaint := next(rest, None)):
                    waiting.append(complaint)
                    line.send("SUBMIT", complaint)
                if not waiting:
                    return
                word, body = line.receive()
                if word == "ERR" and body["retry"]:  # behind the others, once more; a moment later
                    time.sleep(0.5)
                    waiting.rotate(-1)
                    line.send("SUBMIT", waiting[-1])
                    continue
                answered(waiting.popleft(), word, body)
        except OSError as e:  # not Refused: a wrong token stays wrong
            print(f"{e}: connecting again", file=sys.stderr)
            time.sleep(1)


def follow(options, cursor_file, deal_with):
    """Exactly once by the cursor: deal_with() first, then the cursor is kept. Dealing with an event twice after a crash in between is
    what a cursor kept together with the effect (in one transaction) would spare."""
    while True:
        try:
            cursor = {"after": open(cursor_file, encoding="utf-8").read().strip()} if os.path.exists(cursor_file) else {}
            line = Line(options)
            line.send("SUBSCRIBE", cursor)
            while True:
                word, body = line.receive()
                if word == "ERR":
                    raise Refused(body)
                if word == "OK":
                    break
                if "kind" in body:
                    deal_with(body)
                with open(cursor_file + ".new", "w", encoding="utf-8") as f:
                    f.write(body["cursor"] + "\n")
                os.replace(cursor_file + ".new", cursor_file)
        except OSError as e:
            print(f"{e}: connecting again", file=sys.stderr)
        time.sleep(1)


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--host", default="localhost")
    p.add_argument("--port", type=int, default=7070)
    p.add_argument("--token-file", required=True)
    p.add_argument("--tls", action="store_true")
    p.add_argument("--starttls", action="store_true")
    p.add_argument("--ca-file")
    p.add_argument("--tls-name")
    p.add_argument("--pipeline", type=int, default=50)
    p.add_argument("command", choices=("submit", "follow"))
    p.add_argument("cursor_file", nargs="?")
    options = p.parse_args()
    try:
        if options.command == "follow":
            follow(options, options.cursor_file or p.error("follow needs CURSORFILE"), lambda e: print(json.dumps(e), flush=True))
        lines = (json.loads(text) for text in sys.stdin if text.strip())
        submit(options, lines, lambda complaint, word, body: print(complaint["key"], word, json.dumps(body, ensure_ascii=False), flush=True))
    except Refused as e:
        sys.exit(str(e))


if __name__ == "__main__":
    main()
