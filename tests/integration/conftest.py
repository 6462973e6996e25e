"""One sandbox a session for what leaves it standing; tests that kill, stop or misconfigure things get one of their own.
After each test the sandbox it used must be sound: daemon alive, no sanitizer report, counters that add up, no broken invariant."""
import os
import sys

import pytest

sys.path.insert(0, os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "support"))

from box import Box, default_build, release_build  # noqa: E402
import model  # noqa: E402


def pytest_configure(config):
    for build in (default_build(), release_build()):
        if not os.access(os.path.join(build, "complaintd"), os.X_OK):
            pytest.exit(
                f"{build}/complaintd is missing: ./check builds it (or CD_BUILD, CD_BUILD_RELEASE name other folders)",
                2,
            )


def assert_sound(box):
    assert not box.sanitizer_reports(), "\n".join(box.sanitizer_reports()[:10])
    assert box.daemon_alive(), "the daemon died:\n" + "\n".join(box.log().splitlines()[-20:])
    assert not box.conservation(), f"accepted against the sum of outcomes: {box.conservation()}"
    faults = model.invariants(box.db)
    assert not faults, f"{len(faults)} broken invariants, such as {faults[:5]}"


def keep_log(box):
    """With CD_KEEP_LOGS=DIR the logs outlive the sandbox."""
    keep = os.environ.get("CD_KEEP_LOGS")
    if keep and os.path.exists(box.log_file()):
        os.makedirs(keep, exist_ok=True)
        with open(os.path.join(keep, os.path.basename(box.dir) + ".log"), "w", encoding="utf-8") as f:
            f.write(box.log())


def finish(box):
    import shutil

    try:
        box.close()
        assert not box.sanitizer_reports(), "\n".join(box.sanitizer_reports()[:10])
    finally:
        keep_log(box)
        shutil.rmtree(box.dir, ignore_errors=True)


@pytest.fixture(scope="session")
def shared_box():
    box = Box()
    yield box
    finish(box)


@pytest.fixture
def box(shared_box):
    shared_box.inject()
    yield shared_box
    shared_box.inject()
    assert_sound(shared_box)


@pytest.fixture
def open_folder():
    """For servers that run under users of their own. Not pytest's folder: each pytest that starts beside this one closes it to others."""
    import shutil
    import tempfile

    folder = tempfile.mkdtemp(prefix="cdo-", dir="/tmp")
    os.chmod(folder, 0o755)
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def make_box():
    """make_box(build=None, overlay=None): a sandbox of the test's own; sound at the end unless `.broken` was set."""
    made = []

    def make(**options):
        made.append(Box(**options))
        made[-1].broken = False
        return made[-1]

    yield make
    for b in made:
        try:
            if not b.broken:
                assert_sound(b)
        finally:
            finish(b)
