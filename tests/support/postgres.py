"""PostgreSQL's programs for whoever runs the sandbox: as root they run as the user `postgres`, which must reach its files."""
import glob
import os
import pwd
import shutil
import subprocess

from processes import Trouble, tail


def as_postgres():
    """PostgreSQL refuses to run as root; Debian's package brings a user for it."""
    return ["runuser", "-u", "postgres", "--"] if os.geteuid() == 0 else []


def give_to_postgres(path):
    if os.geteuid() == 0:
        try:
            user = pwd.getpwnam("postgres")
        except KeyError:
            raise Trouble("there is no user postgres: install the package postgresql-15") from None
        os.chown(path, user.pw_uid, user.pw_gid)


def may_reach(path):
    """Whether PostgreSQL's user gets through every folder on the way to PATH."""
    if os.geteuid() != 0:
        return True
    return (
        subprocess.run([*as_postgres(), "test", "-x", path], check=False, cwd="/", capture_output=True).returncode
        == 0
    )


def pg_program(name):
    found = sorted(glob.glob(f"/usr/lib/postgresql/*/bin/{name}"), key=lambda p: int(p.split("/")[4]))
    if found:
        return found[-1]
    elsewhere = shutil.which(name)
    if not elsewhere:
        raise Trouble(f"{name} is missing: install the package postgresql-15 (tools/deps sandbox)")
    return elsewhere


def pg(name, *args, log):
    with open(log, "ab") as out:
        done = subprocess.run(
            [*as_postgres(), pg_program(name), *args],
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=out,
            check=False,
            cwd="/",
            env={**os.environ, "LC_ALL": "C.UTF-8", "PGOPTIONS": ""},
        )
    if done.returncode:
        raise Trouble(f"{name} failed; last lines of {log}:\n{tail(log)}")
