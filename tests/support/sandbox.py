#!/usr/bin/python3
"""A whole complaintd on loopback under one folder: tools/sandbox is this program, the tests import it.

Who owns what: everything stands under DIR, except, when DIR's path is too long for a unix socket or closed to the
user `postgres`, a folder under /tmp that `stop` removes (the database moves back into DIR). Processes are ended by
process id, and only when the id still belongs to the process that was started (its start time is compared).
Failures raise Trouble, with what was seen; the command line prints it and ends with 1.
"""
import argparse
import contextlib
import json
import os
import secrets
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import urllib.parse

import yaml

from postgres import give_to_postgres, may_reach, pg, pg_program
from processes import (
    PortReservation,
    Trouble,
    alive,
    http_status,
    listening,
    marked,
    send_signal,
    start_time,
    tail,
    wait_gone,
)
from sandbox_config import ACCOUNT_SID, DESK_ADDRESS, generated, merge, read_overlay

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
SUPPORT = os.path.join(ROOT, "tests", "support")
SOCKET_PATH_MAX = 107
PORT_NAMES = ("smtp", "http", "line", "metrics", "sink_smtp", "sink_http")


class Sandbox:
    """One folder's sandbox; its facts are kept in DIR/sandbox.json between calls."""

    postgres_settings = {}  # beyond those of every sandbox; the benchmarks have some

    def __init__(self, directory):
        self.dir = os.path.realpath(directory)
        self.state_file = os.path.join(self.dir, "sandbox.json")
        self.state = {}
        if os.path.exists(self.state_file):
            with open(self.state_file, encoding="utf-8") as f:
                self.state = json.load(f)

    # -- where things are --

    def path(self, *names):
        return os.path.join(self.dir, *names)

    def build(self):
        return os.path.abspath(
            self.state.get("build") or os.environ.get("CD_BUILD") or os.path.join(ROOT, "build", "release")
        )

    def control_socket(self):
        return os.path.join(self.state["sockets"], "control")

    def lmtp_socket(self):
        return os.path.join(self.state["sockets"], "lmtp") if self.state.get("sockets") else ""

    def dsn(self):
        quoted = self.state["sockets"].replace("\\", "\\\\").replace("'", "\\'")
        return f"host='{quoted}' dbname=complaintd user=complaintd"

    def database_url(self):
        return "postgresql://complaintd@/complaintd?host=" + urllib.parse.quote(self.state["sockets"], safe="")

    def env(self):
        p = self.state["ports"]
        daemon = self.state.get("daemon") or {}
        return {
            "SMTP_PORT": str(p["smtp"]),
            "LMTP_SOCKET": self.lmtp_socket(),
            "HTTP_PORT": str(p["http"]),
            "LINE_PORT": str(p["line"]),
            "LINE_TOKEN": self.state["line_token"],
            "ADMIN_TOKEN": self.state["admin_token"],
            "SMTP_RCPT": DESK_ADDRESS,
            "SMS_TWILIO_URL": f"http://127.0.0.1:{p['http']}/sms/twilio/main",
            "SMS_TWILIO_TOKEN": self.state["sms_token"],
            "METRICS_URL": f"http://127.0.0.1:{p['metrics']}/metrics",
            "DATABASE_URL": self.database_url(),
            "MAIL_OUTBOX": self.path("outbox", "mail"),
            "SMS_OUTBOX": self.path("outbox", "sms.jsonl"),
            "WEBHOOK_OUTBOX": self.path("outbox", "webhook.jsonl"),
            "CONFIG": self.path("complaintd.yaml"),
            "CTL": f"{os.path.join(self.build(), 'complaintctl')} --config {self.path('complaintd.yaml')}",
            "DAEMON_PID": str(daemon.get("pid", "")),
        }

    def save(self):
        temporary = self.state_file + ".new"
        with open(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w", encoding="utf-8") as f:
            json.dump(self.state, f, indent=1)
        os.replace(temporary, self.state_file)
        if "ports" not in self.state:
            return
        with open(
            os.open(self.path("env.new"), os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w", encoding="utf-8"
        ) as f:
            f.writelines(f"{name}={quote(value)}\n" for name, value in self.env().items())
        os.replace(self.path("env.new"), self.path("env"))

    # -- start, restart, stop --

    def start(self, overlay=None):
        if any(alive(self.state.get(k)) for k in ("daemon", "sinks", "postgres")):
            raise Trouble(f"{self.dir}: a sandbox runs here already; stop it first")
        build = os.path.abspath(os.environ.get("CD_BUILD") or os.path.join(ROOT, "build", "release"))
        for program in ("complaintd", "complaintctl"):
            if not os.access(os.path.join(build, program), os.X_OK):
                raise Trouble(f"{build}/{program} is missing: build first (tools/build {os.path.basename(build)})")
        over = read_overlay(overlay) if overlay else {}
        os.makedirs(self.dir, exist_ok=True)
        ports = PortReservation()
        try:
            self.state.setdefault("line_token", secrets.token_hex(16))
            self.state.setdefault("agent_token", secrets.token_hex(16))
            self.state.setdefault("admin_token", secrets.token_hex(16))
            self.state.setdefault("sms_token", secrets.token_hex(16))
            self.state.setdefault("webhook_secret", secrets.token_hex(16))
            self.state.update(build=build, ports={name: ports.take() for name in PORT_NAMES})
            self.make_folders()
            self.save()
            self.start_postgres()
            self.write_config(over)
            self.start_sinks()
            self.ctl("migrate")
            self.sql("update complaintd.clock set sandbox = true")
            self.start_daemon()
        except BaseException:
            self.stop()
            raise
        finally:
            ports.release()

    def restart(self):
        if not self.state.get("sockets"):
            raise Trouble(f"{self.dir}: no sandbox runs here; start it first")
        if alive(self.state.get("daemon")):
            raise Trouble(f"the daemon runs already, process {self.state['daemon']['pid']}")
        if not alive(self.state.get("postgres")):
            self.start_postgres()
        if not alive(self.state.get("sinks")):
            self.start_sinks()
        # The workers of a daemon that was killed end at the end of file on their socket: a moment, not more.
        left = [p for p in marked(self.dir) if p["pid"] != self.state["sinks"]["pid"]]
        if not wait_gone(left, 5):
            raise Trouble(
                "workers of the dead daemon are still running: " + " ".join(str(p["pid"]) for p in left if alive(p))
            )
        self.start_daemon()

    def stop(self):
        """Ends what was started and removes sockets and borrowed folders; calling it again changes nothing."""
        unclean = []
        daemon = self.state.get("daemon")
        if alive(daemon):
            send_signal(daemon, signal.SIGTERM)
            if not wait_gone([daemon], 30):
                unclean.append("the daemon did not end within 30 s of SIGTERM")
                send_signal(daemon, signal.SIGKILL)
                wait_gone([daemon], 5)
        sinks = self.state.get("sinks")
        left = [p for p in marked(self.dir) if not sinks or p["pid"] != sinks["pid"]]
        if not wait_gone(left, 5):
            unclean.append("workers outlived the daemon: " + " ".join(str(p["pid"]) for p in left if alive(p)))
            for p in left:
                send_signal(p, signal.SIGKILL)
            wait_gone(left, 5)
        for sig, seconds in ((signal.SIGTERM, 5), (signal.SIGKILL, 5)):
            send_signal(sinks, sig)
            if wait_gone([sinks], seconds):
                break
        self.stop_postgres()
        self.remove_borrowed()
        for key in ("daemon", "sinks", "postgres", "sockets"):
            self.state.pop(key, None)
        if os.path.isdir(self.dir) and self.state:
            self.save_stopped()
        if unclean:
            raise Trouble("; ".join(unclean))

    def save_stopped(self):
        with open(self.state_file, "w", encoding="utf-8") as f:
            json.dump(self.state, f, indent=1)

    # -- folders --

    def make_folders(self):
        os.chmod(self.dir, os.stat(self.dir).st_mode | 0o111)  # mktemp -d makes 0700: `postgres` must get through
        for name in ("state", "outbox", "log"):
            os.makedirs(self.path(name), exist_ok=True)
        for name in ("rules", "policies", "calendars", "templates"):
            shutil.rmtree(self.path(name), ignore_errors=True)
            shutil.copytree(os.path.join(ROOT, "config", name), self.path(name))
        reachable = may_reach(self.dir)
        longest = len(os.fsencode(self.path("s", ".s.PGSQL.5432.lock")))
        if reachable and longest <= SOCKET_PATH_MAX:
            self.state["sockets"] = self.path("s")
            shutil.rmtree(self.path("s"), ignore_errors=True)
            os.mkdir(self.path("s"))
        else:
            self.state["sockets"] = self.state["borrowed"] = tempfile.mkdtemp(prefix="cd-", dir="/tmp")
            os.chmod(self.state["borrowed"], 0o755)
        give_to_postgres(self.state["sockets"])
        if reachable:
            self.state["cluster"] = self.path("pg")
        else:  # as under root's home: the cluster lives in the borrowed folder while it runs
            self.state["cluster"] = os.path.join(self.state["borrowed"], "pg")
            if os.path.isdir(self.path("pg")):
                shutil.move(self.path("pg"), self.state["cluster"])
            os.symlink(self.state["cluster"], self.path("pg"))

    def remove_borrowed(self):
        borrowed = self.state.pop("borrowed", None)
        if borrowed and os.path.isdir(borrowed):
            cluster = os.path.join(borrowed, "pg")
            if os.path.isdir(cluster):
                with contextlib.suppress(OSError):
                    os.unlink(self.path("pg"))
                shutil.move(cluster, self.path("pg"))
            shutil.rmtree(borrowed, ignore_errors=True)
        shutil.rmtree(self.path("s"), ignore_errors=True)

    # -- PostgreSQL --

    def start_postgres(self):
        cluster = self.state["cluster"]
        fresh = not os.path.exists(os.path.join(cluster, "PG_VERSION"))
        if fresh:
            os.makedirs(cluster, mode=0o700, exist_ok=True)
            give_to_postgres(cluster)
            pg(
                "initdb",
                "-D",
                cluster,
                "-A",
                "trust",
                "-U",
                "complaintd",
                "-E",
                "UTF8",
                "--locale=C.UTF-8",
                "--no-sync",
                "--no-instructions",
                log=self.path("log", "initdb.log"),
            )
        settings = {
            "listen_addresses": "",
            "unix_socket_directories": self.state["sockets"],
            "max_connections": "60",
            "shared_buffers": "128MB",
            "log_error_verbosity": "terse",
            "log_checkpoints": "off",
            "logging_collector": "off",
            **self.postgres_settings,
        }
        with open(os.path.join(cluster, "postgresql.auto.conf"), "w", encoding="utf-8") as f:
            f.writelines("{} = '{}'\n".format(k, v.replace("'", "''")) for k, v in settings.items())
        log = os.path.join(cluster, "server.log")
        try:
            pg("pg_ctl", "-w", "-t", "60", "-D", cluster, "-l", log, "start", log=self.path("log", "pg_ctl.log"))
        except Trouble as e:
            raise Trouble(f"{e}\n{tail(log)}") from e
        with open(os.path.join(cluster, "postmaster.pid"), encoding="utf-8") as f:
            pid = int(f.readline())
        self.state["postgres"] = {"pid": pid, "start": start_time(pid)}
        self.save()
        if fresh:
            pg(
                "createdb",
                "-h",
                self.state["sockets"],
                "-U",
                "complaintd",
                "complaintd",
                log=self.path("log", "initdb.log"),
            )

    def stop_postgres(self, *how):
        postgres = self.state.get("postgres")
        for sig in how or (signal.SIGINT, signal.SIGQUIT):  # fast, then immediate
            send_signal(postgres, sig)
            if wait_gone([postgres], 30):
                return

    def sql(self, text):
        """Runs one statement with psql; rows as lists of text."""
        done = subprocess.run(
            [
                pg_program("psql"),
                "-X",
                "-q",
                "-A",
                "-t",
                "-F",
                "\x1f",
                "-v",
                "ON_ERROR_STOP=1",
                "-d",
                self.database_url(),
                "-c",
                text,
            ],
            capture_output=True,
            text=True,
            check=False,
            cwd="/",
        )
        if done.returncode:
            raise Trouble(f"psql: {done.stderr.strip()}")
        return [line.split("\x1f") for line in done.stdout.splitlines()]

    # -- configuration, daemon, sinks --

    def write_config(self, over):
        defaults, fixed = generated(self)
        config = merge(merge(defaults, over), fixed)
        config["mail"]["lmtp_listen"] += over.get("mail", {}).get("lmtp_listen") or []
        with open(
            os.open(self.path("complaintd.yaml"), os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w", encoding="utf-8"
        ) as f:
            f.write("# Made by tools/sandbox; made anew at each start.\n")
            yaml.safe_dump(config, f, sort_keys=False, allow_unicode=True, width=110)

    def spawn(self, argv, log, **env):
        with open(log, "ab") as out:
            child = subprocess.Popen(
                argv,
                cwd=self.dir,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=out,
                start_new_session=True,
                env={**os.environ, "CD_SANDBOX": self.dir, "PGOPTIONS": "", **env},
            )
        return {"pid": child.pid, "start": start_time(child.pid)}

    def start_sinks(self):
        p = self.state["ports"]
        self.state["sinks"] = self.spawn(
            [
                "/usr/bin/python3",
                os.path.join(SUPPORT, "sinks.py"),
                "--smtp",
                str(p["sink_smtp"]),
                "--http",
                str(p["sink_http"]),
                "--outbox",
                self.path("outbox"),
                "--control",
                self.path("sink.json"),
                "--account",
                ACCOUNT_SID,
            ],
            self.path("log", "sinks.log"),
            SINK_SMS_TOKEN=self.state["sms_token"],
            SINK_WEBHOOK_SECRET=self.state["webhook_secret"],
        )
        self.save()
        self.wait_until(lambda: all(listening(p[name]) for name in ("sink_smtp", "sink_http")), "sinks", 20)

    def start_daemon(self):
        self.state["daemon"] = self.spawn(
            [os.path.join(self.build(), "complaintd"), "--config", self.path("complaintd.yaml")], self.log_file()
        )
        self.save()
        self.wait_until(self.ready, "daemon", 60)

    def ready(self):
        return http_status(f"http://127.0.0.1:{self.state['ports']['http']}/readyz") == 200

    def wait_until(self, condition, name, seconds):
        log = self.log_file() if name == "daemon" else self.path("log", name + ".log")
        end = time.monotonic() + seconds
        while not condition():
            wait_gone([self.state[name]], 0.001)  # takes a dead child's status
            if not alive(self.state[name]):
                raise Trouble(f"{name} ended at once; last lines of {log}:\n{tail(log)}")
            if time.monotonic() > end:
                raise Trouble(f"{name} not ready after {seconds} s; last lines of {log}:\n{tail(log)}")
            time.sleep(0.03)

    def log_file(self):
        return self.path("complaintd.log")

    def ctl(self, *args, check=True):
        done = subprocess.run(
            [os.path.join(self.build(), "complaintctl"), "--config", self.path("complaintd.yaml"), *args],
            capture_output=True,
            text=True,
            check=False,
            timeout=300,
        )
        if check and done.returncode:
            raise Trouble(
                f"complaintctl {' '.join(args)}: exit {done.returncode}: {done.stderr.strip() or done.stdout.strip()}"
            )
        return done


def quote(value):
    return "'" + value.replace("'", "'\\''") + "'" if value else "''"


def read_env(directory):
    """DIR/env as a dictionary."""
    with open(os.path.join(directory, "env"), encoding="utf-8") as f:
        return dict(word.split("=", 1) for line in f for word in shlex.split(line))


def main():
    parser = argparse.ArgumentParser(prog="tools/sandbox")
    commands = parser.add_subparsers(dest="command", required=True)
    for name in ("start", "restart", "stop"):
        sub = commands.add_parser(name)
        sub.add_argument("dir")
        if name == "start":
            sub.add_argument("--config", metavar="FILE", help="merged over the generated configuration")
    args = parser.parse_args()
    box = Sandbox(args.dir)
    try:
        if args.command == "start":
            box.start(args.config)
        elif args.command == "restart":
            box.restart()
        else:
            box.stop()
    except (Trouble, OSError, subprocess.TimeoutExpired) as e:
        print(f"sandbox: {e}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
