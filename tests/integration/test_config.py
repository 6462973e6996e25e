"""`complaintd --check` collects all faults, each with file, line, column and what to write instead, and ends with 78."""
import os
import re
import shutil

import pytest

import sandbox
from box import default_build, run

PLACE = re.compile(r"^(?P<file>[^:]+):(?P<line>\d+):(?P<column>\d+): (?P<what>.+)$")


@pytest.fixture
def folder(tmp_path):
    for name in ("rules", "policies", "calendars", "templates"):
        shutil.copytree(os.path.join(sandbox.ROOT, "config", name), tmp_path / name)
    shutil.copy(os.path.join(sandbox.ROOT, "config", "complaintd.yaml"), tmp_path / "complaintd.yaml")
    return tmp_path


def check(folder, text=None, replace=None):
    path = folder / "complaintd.yaml"
    if text is not None:
        path.write_text(text, encoding="utf-8")
    if replace:
        before = path.read_text(encoding="utf-8")
        assert replace[0] in before
        path.write_text(before.replace(*replace, 1), encoding="utf-8")
    done = run(os.path.join(default_build(), "complaintd"), "--check", "--config", str(path))
    output = done.stdout + done.stderr
    assert not any(word in output for word in ("AddressSanitizer", "runtime error")), output
    return done.returncode, output


BASE = """hostname: x.example
database: {dsn: "host=/nowhere dbname=x"}
mail: {listen: ["127.0.0.1:2525"], from: c@x.example}
triage: {fallback_team: general}
desks: [{name: care, addresses: [c@x.example], brand: X, default_team: general, policy: standard}]
teams: [{name: general, mail: g@x.example}]
contacts: [{name: supervisor, mail: s@x.example}, {name: manager, mail: m@x.example}]
policies: [policies/*.yaml]
calendars: [calendars/*.yaml]
templates: templates
"""


def test_what_is_shipped_is_sound(folder):
    """The sample's secrets lie where an installation puts them; everything else must be right as it is."""
    path = folder / "complaintd.yaml"
    text = path.read_text(encoding="utf-8")
    for name in re.findall(r"(?m)_file:\s*[\"']?(/[^\s,}\"']+)", text):
        secret = folder / os.path.basename(name)
        secret.write_text("0123456789abcdef0123456789abcdef\n", encoding="utf-8")
        text = text.replace(name, str(secret))
    status, output = check(folder, text)
    assert status == 0, output


def test_a_small_one_is_enough(folder):
    status, output = check(folder, BASE)
    assert status == 0, output


FAULTS = {
    "unknown key": ("hostname: x.example", "hostnam: x.example", 1, "hostnam"),
    "unknown key inside": ("from: c@x.example}", "from: c@x.example, max_mesage: 1MB}", 3, "max_mesage"),
    "duration": ("triage: {", "triage: {deadline: soon, ", 4, "soon"),
    "count": ("triage: {", "triage: {in_flight: 12x, ", 4, "12x"),
    "size": ("from: c@x.example}", "from: c@x.example, max_message: -1}", 3, "-1"),
    "boolean": ("hostname: x.example", "log: {pii: perhaps}", 1, "perhaps"),
    "address": ('"127.0.0.1:2525"', '"127.0.0.1:99999"', 3, "99999"),
    "no such team": ("default_team: general", "default_team: nobody", 5, "nobody"),
    "no such policy": ("policy: standard", "policy: fast", 5, "fast"),
    "twice": ("teams: [", "teams: [{name: general, mail: z@x.example}, ", 6, "general"),
    "key twice": ("hostname: x.example", "hostname: x.example\nhostname: y.example", 2, "hostname"),
    "no file": ("policies: [policies/*.yaml]", "policies: [nothing/*.yaml]", 8, "nothing"),
    "mail address": ("g@x.example", "g@@x", 6, "g@@x"),
}


@pytest.mark.parametrize("name", FAULTS)
def test_a_fault_is_located(folder, name):
    old, new, line, word = FAULTS[name]
    assert old in BASE
    status, output = check(folder, BASE.replace(old, new, 1))
    assert status == 78, output
    places = [PLACE.match(x) for x in output.splitlines()]
    found = [p for p in places if p and word in p["what"]]
    assert found, output
    assert any(
        p["file"].endswith("complaintd.yaml") and abs(int(p["line"]) - line) <= (1 if name == "key twice" else 0)
        for p in found
    ), output
    assert all(": " in p["what"] for p in found), "says what to write instead: " + output


def test_all_faults_at_once(folder):
    text = BASE
    for name in ("duration", "address", "no such team"):
        old, new, _, _ = FAULTS[name]
        text = text.replace(old, new, 1)
    status, output = check(folder, text)
    assert status == 78
    assert all(FAULTS[name][3] in output for name in ("duration", "address", "no such team")), output


@pytest.mark.parametrize(
    "text", ["", "a: [", "- 1\n- 2\n", "\tx: 1\n", "a: &x 1\nb: *x\n", "\x00\n", "a: 1\n---\nb: 2\n"]
)
def test_what_is_no_configuration(folder, text):
    status, output = check(folder, text)
    assert status == 78 and "complaintd.yaml" in output


def test_a_rule_that_names_no_category(folder):
    for f in (folder / "rules").glob("*.yaml"):
        f.unlink()
    (folder / "rules" / "99-wrong.yaml").write_text(
        "rules:\n  - {id: wrong, when: {any: [umbrella]}, then: {category: nonsense-category}}\n", encoding="utf-8"
    )
    status, output = check(folder, BASE + "rules: [rules/*.yaml]\ncategories: [{name: billing, team: general}]\n")
    assert status == 78 and "99-wrong.yaml:2:" in output and "nonsense-category" in output


def test_a_rule_file_with_a_wrong_expectation(folder):
    for f in (folder / "rules").glob("*.yaml"):
        f.unlink()
    (folder / "rules" / "a.yaml").write_text(
        "rules:\n  - {id: rain, when: {any: [umbrella]}, then: {category: billing}}\n"
        "tests:\n  - {text: 'no such thing', expect: {category: billing}}\n",
        encoding="utf-8",
    )
    status, output = check(folder, BASE + "rules: [rules/*.yaml]\ncategories: [{name: billing, team: general}]\n")
    assert status == 78 and "a.yaml:4:" in output, output


def test_the_daemon_does_not_start_with_a_fault(folder):
    (folder / "complaintd.yaml").write_text(BASE.replace("hostname", "hostnam"), encoding="utf-8")
    done = run(os.path.join(default_build(), "complaintd"), "--config", str(folder / "complaintd.yaml"))
    assert done.returncode == 78 and "complaintd.yaml:1:" in done.stdout + done.stderr


def test_a_missing_file(folder):
    done = run(os.path.join(default_build(), "complaintd"), "--check", "--config", str(folder / "nothing.yaml"))
    assert done.returncode == 78 and "nothing.yaml" in done.stdout + done.stderr
