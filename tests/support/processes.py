"""Processes by id and start time, ports, and small looks at both. A process is named {"pid", "start"}: an id that another
process has got meanwhile has another start time, and is then never signalled nor waited for."""
import contextlib
import glob
import os
import random
import socket
import time
import urllib.error
import urllib.request


class Trouble(Exception):
    """Something the caller can read and act on."""


def start_time(pid):
    """The kernel's start time of a living process, None when it is gone or only waits for its parent."""
    try:
        with open(f"/proc/{pid}/stat", encoding="utf-8", errors="replace") as f:
            fields = f.read().rpartition(")")[2].split()
    except OSError:
        return None
    return None if fields[0] in "ZX" else int(fields[19])


def alive(proc):
    return bool(proc) and start_time(proc["pid"]) == proc["start"]


def send_signal(proc, sig):
    if alive(proc):
        with contextlib.suppress(ProcessLookupError):
            os.kill(proc["pid"], sig)


def wait_gone(procs, seconds):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        for p in procs:
            with contextlib.suppress(
                ChildProcessError, TypeError
            ):  # our own child, when a test imported this: no zombie
                os.waitpid(p["pid"], os.WNOHANG)
        if not any(alive(p) for p in procs):
            return True
        time.sleep(0.02)
    return not any(alive(p) for p in procs)


def children(pid):
    """Living children of a process: [(pid, command line)]."""
    found = []
    for stat in glob.glob("/proc/[0-9]*/stat"):
        with contextlib.suppress(OSError):
            with open(stat, encoding="utf-8", errors="replace") as f:
                fields = f.read().rpartition(")")[2].split()
            if int(fields[1]) == pid and fields[0] not in "ZX":
                child = int(stat.split("/")[2])
                with open(f"/proc/{child}/cmdline", "rb") as f:
                    found.append((child, f.read().replace(b"\0", b" ").decode(errors="replace").strip()))
    return found


def marked(directory):
    """Processes that carry this sandbox's mark in their environment: the daemon, its workers, the sinks."""
    mark = b"CD_SANDBOX=" + os.fsencode(directory)
    found = []
    for path in glob.glob("/proc/[0-9]*/environ"):
        with contextlib.suppress(OSError):
            with open(path, "rb") as f:
                if mark in f.read().split(b"\0"):
                    pid = int(path.split("/")[2])
                    start = start_time(pid)
                    if start is not None and pid != os.getpid():
                        found.append({"pid": pid, "start": start})
    return found


def tail(path, lines=15):
    try:
        with open(path, encoding="utf-8", errors="replace") as f:
            return "".join(f.readlines()[-lines:]).rstrip()
    except OSError:
        return ""


class PortReservation:
    """Free loopback ports below the range the kernel gives to outgoing connections, so that a client's own end never
    takes one while the daemon is down. An abstract socket a port keeps two sandboxes that start together apart."""

    def __init__(self):
        self.locks = []

    def take(self):
        for _ in range(2000):
            port = random.SystemRandom().randrange(10240, 32000)
            lock = socket.socket(socket.AF_UNIX)
            try:
                lock.bind(f"\0complaintd-sandbox-port-{port}")
                with socket.socket() as probe:
                    probe.bind(("127.0.0.1", port))
            except OSError:
                lock.close()
                continue
            self.locks.append(lock)
            return port
        raise Trouble("no free loopback port found")

    def release(self):
        for lock in self.locks:
            lock.close()
        self.locks = []


def listening(port):
    with socket.socket() as s:
        s.settimeout(1)
        return s.connect_ex(("127.0.0.1", port)) == 0


def http_status(url):
    try:
        with urllib.request.urlopen(url, timeout=5) as answer:
            return answer.status
    except urllib.error.HTTPError as e:
        return e.code
    except (OSError, ValueError, urllib.error.URLError, Exception):  # not up yet, half up, gone: all the same here
        return 0
