"""While the database is away nothing is taken: every channel says "try again", and the same sent again is then taken once."""
import threading
import time

import clients
import letters
from model import model_check, wait_for
from processes import http_status


def readiness(box):
    return http_status(f"http://127.0.0.1:{box.e['HTTP_PORT']}/readyz")


def test_every_channel_says_try_again(make_box):
    box = make_box()
    base = f"http://127.0.0.1:{box.e['HTTP_PORT']}"
    marks = [letters.mark() for _ in range(4)]
    mail = letters.mail("While it is away", marks[0], sender="A <a@shop.example>")
    sms = clients.sms_params(f"While it is away {marks[1]}")
    line = {"key": marks[2], "text": f"While it is away {marks[2]}"}

    def send():
        answers = []
        try:
            code = box.mail(mail, "a@shop.example")[0]
        except OSError as e:  # 421 instead of a greeting
            code = getattr(e, "smtp_code", 0)
        answers.append("try again" if code in (421, 451, 452) else code)
        answers.append(box.sms(sms)[0])
        with box.line() as connection:
            word, body, _ = connection.request("SUBMIT", **line)
        web = box.web({"text": f"While it is away {marks[3]}"}, marks[3])
        assert web.status != 503 or (web.json["retry"] and web.headers["Retry-After"])
        return answers + [word, body.get("retry"), web.status]

    box.stop_postgres()
    before = time.monotonic()
    assert send() == ["try again", 503, "ERR", True, 503]
    assert time.monotonic() - before < 30, "in time for the shortest of the providers' patience"
    wait_for(lambda: readiness(box) == 503, 20, "/readyz says so")
    assert http_status(base + "/healthz") == 200, "the process itself is well"
    assert send() == ["try again", 503, "ERR", True, 503]
    box.start_postgres()
    wait_for(lambda: readiness(box) == 200, 30, "/readyz")
    assert send() == [250, 200, "OK", None, 201]
    assert send() == [250, 200, "OK", None, 200], "the same again: answered, nothing created"
    assert model_check(box.db, marks)["acknowledged"] == 4
    assert box.db.value("select count(*) from complaints") == 4


def test_the_daemon_waits_for_a_database_that_comes_later(make_box):
    box = make_box()
    box.kill_daemon()
    box.stop_postgres()
    box.state["daemon"] = box.spawn(
        [box.build() + "/complaintd", "--config", box.path("complaintd.yaml")], box.log_file()
    )
    time.sleep(2)
    alive = box.daemon_alive()
    box.start_postgres()
    if not alive:  # ended with a code for "try again later": the service manager starts it again
        box.start_daemon()
    wait_for(lambda: readiness(box) == 200, 30, "/readyz")
    mark = letters.mark()
    assert box.mail(letters.mail("Later", mark))[0] == 250
    model_check(box.db, [mark])


def test_what_no_standby_confirmed_is_not_accepted(make_box):
    """Not by the mail itself, and not by the same mail sent again, which finds its receipt."""
    box = make_box()
    raw = letters.mail("Confirmed", letters.mark())

    def with_standby(name):
        box.db.execute(f"alter system set synchronous_standby_names = '{name}'")
        box.db.execute("select pg_reload_conf()")

    def cancelled():
        """The answer to the mail, when whoever waits for the standby is told to stop waiting."""
        codes = []
        thread = threading.Thread(target=lambda: codes.append(box.mail(raw)[0]))
        thread.start()
        while thread.is_alive():
            box.db.rows("select pg_cancel_backend(pid) from pg_stat_activity where wait_event = 'SyncRep'")
            thread.join(0.02)
        return codes[0]

    box.killed = True  # what was committed without an answer is a duplicate when it comes again
    with_standby("nobody")
    assert cancelled() == 451
    assert box.db.value("select count(*) from receipts") == 1, "it is there, but who knows where else"
    assert cancelled() == 451
    with_standby("")
    assert box.mail(raw)[0] == 250
    assert box.db.value("select count(*) from complaints") == 1
