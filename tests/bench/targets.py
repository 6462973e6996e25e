"""The servers that are compared: a sandbox of this build, private instances of other mail servers, or one that runs already.

Each has a port, groups of CPU time, and a check after a round. Private instances live under the work folder on loopback
ports, need root, and are ended by their own process ids; nothing that is installed on the machine is configured or used.
"""
import glob
import json
import os
import shutil
import socket
import subprocess
import sys
import time

import procs

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(os.path.dirname(HERE))
sys.path.insert(0, os.path.join(ROOT, "tests", "support"))
import sandbox  # noqa: E402

TUNED = {"shared_buffers": "2GB", "wal_buffers": "64MB", "max_wal_size": "8GB", "min_wal_size": "2GB",
         "checkpoint_timeout": "30min", "effective_cache_size": "8GB", "wal_compression": "lz4", "jit": "off"}
DEFAULT = {"shared_buffers": "128MB"}
# What one accepted complaint leaves behind; each must grow by as many as were accepted.
ROWS = {"receipts": "select count(*) from complaintd.receipts",
        "complaints": "select count(*) from complaintd.complaints",
        "messages": "select count(*) from complaintd.messages where direction = 'in'",
        "events": "select count(*) from complaintd.events where seq = 1",
        "timers": "select count(*) from complaintd.timers",
        "notifications": "select count(*) from complaintd.notifications where purpose = 'acknowledgement'"}
ROWS_WITHIN = 5.0


class Wrong(Exception):
    """A round that does not count, and why."""


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def wait_port(port, seconds, what):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        with socket.socket() as s:
            s.settimeout(1)
            if s.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.05)
    raise Wrong(f"{what} does not listen on port {port}")


class Product:
    """complaintd of this build in a sandbox of its own, with an empty database."""

    def __init__(self, folder, settings, overlay, name="complaintd"):
        self.name = name
        self.box = sandbox.Sandbox(folder)
        self.box.postgres_settings = settings
        os.makedirs(folder, exist_ok=True)
        file = os.path.join(folder, "overlay.yaml")
        with open(file, "w", encoding="utf-8") as f:
            json.dump(overlay, f)  # JSON is YAML
        self.box.start(file)
        self.env = self.box.env()
        self.port = int(self.env["SMTP_PORT"])
        self.daemon, self.postmaster = self.box.state["daemon"]["pid"], self.box.state["postgres"]["pid"]
        self.sinks = self.box.state["sinks"]["pid"]
        self.counted = {}
        self.age_wal()

    def age_wal(self):
        """A database that has run for a while writes into recycled WAL files. A fresh one makes each file anew, 16 MB of zeros and a
        sync, which stops all commits for 50 ms and more; that is not what is measured here."""
        for _ in range(40):
            self.box.sql("select count(pg_logical_emit_message(false, 'age', repeat('x', 1000000))) from generate_series(1, 40)")
        self.box.sql("checkpoint")
        self.box.sql("checkpoint")

    def cpu(self, processes):
        return {"front": procs.own(processes, self.daemon), "workers": procs.descendants(processes, self.daemon),
                "postgres": procs.tree(processes, self.postmaster), "sinks": procs.tree(processes, self.sinks)}

    def count(self):
        row = self.box.sql("select " + ", ".join(f"({q})" for q in ROWS.values()))[0]
        return dict(zip(ROWS, (int(v) for v in row)))

    def before(self):
        self.counted = self.count()

    def after(self, accepted):
        """Rows that came in, and seconds until all were there; Wrong when they are not within five."""
        begin = time.monotonic()
        while True:
            now = self.count()
            grown = {k: now[k] - self.counted[k] for k in ROWS}
            passed = time.monotonic() - begin
            if all(v == accepted for v in grown.values()):
                return {"rows": grown, "rows_seconds": round(passed, 2)}
            if passed > ROWS_WITHIN or any(v > accepted for v in grown.values()):
                raise Wrong(f"{accepted} accepted, but rows grew by {grown}")
            time.sleep(0.1)

    def close(self):
        self.box.stop()
        shutil.rmtree(self.box.dir, ignore_errors=True)


class Peer:
    """A mail server that runs already: --peer HOST:PORT."""

    skips = ()  # scenarios that say nothing about it

    def __init__(self, port, name="peer", host="127.0.0.1"):
        self.name, self.port, self.host = name, port, host

    def cpu(self, processes):
        return {}

    def before(self):
        pass

    def after(self, accepted):
        return {}

    def close(self):
        pass


POSTFIX_SERVICES = """
pickup unix n - n 60 1 pickup
cleanup unix n - n - 0 cleanup
qmgr unix n - n 300 1 qmgr
tlsmgr unix - - n 1000? 1 tlsmgr
rewrite unix - - n - - trivial-rewrite
bounce unix - - n - 0 bounce
defer unix - - n - 0 bounce
trace unix - - n - 0 bounce
verify unix - - n - 1 verify
flush unix n - n 1000? 0 flush
proxymap unix - - n - - proxymap
error unix - - n - - error
retry unix - - n - - error
discard unix - - n - - discard
anvil unix - - n - 1 anvil
scache unix - - n - 1 scache
postlog unix-dgram n - n - 1 postlogd
"""


class Postfix(Peer):
    """Takes mail in as ever (queue file synced), without its brake between intake and delivery; delivers to discard:."""

    def __init__(self, folder):
        super().__init__(free_port(), "postfix")
        self.conf, self.queue, data = (os.path.join(folder, d) for d in ("conf", "queue", "data"))
        for d in (folder, self.conf, self.queue, data):
            os.makedirs(d, exist_ok=True)
            os.chmod(d, 0o755)
        shutil.chown(data, "postfix")
        self.settings = {
            "compatibility_level": "3.6", "queue_directory": self.queue, "data_directory": data, "myhostname": "peer.example",
            "inet_interfaces": "127.0.0.1", "inet_protocols": "ipv4", "mydestination": "", "mynetworks": "127.0.0.0/8",
            "in_flow_delay": "0", "smtpd_peername_lookup": "no", "disable_dns_lookups": "yes", "alias_maps": "",
            "alias_database": "", "default_transport": "discard:", "local_transport": "discard:",
            "relay_transport": "discard:", "virtual_transport": "discard:", "smtpd_recipient_limit": "1000",
            "smtpd_relay_restrictions": "permit_mynetworks, reject", "default_process_limit": "200",
            "maillog_file": os.path.join(folder, "log"), "maillog_file_prefixes": f"{folder}, /dev/stdout"}
        with open(os.path.join(self.conf, "main.cf"), "w", encoding="utf-8") as f:
            f.writelines(f"{k} = {v}\n" for k, v in self.settings.items())
        with open(os.path.join(self.conf, "master.cf"), "w", encoding="utf-8") as f:
            f.write(f"127.0.0.1:{self.port} inet n - n - 200 smtpd{POSTFIX_SERVICES}")
        self.run("start")
        wait_port(self.port, 20, "Postfix")
        with open(os.path.join(self.queue, "pid", "master.pid"), encoding="ascii") as f:
            self.master = int(f.read())

    @staticmethod
    def there():
        return os.geteuid() == 0 and os.access("/usr/sbin/postfix", os.X_OK)

    def run(self, verb):
        done = subprocess.run(["/usr/sbin/postfix", "-c", self.conf, verb], capture_output=True, text=True, check=False)
        if done.returncode:
            raise Wrong(f"postfix {verb}: {done.stderr.strip()}")

    def cpu(self, processes):
        return {"server": procs.tree(processes, self.master)}

    def after(self, accepted):
        """Deliveries go on for a moment; the next round begins with an empty queue."""
        end = time.monotonic() + 20
        while time.monotonic() < end:
            left = sum(len(glob.glob(os.path.join(self.queue, d, "**", "[0-9A-Za-z]*"), recursive=True))
                       for d in ("incoming", "active", "deferred"))
            if left == 0:
                return {}
            time.sleep(0.1)
        raise Wrong(f"Postfix's queue still holds {left}")

    def close(self):
        self.run("stop")


class OpenSmtpd(Peer):
    """Queues with delivery paused. Debian lets only one mail server be installed: with --install the package is unpacked
    under the work folder, and its users and spool are made and removed again."""

    skips = ("new50",)  # it listens with a backlog of 5: bursts of connections wait seconds for their SYN to be sent again
    SPOOL = "/var/spool/smtpd"

    def __init__(self, folder):
        super().__init__(free_port(), "opensmtpd")
        os.makedirs(folder, exist_ok=True)
        os.chmod(folder, 0o755)
        self.users, self.server, self.spool = [], None, not os.path.exists(self.SPOOL)
        program = "/usr/sbin/smtpd"
        try:
            if not os.path.exists(program):
                program = self.unpack(folder)
            self.prepare()
            conf, resolv = os.path.join(folder, "smtpd.conf"), os.path.join(folder, "resolv.conf")
            with open(conf, "w", encoding="utf-8") as f:
                f.write('smtp max-message-size 30M\nsmtp limit max-mails 1000000\n'
                        f'listen on 127.0.0.1 port {self.port} hostname peer.example\n'
                        'action "keep" relay host smtp://127.0.0.1:9\nmatch from any for any action "keep"\n')
            with open(resolv, "w", encoding="utf-8") as f:  # look-ups of the peer's name must fail at once
                f.write("lookup file\nnameserver 127.0.0.1\noptions timeout:1 attempts:1\n")
            with open(os.path.join(folder, "log"), "wb") as log:
                self.server = subprocess.Popen(
                    ["unshare", "-m", "sh", "-c", 'mount --bind "$1" /etc/resolv.conf; shift; exec "$@"', "sh", resolv,
                     program, "-d", "-P", "mda", "-P", "mta", "-f", conf], stdout=log, stderr=log, stdin=subprocess.DEVNULL)
            wait_port(self.port, 20, "OpenSMTPD")
        except BaseException:
            self.close()
            raise

    @staticmethod
    def there():
        return os.geteuid() == 0 and os.access("/usr/sbin/smtpctl", os.X_OK) and os.access("/usr/sbin/smtpd", os.X_OK)

    @staticmethod
    def unpack(folder):
        subprocess.run(["apt-get", "download", "-qq", "-o", "APT::Sandbox::User=root", "opensmtpd"], cwd=folder, check=True,
                       stdout=subprocess.DEVNULL)
        package = glob.glob(os.path.join(folder, "opensmtpd_*.deb"))[0]
        subprocess.run(["dpkg", "-x", package, os.path.join(folder, "root")], check=True)
        return os.path.join(folder, "root", "usr", "sbin", "smtpd")

    def prepare(self):
        for user in ("opensmtpd", "opensmtpq"):
            if subprocess.run(["id", user], capture_output=True, check=False).returncode:
                subprocess.run(["useradd", "--system", "--user-group", "--no-create-home", "--home-dir", "/nonexistent",
                                "--shell", "/usr/sbin/nologin", user], check=True)
                self.users.append(user)
        for path, mode, user, group in [("", 0o711, "root", "root"), ("offline", 0o770, "root", "opensmtpq"),
                                        *((d, 0o700, "opensmtpq", "root")
                                          for d in ("corrupt", "incoming", "purge", "queue", "temporary"))]:
            path = os.path.join(self.SPOOL, path)
            os.makedirs(path, exist_ok=True)
            os.chmod(path, mode)
            shutil.chown(path, user, group)
        for path in ("/var/lib/opensmtpd/empty", "/run/opensmtpd", "/var/empty"):
            os.makedirs(path, exist_ok=True)

    def cpu(self, processes):
        return {"server": procs.tree(processes, self.server.pid)}

    def close(self):
        if self.server:
            self.server.terminate()
            self.server.wait(20)
        if self.spool:
            shutil.rmtree(self.SPOOL, ignore_errors=True)
        for user in self.users:
            subprocess.run(["userdel", user], capture_output=True, check=False)
