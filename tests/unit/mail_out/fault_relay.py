"""Relays that fail at a step of the dialogue, for test_faults.c.

fault_relay.py FAULT DIR EXTENSION…: prints a line "STEP PORT" for each step and serves until its standard input ends.
At its step a relay does what FAULT says: 421 (and closes), 451, 554, drop, silence, garbage (no SMTP), endless (a reply
without end), trickle (a byte now and then). Everywhere else it is a good one, with STARTTLS (DIR/cert.pem, for
localhost), AUTH PLAIN and the extensions given; it appends the name of its step to DIR/taken for each mail it takes.
"""
import os
import socket
import ssl
import subprocess
import sys
import threading
import time

FAULT, DIR, EXTENSIONS = sys.argv[1], sys.argv[2], sys.argv[3:]
STEPS = ["greeting", "ehlo", "starttls", "handshake", "tls-ehlo", "auth", "mail", "rcpt", "data", "text", "dot", "quit", "none"]
CERT, KEY = os.path.join(DIR, "cert.pem"), os.path.join(DIR, "key.pem")


class Over(Exception):
    """Nothing more on this connection."""


class Dialogue:
    def __init__(self, sock, step):
        self.sock, self.step, self.input, self.tls, self.open = sock, step, b"", False, True

    def line(self):
        while b"\n" not in self.input:
            self.more()
        line, _, self.input = self.input.partition(b"\n")
        return line.strip()

    def more(self):
        data = self.sock.recv(65536)
        if not data:
            raise Over
        self.input += data

    def say(self, step, text):
        if step == self.step:
            self.fail()
        else:
            self.sock.sendall(text.encode() + b"\r\n")

    def fail(self):
        if FAULT == "421":
            self.sock.sendall(b"421 4.3.2 going down\r\n")
            time.sleep(0.05)
            raise Over
        if FAULT in ("451", "554"):
            self.sock.sendall(f"{FAULT} {FAULT[0]}.7.1 not this\r\n".encode())
        elif FAULT == "drop":
            self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
            raise Over
        elif FAULT == "silence":
            time.sleep(60)
        elif FAULT == "garbage":
            self.sock.sendall(b"\x16\x03\x01 what is this?\r\n\0\xff\r\n")
        elif FAULT == "endless":
            while True:
                self.sock.sendall(b"250-and so on\r\n" * 50)
                time.sleep(0.005)
        elif FAULT == "trickle":
            for c in b"250 " + b"x" * 500 + b"\r\n":
                self.sock.sendall(bytes([c]))
                time.sleep(0.25)

    def hello(self):
        words = [*EXTENSIONS, "AUTH PLAIN", *([] if self.tls else ["STARTTLS"])]
        self.say("tls-ehlo" if self.tls else "ehlo", "250-relay\r\n" + "\r\n".join(f"250-{w}" for w in words) + "\r\n250 SIZE")

    def starttls(self):
        self.say("starttls", "220 go ahead")
        if self.step == "starttls":
            return
        if self.step == "handshake":
            self.more()  # its first words
            self.fail()
            raise Over
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(CERT, KEY)
        self.sock, self.tls = context.wrap_socket(self.sock, server_side=True), True

    def text(self):
        if self.step == "text":
            self.more()
            self.fail()
        while b"\r\n.\r\n" not in self.input:
            self.more()
        self.input = self.input.partition(b"\r\n.\r\n")[2]
        self.take()

    def chunk(self, words):
        while len(self.input) < int(words[1]):
            self.more()
        self.input = self.input[int(words[1]):]
        if len(words) > 2:
            self.take()
        else:
            self.say("data", "250 2.0.0 more")

    def take(self):
        if self.step != "dot":
            with open(os.path.join(DIR, "taken"), "a", encoding="ascii") as f:
                f.write(self.step + "\n")
        self.say("dot", "250 2.0.0 kept")

    def run(self):
        self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.say("greeting", "220 relay ESMTP")
        while True:
            words = self.line().upper().split()
            verb = words[0] if words else b""
            if verb in (b"EHLO", b"HELO"):
                self.hello()
            elif verb == b"STARTTLS":
                self.starttls()
            elif verb == b"AUTH":
                self.say("auth", "235 2.7.0 ok")
                self.open = self.step != "auth"
            elif not self.open and verb == b"MAIL":
                self.sock.sendall(b"530 5.7.0 authenticate\r\n")
            elif verb in (b"DATA", b"BDAT") and self.step in ("mail", "rcpt"):
                if verb == b"BDAT":
                    self.input = self.input[int(words[1]):]
                self.sock.sendall(b"503 5.5.1 no recipient\r\n")
            elif verb in (b"MAIL", b"RCPT"):
                self.say(verb.decode().lower(), "250 2.1.0 ok")
            elif verb == b"DATA":
                self.say("data", "354 go on")
                if not (self.step == "data" and FAULT in ("451", "554")):
                    self.text()
            elif verb == b"BDAT":
                self.chunk(words)
            elif verb == b"QUIT":
                self.say("quit", "221 bye")
                return
            else:
                self.sock.sendall(b"250 2.0.0 ok\r\n")


def serve(sock, step):
    dialogue = Dialogue(sock, step)
    try:
        dialogue.run()
    except (Over, OSError):
        pass
    finally:
        dialogue.sock.close()


def accept(listener, step):
    while True:
        threading.Thread(target=serve, args=(listener.accept()[0], step), daemon=True).start()


if not os.path.exists(CERT):
    subprocess.run(["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", KEY, "-out", CERT, "-days", "2",
                    "-subj", "/CN=relay", "-addext", "subjectAltName=DNS:localhost"], check=True, capture_output=True)
for name in STEPS:
    server = socket.create_server(("127.0.0.1", 0), backlog=20)
    threading.Thread(target=accept, args=(server, name), daemon=True).start()
    print(name, server.getsockname()[1], flush=True)
sys.stdin.read()
os._exit(0)
