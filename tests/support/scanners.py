"""Checkers of mail for the tests: the real clamd and the real rspamd, each with rules of our own and no net, and one of sockets that
misbehaves as it is told. Where a real one is not installed its tests are skipped with that word."""
import base64
import contextlib
import hashlib
import os
import shutil
import signal
import socket
import struct
import subprocess
import threading

import pytest
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa

from model import wait_for
from processes import PortReservation

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
HARMFUL = "this text is the harmful one of the tests"
UNWANTED = "this text is the unwanted one of the tests"


class Process:
    """Started again and again on the same address."""

    def __init__(self):
        self.process = None

    def start(self):
        with open(os.path.join(self.dir, "output"), "ab") as log:
            self.process = subprocess.Popen(self.command(), stdout=log, stderr=log, env=self.environment(), start_new_session=True)
        wait_for(self.is_up, 60, f"{self.command()[0]} answers")

    def environment(self):
        return dict(os.environ)

    def stop(self):
        if self.process and self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(20)
            except subprocess.TimeoutExpired:
                os.killpg(self.process.pid, signal.SIGKILL)
                self.process.wait(20)

    def freeze(self, frozen=True):
        os.killpg(self.process.pid, signal.SIGSTOP if frozen else signal.SIGCONT)


class Clamd(Process):
    def __init__(self, directory):
        super().__init__()
        self.program = shutil.which("clamd") or shutil.which("clamd", path="/usr/sbin")
        if not self.program:
            pytest.skip("clamd is not installed (package clamav-daemon)")
        self.dir, self.socket = directory, os.path.join(directory, "clamd")
        os.makedirs(os.path.join(directory, "signatures"))
        with open(os.path.join(directory, "signatures", "own.ndb"), "w", encoding="ascii") as f:
            f.write(f"Test.Harmful:0:*:{HARMFUL.encode().hex()}\nPUA.Test.Unwanted:0:*:{UNWANTED.encode().hex()}\n")
        with open(os.path.join(directory, "clamd.conf"), "w", encoding="ascii") as f:
            f.write(
                f"LocalSocket {self.socket}\nDatabaseDirectory {directory}/signatures\nForeground yes\nDetectPUA yes\n"
                f"StreamMaxLength 1M\nAlertExceedsMax yes\nTemporaryDirectory {directory}\n"
            )
        self.address = f"unix:{self.socket}"
        self.start()

    def command(self):
        return [self.program, "-c", os.path.join(self.dir, "clamd.conf")]

    def is_up(self):
        with socket.socket(socket.AF_UNIX) as s:
            try:
                s.connect(self.socket)
                s.sendall(b"zPING\0")
                return s.recv(100) == b"PONG\0"
            except OSError:
                return False


def rspamd_root():
    """Where rspamd stands: "" is installed; CD_RSPAMD or build/rspamd is a folder that tools/unpack_rspamd filled."""
    if shutil.which("rspamd"):
        return ""
    for root in (os.environ.get("CD_RSPAMD"), os.path.join(ROOT, "build", "rspamd", "root")):
        if root and os.access(os.path.join(root, "usr/bin/rspamd"), os.X_OK):
            return root
    pytest.skip("rspamd is neither installed nor unpacked (tools/unpack_rspamd)")
    return None


# Spam and what is worse is said by a field of the mail itself.
RSPAMD_LUA = """
local function when(name, score, text)
  rspamd_config:register_symbol({ name = name, score = score, callback = function(task)
    local h = task:get_header('X-Test')
    return h ~= nil and h:find(text, 1, true) ~= nil
  end })
end
when('TEST_SPAM', 7.0, 'spam')
when('TEST_HARMFUL', 20.0, 'harmful')
rspamd_config:register_symbol({ name = 'TEST_ENVELOPE', score = 0.0, callback = function(task)
  local from, ip, rcpt = task:get_from('smtp'), task:get_from_ip(), task:get_recipients('smtp')
  local told = string.format('%s %s %s %s %d', from and from[1].addr or '-', ip and ip:is_valid() and ip:to_string() or '-', task:get_helo() or '-',
                             task:get_queue_id(), rcpt and #rcpt or 0)
  local f = io.open(rspamd_paths.RUNDIR .. '/told', 'a')
  f:write(told .. '\\n')
  f:close()
  return false
end })
"""
# What rspamd's own modules find in a DNS of these records: honest.example sends from here and signs, strict.example never does and says that
# all else is forged, silent.example says nothing.
SENDER_SYMBOLS = (
    *(f"R_SPF_{x}" for x in ("ALLOW", "FAIL", "SOFTFAIL", "NEUTRAL", "NA", "DNSFAIL", "PERMFAIL")),
    *(f"R_DKIM_{x}" for x in ("ALLOW", "REJECT", "NA", "TEMPFAIL", "PERMFAIL")),
    *(f"DMARC_{x}" for x in ("POLICY_ALLOW", "POLICY_REJECT", "POLICY_QUARANTINE", "POLICY_SOFTFAIL", "NA", "DNSFAIL", "BAD_POLICY")),
)


class Signer:
    """DKIM (RFC 6376), relaxed/simple, of From and Subject: what a mail server of honest.example would put in front."""

    def __init__(self):
        self.key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        public = self.key.public_key().public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
        self.record = f"v=DKIM1; k=rsa; p={base64.b64encode(public).decode()}"

    def sign(self, raw):
        head, _, body = raw.partition(b"\r\n\r\n")
        body = body.rstrip(b"\r\n") + b"\r\n"
        found = {}
        for line in head.split(b"\r\n"):
            name, _, value = line.partition(b":")
            found[name.lower()] = b" ".join(value.split())
        field = (
            b"v=1; a=rsa-sha256; c=relaxed/simple; d=honest.example; s=test; h=from:subject; bh="
            + base64.b64encode(hashlib.sha256(body).digest())
            + b"; b="
        )
        signed = b"".join(n + b":" + found[n] + b"\r\n" for n in (b"from", b"subject")) + b"dkim-signature:" + field
        signature = self.key.sign(signed, padding.PKCS1v15(), hashes.SHA256())
        return b"DKIM-Signature: " + field + base64.b64encode(signature) + b"\r\n" + raw


class Rspamd(Process):
    def __init__(self, directory):
        super().__init__()
        self.root = rspamd_root()
        self.dir = directory
        ports = PortReservation()
        self.port = ports.take()
        ports.release()
        self.url = f"http://127.0.0.1:{self.port}"
        self.write("rules.lua", RSPAMD_LUA)
        self.write("domains", "com\nexample\n")
        self.signer = Signer()
        modules = os.path.join(directory, "modules")
        os.makedirs(modules)
        for name in ("spf.lua", "dmarc.lua"):
            shutil.copy(os.path.join(f"{self.root}/usr/share/rspamd/plugins", name), modules)
        known = {"honest.example": "v=spf1 ip4:127.0.0.1 -all", "test._domainkey.honest.example": self.signer.record,
                 "_dmarc.honest.example": "v=DMARC1; p=reject", "strict.example": "v=spf1 -all", "_dmarc.strict.example": "v=DMARC1; p=reject"}
        records = [f'{{ name = "{name}"; type = "txt"; replies = ["{text}"]; }}' for name, text in known.items()]
        records += [f'{{ name = "{name}"; type = "txt"; rcode = "nxdomain"; }}' for name in ("silent.example", "_dmarc.silent.example")]
        self.write(
            "rspamd.conf",
            f"""options {{
    pidfile = "{directory}/pid"; filters = "dkim"; rundir = "{directory}"; url_tld = "{directory}/domains"; hs_cache_dir = "{directory}";
    tempdir = "{directory}"; dynamic_conf = "{directory}/dynamic"; history_file = "{directory}/history"; local_addrs = ["192.0.2.0/24"];
    dns {{ nameserver = ["127.0.0.1:9"]; timeout = 100ms; retransmits = 1; fake_records = [ {", ".join(records)} ]; }}
}}
logging {{ type = "console"; level = "warning"; }}
modules {{ path = "{modules}/"; }}
spf {{ check_local = true; }}
dkim {{ check_local = true; }}
dmarc {{ check_local = true; }}
group "senders" {{ symbols {{ {" ".join(f'"{s}" {{ weight = 0.01; }}' for s in SENDER_SYMBOLS)} }} }}
lua = "{directory}/rules.lua";
worker "normal" {{ bind_socket = "127.0.0.1:{self.port}"; count = 1; }}
actions {{ reject = 15; add_header = 6; greylist = 4; }}
""",
        )
        self.start()

    def write(self, name, text):
        with open(os.path.join(self.dir, name), "w", encoding="utf-8") as f:
            f.write(text)

    def environment(self):
        lib = os.path.join(self.root, "usr/lib/x86_64-linux-gnu") + ":" + os.path.join(self.root, "usr/lib/rspamd")
        return {**os.environ, **({"LD_LIBRARY_PATH": lib} if self.root else {})}

    def command(self):
        share = f"{self.root}/usr/share/rspamd"
        places = {"LUALIBDIR": f"{share}/lualib", "SHAREDIR": share, "PLUGINSDIR": f"{share}/plugins", "RULESDIR": f"{share}/rules"}
        places |= {name: self.dir for name in ("DBDIR", "RUNDIR", "CONFDIR", "LOCAL_CONFDIR", "WWWDIR", "LOGDIR")}
        program = f"{self.root}/usr/bin/rspamd" if self.root else shutil.which("rspamd")
        return [program, "-f", "-i", "-c", f"{self.dir}/rspamd.conf", *(f"--var={k}={v}" for k, v in places.items())]

    def is_up(self):
        try:
            with socket.create_connection(("127.0.0.1", self.port), 1) as s:
                s.sendall(b"GET /ping HTTP/1.0\r\n\r\n")
                return b"pong" in s.recv(1000)
        except OSError:
            return False

    def told(self):
        with open(os.path.join(self.dir, "told"), encoding="utf-8") as f:
            return [line.split() for line in f]


def http(body, status="200 OK"):
    return f"HTTP/1.1 {status}\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n".encode() + body


class Odd:
    """A server that reads a whole request of rspamd's or clamd's protocol and then does as `behaviour` says: bytes to answer, None to
    keep still, b"" to close. Counts what it was asked."""

    def __init__(self, kind):
        self.kind, self.behaviour, self.asked, self.held = kind, b"", 0, []
        self.listener = socket.create_server(("127.0.0.1", 0), backlog=128)
        self.port = self.listener.getsockname()[1]
        self.address, self.url = f"127.0.0.1:{self.port}", f"http://127.0.0.1:{self.port}"
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self):
        while True:
            try:
                peer, _ = self.listener.accept()
            except OSError:
                return
            threading.Thread(target=self.serve, args=(peer,), daemon=True).start()

    def serve(self, peer):
        try:
            with peer, peer.makefile("rb") as f:
                self.read_http(f) if self.kind == "rspamd" else self.read_stream(f)
                self.asked += 1
                behaviour = self.behaviour
                if behaviour is None:
                    f.read()
                else:
                    peer.sendall(behaviour)
        except OSError:
            pass

    @staticmethod
    def read_http(f):
        length = 0
        while (line := f.readline()) not in (b"\r\n", b""):
            if line.lower().startswith(b"content-length:"):
                length = int(line.split(b":")[1])
        f.read(length)

    @staticmethod
    def read_stream(f):
        assert f.read(10) == b"zINSTREAM\0"
        while n := struct.unpack(">I", f.read(4))[0]:
            f.read(n)

    def stop(self):
        with contextlib.suppress(OSError):
            self.listener.shutdown(socket.SHUT_RDWR)  # or the thread in accept() would take one more
        self.listener.close()
