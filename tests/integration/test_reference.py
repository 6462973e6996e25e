"""Code, reference and sample agree: every option of the program stands in docs/configuration.md and in the sample, every key of the
sample exists, and what the sample shows as a default is the default."""
import itertools
import os
import re
import shutil

import pytest
import yaml

from box import default_build, run
from sandbox import ROOT

COMPLAINTD = os.path.join(default_build(), "complaintd")
SAMPLE = os.path.join(ROOT, "config", "complaintd.yaml")


def described(form):
    done = run(COMPLAINTD, f"--describe-config={form}")
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def options():
    """path -> (what is said of its value, sentence), of the configuration file itself."""
    part = described("text").split("\n# Files that ")[0]
    found = {m[1]: (m[2], m[3]) for m in re.finditer(r"(?m)^([a-z0-9_.\[\]]+)\n    (.+)\n    (.+)$", part)}
    assert len(found) > 100
    return found


def uncommented(text):
    """The sample with everything that may be added: what stands behind "# " and is a key or an entry of a list."""
    lines = [
        re.sub(r"^( *)# (?= *(?:[a-z0-9_]+:(?: |$)|- \w+: |- \{))", r"\1", line) for line in text.splitlines()
    ]
    return "\n".join(lines)


def walk(node, path=""):
    """(path, value) of every key, lists of groups as path[]."""
    for key, value in node.items():
        here = f"{path}{key}"
        if isinstance(value, list) and value and isinstance(value[0], dict):
            yield here, value
            for entry in value:
                yield from walk(entry, here + "[].")
        elif isinstance(value, dict):
            yield from walk(value, here + ".")
        else:
            yield here, value


def option_of(path, options):
    """The option that a key sets: a secret has three names."""
    return path if path in options else re.sub(r"_(file|credential)$", "", path)


@pytest.fixture(scope="module")
def sample():
    with open(SAMPLE, encoding="utf-8") as f:
        text = f.read()
    return list(walk(yaml.load(text, yaml.BaseLoader))), list(
        walk(yaml.load(uncommented(text), yaml.BaseLoader))
    )


def test_every_key_of_the_sample_exists(options, sample):
    unknown = [path for path, _ in sample[1] if option_of(path, options) not in options]
    assert not unknown
    assert len(sample[1]) > len(sample[0]) + 30, "what is commented out was found"


def test_every_option_is_in_the_sample(options, sample):
    shown = {option_of(path, options) for path, _ in sample[1]}
    missing = [
        path
        for path, (value, _) in options.items()
        if path not in shown and "for tests and measurements" not in value
    ]
    assert not missing


def test_all_of_the_sample_together_is_sound(tmp_path):
    """What may be added fits what is there: names name something, values are within their bounds."""
    for name in ("rules", "policies", "calendars", "templates"):
        shutil.copytree(os.path.join(ROOT, "config", name), tmp_path / name)
    secret = tmp_path / "secret"
    secret.write_text("0123456789abcdef0123456789abcdef\n", encoding="utf-8")
    with open(SAMPLE, encoding="utf-8") as f:
        lines = [line for line in uncommented(f.read()).splitlines() if "dsn_credential" not in line]
    count = itertools.count()

    def own_file(_):  # no two clients have the same token
        one = tmp_path / f"secret-{next(count)}"
        one.write_text(f"0123456789abcdef0123456789{next(count):06x}\n", encoding="utf-8")
        return f"_file: {one}"

    text = re.sub(r"_(?:file|credential): (?!/etc/ssl)[^\s,}]+", own_file, "\n".join(lines))
    text = text.replace("tls: none ", "tls: starttls ").replace("/etc/ssl/certs/our-own.pem", str(secret))
    text = re.sub(r"/etc/complaintd/tls/[^\s,}]+", str(secret), text)
    for one in ("relay", "relays"):  # there is either
        text_of_one, n = re.subn(rf"(?m)^  {one}:.*\n(?:    .*\n)+", "", text)
        assert n == 1
        (tmp_path / "complaintd.yaml").write_text(text_of_one + "\n", encoding="utf-8")
        done = run(COMPLAINTD, "--check", "--config", str(tmp_path / "complaintd.yaml"))
        assert done.returncode == 0, done.stdout + done.stderr


def test_commented_defaults_are_the_defaults(options, sample):
    active = {path for path, _ in sample[0]}
    wrong, compared = [], 0
    for path, value in sample[1]:
        default = re.search(r"; default (.+?)(?:; |$)", options[option_of(path, options)][0])
        if path in active or "[]" in path or not default or path not in options:
            continue
        if default[1] == "[]":  # nothing by default: what the sample shows is an example
            continue
        compared += 1
        if yaml.load(default[1], yaml.BaseLoader) != value:
            wrong.append((path, value, default[1]))
    assert not wrong
    assert compared > 30


def test_the_reference_is_current(options):
    """`cmake --build build/release --target reference` makes it anew."""
    with open(os.path.join(ROOT, "docs", "configuration.md"), encoding="utf-8") as f:
        kept = f.read()
    assert kept == described("markdown")
    missing = [path for path in options if f"\n| `{path}` | " not in kept]
    assert not missing


def test_an_unknown_form_is_refused():
    assert run(COMPLAINTD, "--describe-config=pdf").returncode == 64


def test_each_hostile_case_has_its_tests():
    """The table of channels/mail/README.md: in each file that a row names there is a test with the row's number."""
    with open(os.path.join(ROOT, "channels", "mail", "README.md"), encoding="utf-8") as f:
        rows = re.findall(r"(?m)^\| (\d\d) \|.*\| ([^|]*) \|$", f.read())
    assert [int(number) for number, _ in rows] == [14, *range(21, 29), 32, 33, 36, 37]
    for number, files in rows:
        for name in re.findall(r"`([\w/.]+\.(?:py|c))`", files):
            folder = "integration" if name.endswith(".py") else "unit/mail_smtp"
            with open(os.path.join(ROOT, "tests", folder, name), encoding="utf-8") as f:
                assert f"test_{number}_" in f.read(), f"{name}: no test of case {number}"


def test_the_http_interface_is_written_down_as_it_is():
    """docs/openapi.yaml is printed from the tables that the daemon answers from; test_web.py compares answers with it."""
    done = run(COMPLAINTD, "--describe-http")
    with open(os.path.join(ROOT, "docs", "openapi.yaml"), encoding="utf-8") as f:
        assert f.read() == done.stdout, "cmake --build build/release --target reference"
    api = yaml.safe_load(done.stdout)
    assert api["openapi"] == "3.1.0" and "key" not in api["components"]["schemas"]["Complaint"]["properties"]
    named = set(re.findall(r"#/components/schemas/(\w+)", done.stdout))
    assert named == set(api["components"]["schemas"]), "every schema that is named is there, and used"
    with open(os.path.join(ROOT, "docs", "http.md"), encoding="utf-8") as f:
        text = f.read()
    for code in api["components"]["schemas"]["Problem"]["properties"]["code"]["enum"]:
        assert f"`{code}`" in text, f"docs/http.md does not say what {code} is"
