"""Triage that is late or absent: what was accepted is stored raw, triaged later, and ends as if nothing had been."""
import os
import signal
import threading
import time

import letters
import processes
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


def test_stopped_at_once_with_more_than_the_workers_take(make_box):
    """The worker hangs, its queue is full, and nobody waits for the end of it: each client is told, and the daemon ends in order."""
    box = make_box(overlay={"triage": {"workers": 1, "in_flight": 1, "queue": 1, "budget": "30s", "deadline": "30s"}})
    assert box.mail(letters.mail("Before", letters.mark()))[0] == 250
    (worker,) = box.workers("triage")
    os.kill(worker, signal.SIGSTOP)
    raws = [letters.mail("Too many", letters.mark()) for _ in range(5)]
    answers = []

    def one(raw):
        try:
            answers.append(box.mail(raw)[0])
        except OSError:
            answers.append(None)

    threads = [threading.Thread(target=one, args=(raw,)) for raw in raws]
    for t in threads:
        t.start()
    wait_for(lambda: box.metric("complaintd_intake_in_flight") == 5, 10, "all under way")
    processes.send_signal(box.state["daemon"], signal.SIGTERM)
    wait_for(lambda: "front.draining" in box.log(), 10)
    box.kill_daemon(signal.SIGTERM)
    for t in threads:
        t.join()
    assert 250 not in answers and len(answers) == 5
    assert "front.ended" in box.log() and "panic" not in box.log()
    box.restart()
    assert [box.mail(raw)[0] for raw in raws] == [250] * 5
