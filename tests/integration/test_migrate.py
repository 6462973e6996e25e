"""Migrations: a database that has the first of them gets the rest and is then as one that got all at once; one that is not ours is refused."""
import contextlib
import glob
import hashlib
import json
import os
import secrets
import subprocess

import psycopg2
import pytest

import sandbox
from box import run
from postgres import pg_program
from test_reload import configuration

FILES = sorted(glob.glob(os.path.join(sandbox.ROOT, "schema", "0*.sql")))
NAMES = [os.path.splitext(os.path.basename(f))[0] for f in FILES]


class Database:
    """A database beside that of the sandbox, and a configuration that names it."""

    def __init__(self, box, folder):
        self.box, self.name = box, "migrate_" + secrets.token_hex(6)
        self.url = box.database_url().replace("/complaintd?", f"/{self.name}?")
        config = configuration(box)
        config["database"]["dsn"] = self.url
        self.config = str(folder / f"{self.name}.yaml")
        with open(self.config, "w", encoding="utf-8") as f:
            json.dump(config, f)  # JSON is YAML

    def execute(self, *statements):
        with contextlib.closing(psycopg2.connect(self.url)) as db, db, db.cursor() as cursor:
            for text in statements:
                cursor.execute(text)
            return cursor.fetchall() if cursor.description else None

    def apply(self, most):
        """As the daemon would have done it when it had no more than `most` files."""
        self.execute("create schema complaintd", "create table complaintd.migrations (version integer primary key, name text not null,"
                     " digest text not null, applied_at timestamptz not null default now())")
        for version, (path, name) in enumerate(zip(FILES[:most], NAMES), 1):
            with open(path, encoding="utf-8") as f:
                text = f.read()
            digest = hashlib.sha256(text.encode()).hexdigest()[:16]
            self.execute(text, f"insert into complaintd.migrations values ({version}, '{name}', '{digest}')")

    def migrate(self, *more):
        return run(os.path.join(self.box.build(), "complaintctl"), "--config", self.config, "migrate", *more)

    def schema(self):
        """All of it but what changes with each dump."""
        text = subprocess.run([pg_program("pg_dump"), "--schema-only", self.url], capture_output=True, text=True, check=True, timeout=60).stdout
        return [line for line in text.splitlines() if not line.startswith(("\\restrict", "\\unrestrict"))]


@pytest.fixture
def new(box, tmp_path):
    made = []

    def make():
        database = Database(box, tmp_path)
        box.sql(f"create database {database.name}")
        made.append(database)
        return database

    yield make
    for database in made:
        box.sql(f"drop database {database.name}")


def applied(done):
    assert done.returncode == 0, done
    return [line.split()[-1] for line in done.stdout.splitlines() if line.startswith(("applied ", "would apply "))]


def test_all_at_once_and_in_two_steps(new):
    whole = new()
    assert applied(whole.migrate("--plan")) == applied(whole.migrate()) == NAMES
    assert "up to date" in whole.migrate().stdout and not applied(whole.migrate("--plan"))
    for most in (1, len(NAMES) // 2, len(NAMES) - 1):
        steps = new()
        steps.apply(most)
        assert applied(steps.migrate("--plan")) == applied(steps.migrate()) == NAMES[most:]
        assert steps.schema() == whole.schema(), f"after {most} of {len(NAMES)}"
        assert steps.execute("select count(*) from complaintd.migrations") == [(len(NAMES),)]


def test_a_database_of_another_build_is_refused(new):
    changed, newer = new(), new()
    changed.apply(2)
    changed.execute("update complaintd.migrations set digest = 'feedfeedfeedfeed' where version = 2")
    newer.apply(2)
    newer.execute(f"insert into complaintd.migrations values ({len(NAMES) + 1}, 'later', 'feedfeedfeedfeed')")
    for database, words in ((changed, f"migration 2 ({NAMES[1]}) in the database is not the one of this program"), (newer, "install the newer")):
        before = database.schema()
        for more in ((), ("--plan",)):
            done = database.migrate(*more)
            assert done.returncode != 0 and words in done.stderr, done
        assert database.schema() == before


def test_what_fails_leaves_nothing(new):
    """A name that is taken already: of that file nothing is kept, of those before it all."""
    database = new()
    database.apply(3)
    database.execute("create table complaintd.scans ()")
    done = database.migrate()
    assert done.returncode != 0 and f"migration {NAMES[3]} failed, nothing of it was kept" in done.stderr, done
    assert database.execute("select to_regclass('complaintd.attachments'), max(version) from complaintd.migrations") == [(None, 3)]
    database.execute("drop table complaintd.scans")
    assert applied(database.migrate()) == NAMES[3:]
