"""tools/sandbox keeps its contract: the names in DIR/env, two side by side, nothing left after stop."""
import os
import shutil
import socket
import stat
import tempfile

import pytest
import yaml

import clients
import letters
import processes
import sandbox
import sandbox_config
from box import default_build, run

TOOL = os.path.join(sandbox.ROOT, "tools", "sandbox")
NAMES = (
    "SMTP_PORT LMTP_SOCKET HTTP_PORT LINE_PORT LINE_TOKEN ADMIN_TOKEN SMTP_RCPT SMS_TWILIO_URL SMS_TWILIO_TOKEN METRICS_URL "
    "DATABASE_URL MAIL_OUTBOX SMS_OUTBOX WEBHOOK_OUTBOX CONFIG CTL DAEMON_PID"
).split()


def tool(*args):
    return run(TOOL, *args, env={**os.environ, "CD_BUILD": default_build()})


@pytest.fixture
def folders():
    made = [tempfile.mkdtemp(prefix="cdt-", dir="/tmp") for _ in range(2)]
    yield made
    for d in made:
        tool("stop", d)
        shutil.rmtree(d, ignore_errors=True)


def started(directory, *options):
    done = tool("start", directory, *options)
    assert done.returncode == 0, done.stderr
    return sandbox.read_env(directory)


def answers(env):
    return processes.http_status(f"http://127.0.0.1:{env['HTTP_PORT']}/readyz") == 200


def sockets_below(directory):
    return [
        os.path.join(d, n)
        for d, _, names in os.walk(directory)
        for n in names
        if stat.S_ISSOCK(os.lstat(os.path.join(d, n)).st_mode)
    ]


def test_two_side_by_side_and_nothing_left(folders):
    one, two = folders
    a, b = started(one), started(two)
    assert list(a) == NAMES
    assert all(a[n] for n in NAMES)
    assert answers(a) and answers(b)
    ports = [e[n] for e in (a, b) for n in ("SMTP_PORT", "HTTP_PORT", "LINE_PORT")]
    assert len(set(ports)) == len(ports)
    mark = letters.mark()
    assert clients.send_mail(a["SMTP_PORT"], letters.mail("for the first", mark))[0] == 250
    for env, wanted in ((a, "1"), (b, "0")):
        done = run(
            "psql",
            "-AtX",
            "-d",
            env["DATABASE_URL"],
            "-c",
            f"select count(*) from complaintd.messages where body like '%{mark}%'",
            cwd="/",
        )
        assert done.stdout.strip() == wanted, done.stderr
    assert (
        run("psql", "-AtX", "-d", a["DATABASE_URL"], "-c", "select sandbox from complaintd.clock", cwd="/").stdout
        == "t\n"
    )
    used = [p for d in folders for p in processes.marked(d)]
    assert len(used) >= 4
    for d in folders:
        done = tool("stop", d)
        assert done.returncode == 0, done.stderr
    assert not [p for p in used if processes.alive(p)]
    for d, env in zip(folders, (a, b)):
        assert processes.marked(d) == []
        assert sockets_below(d) == []
        for name in ("SMTP_PORT", "HTTP_PORT", "LINE_PORT"):
            with socket.socket() as s:
                assert s.connect_ex(("127.0.0.1", int(env[name]))) != 0
    assert tool("stop", one).returncode == 0, "stopping twice changes nothing"


def test_restart_keeps_ports_and_data(folders):
    env = started(folders[0])
    mark = letters.mark()
    assert clients.send_mail(env["SMTP_PORT"], letters.mail("kept", mark))[0] == 250
    assert tool("restart", folders[0]).returncode == 1, "it runs"
    os.kill(int(env["DAEMON_PID"]), 9)
    done = tool("restart", folders[0])
    assert done.returncode == 0, done.stderr
    again = sandbox.read_env(folders[0])
    assert again.pop("DAEMON_PID") != env.pop("DAEMON_PID")
    assert again == env
    assert answers(again)
    done = run(
        "psql",
        "-AtX",
        "-d",
        env["DATABASE_URL"],
        "-c",
        f"select count(*) from complaintd.messages where body like '%{mark}%'",
        cwd="/",
    )
    assert done.stdout.strip() == "1"
    mail = os.path.join(folders[0], "outbox", "mail", "new")
    assert os.path.isdir(mail)


def test_config_is_merged_and_generated_ports_win(folders):
    overlay = os.path.join(folders[1], "mine.yaml")
    with open(overlay, "w", encoding="utf-8") as f:
        f.write(
            "hostname: mine.example\nhttp: {listen: ['127.0.0.1:1'], max_body: 64kB}\n"
            "desks: [{name: care, brand: Mine}, {name: north, addresses: [north@example.com], default_team: billing}]\n"
        )
    env = started(folders[0], "--config", overlay)
    with open(env["CONFIG"], encoding="utf-8") as f:
        config = yaml.safe_load(f)
    assert config["hostname"] == "mine.example"
    assert config["http"] == {"listen": [f"127.0.0.1:{env['HTTP_PORT']}"], "max_body": "64kB"}
    care, north = config["desks"]
    assert care["brand"] == "Mine" and care["addresses"] == ["care@example.com"] and north["name"] == "north"
    assert clients.send_mail(env["SMTP_PORT"], letters.mail("x", "y"), recipients=["north@example.com"])[0] == 250


def test_a_fault_in_the_configuration_is_told(folders):
    overlay = os.path.join(folders[1], "mine.yaml")
    with open(overlay, "w", encoding="utf-8") as f:
        f.write("mail: {max_mesage: 25MB}\n")
    done = tool("start", folders[0], "--config", overlay)
    assert done.returncode == 1
    assert "max_mesage" in done.stderr
    assert processes.marked(folders[0]) == [] and sockets_below(folders[0]) == []


def test_a_long_path_works(folders):
    deep = os.path.join(folders[0], "d" * 120)
    env = started(deep)
    assert answers(env)
    assert tool("stop", deep).returncode == 0
    assert not [d for d in os.listdir("/tmp") if d.startswith("cd-") and processes.marked(os.path.join("/tmp", d))]


def test_merging():
    base = {"a": 1, "m": {"x": 1, "y": [1, 2]}, "l": [{"name": "one", "v": 1}, {"name": "two", "v": 2}]}
    over = {"m": {"y": [3]}, "l": [{"name": "two", "w": 3}, {"name": "three"}], "n": None}
    assert sandbox_config.merge(base, over) == {
        "a": 1,
        "m": {"x": 1, "y": [3]},
        "n": None,
        "l": [{"name": "one", "v": 1}, {"name": "two", "v": 2, "w": 3}, {"name": "three"}],
    }
    assert base["l"][1] == {"name": "two", "v": 2}, "the base stays as it was"
