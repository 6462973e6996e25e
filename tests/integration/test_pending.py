"""Triage that is late or absent: what was accepted is stored raw, triaged later, and ends as if nothing had been."""
import os
import signal
import time

from model import model_check, settle, wait_for
from test_kill import Load


def test_stopped_workers(make_box, capsys):
    """Workers that hang: answers come within the budget, the envelopes are pending, and become complaints when workers are back."""
    box = make_box(overlay={"triage": {"budget": "300ms", "deadline": "3s"}})
    before = wait_for(lambda: box.workers("triage"), 20, "triage workers")
    time.sleep(3)  # every worker is ready, with sanitizers too
    for pid in before:
        os.kill(pid, signal.SIGSTOP)
    load = Load(box)
    wait_for(lambda: box.db.value("select count(*) from pending") >= 20, 30, "envelopes stored as pending")
    load.stop()
    assert load.refused == []
    answered = len(load.acked)
    # the front kills what hangs at its deadline and starts anew; nobody has to help
    compared = model_check(box.db, load.acked)["acknowledged"]
    assert compared == answered
    assert box.db.value("select count(*) from complaints where degraded") <= 2 * len(
        before
    ), "only what a worker hung on"
    settle(box.db)
    model_check(box.db, load.acked, sent=box.path("outbox"), grace=30)
    with capsys.disabled():
        print(f"  {answered} accepted while no worker answered, {compared} triaged later")
