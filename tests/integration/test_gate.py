"""The intake's budget: as it fills, clients of every channel are told "try again" in the form of their channel; what was begun is
finished, nothing that was acknowledged is lost, and the service comes back by itself."""
import contextlib
import json
import os
import signal
import threading
import time
import urllib.parse

import psycopg2

import clients
import letters
from model import model_check, wait_for
from sandbox import http_status

MODES = ["normal", "tight", "shed"]


def mode(box):
    return MODES[int(box.metric("complaintd_gate_mode"))]


@contextlib.contextmanager
def commits_held(box):
    """Whatever is submitted stays in flight until the end of the block (or until the lock timeout of 5 s)."""
    connection = psycopg2.connect(box.database_url())
    try:
        with connection.cursor() as cursor:
            cursor.execute("lock table complaintd.receipts in access exclusive mode")
        yield
    finally:
        connection.rollback()
        connection.close()


class Senders:
    """Senders that wait for their answers, each in a thread; `acked` holds the marks of those that were told "accepted"."""

    def __init__(self, box):
        self.box, self.acked, self.refused, self.threads = box, [], [], []

    def start(self, send):
        mark = letters.mark()

        def run():
            (self.acked if send(mark) else self.refused).append((mark, send))
        self.threads.append(threading.Thread(target=run))
        self.threads[-1].start()

    def sms(self):
        self.start(lambda mark: self.box.sms(clients.sms_params(f"The bill is wrong {mark}", sid="SM" + mark[5:] * 2))[0] == 200)

    def mail(self):
        self.start(lambda mark: self.box.mail(letters.mail("The bill is wrong", mark, message_id=mark + "@x.example"))[0] == 250)

    def line(self):
        def send(mark):
            with self.box.line() as line:
                return line.request("SUBMIT", key=mark, text=f"The bill is wrong {mark}")[0] == "OK"
        self.start(send)

    def finish(self):
        """The marks of all, once those that were told to try again have done so."""
        for t in self.threads:
            t.join()
        for mark, send in self.refused:
            assert send(mark)
            self.acked.append((mark, send))
        return [mark for mark, _ in self.acked]


def in_flight(box):
    return box.metric("complaintd_intake_in_flight")


def test_every_channel_says_try_again_and_it_comes_back(make_box):
    box = make_box(overlay={"intake": {"max_items": 10, "tight_at": 30, "tight_until": 20, "shed_at": 80, "shed_until": 50,
                                       "large": "64kB"}})
    base = f"http://127.0.0.1:{box.e['HTTP_PORT']}"
    senders = Senders(box)
    assert mode(box) == "normal"
    with clients.RawSmtp(box.smtp_port) as smtp, box.line() as line:
        smtp.command("EHLO client.example")
        with commits_held(box):
            for _ in range(3):
                senders.sms()
            wait_for(lambda: mode(box) == "tight", 10, "tight")
            assert smtp.command("MAIL FROM:<a@shop.example> SIZE=70000")[1][0].startswith("452 4.3.1 "), "large ones are refused early"
            senders.mail()
            wait_for(lambda: in_flight(box) == 4, 10, "a small one is taken")
            assert http_status(base + "/readyz") == 200
            for _ in range(4):
                senders.line()
            wait_for(lambda: mode(box) == "shed", 10, "shed")

            with clients.RawSmtp(box.smtp_port, greet=False) as late:
                code, text = late.reply()
                assert (code, text[0][:10]) == (421, "421 4.3.2 ") and late.reply()[0] == 0
            assert smtp.command("MAIL FROM:<a@shop.example>")[0] == 250
            assert smtp.command("RCPT TO:<care@example.com>")[0] == 250
            assert smtp.command("DATA")[1][0].startswith("451 4.3.1 ")
            status, headers, body = sms_in_full(box)
            assert status == 503 and int(headers["Retry-After"]) > 0 and json.loads(body)["retry"] is True
            word, body, _ = line.request("SUBMIT", key="k", text="The bill is wrong")
            assert (word, body["code"], body["retry"]) == ("ERR", "busy", True)
            assert line.request("PING")[0] == "OK", "what needs no room is answered"
            assert http_status(base + "/readyz") == 503 and http_status(base + "/healthz") == 200
        wait_for(lambda: mode(box) == "normal", 10, "normal again")
        assert smtp.command("DATA")[0] == 354, "on the same session"
        mark = letters.mark()
        smtp.send(letters.mail("The bill is wrong", mark) + b"\r\n.\r\n")
        assert smtp.reply()[0] == 250
    assert http_status(base + "/readyz") == 200
    assert model_check(box.db, senders.finish() + [mark])["acknowledged"] == 9
    values = box.metrics()
    assert values['complaintd_gate_transitions_total{to="shed"}'] == 1
    assert values['complaintd_smtp_limit_hits_total{limit="gate-shed"}'] == 2
    assert values['complaintd_smtp_limit_hits_total{limit="gate-large"}'] == 1
    for channel in ("mail", "sms", "line"):
        assert values[f'complaintd_intake_busy_total{{channel="{channel}"}}'] >= 1
    lines = [x for x in box.log().splitlines() if " intake.gate " in x]
    assert len(lines) == sum(v for k, v in values.items() if k.startswith("complaintd_gate_transitions_total"))
    assert [x.split("mode=")[1].split()[0] for x in lines][:2] == ["tight", "shed"] and "mode=normal" in lines[-1]


def sms_in_full(box):
    import http.client
    url, params = box.e["SMS_TWILIO_URL"], clients.sms_params("The bill is wrong")
    parts = urllib.parse.urlsplit(url)
    connection = http.client.HTTPConnection(parts.hostname, parts.port, timeout=clients.TIMEOUT)
    connection.request("POST", parts.path, urllib.parse.urlencode(params),
                       {"Content-Type": "application/x-www-form-urlencoded",
                        "X-Twilio-Signature": clients.twilio_signature(box.e["SMS_TWILIO_TOKEN"], url, params)})
    answer = connection.getresponse()
    result = answer.status, dict(answer.getheaders()), answer.read()
    connection.close()
    return result


def test_senders_that_stop_in_the_middle_do_not_keep_the_memory(make_box):
    box = make_box(overlay={"mail": {"max_message": "1MB"}, "intake": {"max_bytes": "2MB", "tight_timeout": "1s", "large": "900kB"}})
    peers = [clients.RawSmtp(box.smtp_port) for _ in range(6)]
    for peer in peers:
        peer.command("EHLO client.example")
        peer.send("MAIL FROM:<a@shop.example>\r\nRCPT TO:<care@example.com>\r\nDATA\r\n")
        assert [peer.reply()[0] for _ in range(3)] == [250, 250, 354]
        peer.send((b"x" * 70 + b"\r\n") * 5000)  # 360 kB, and then nothing more
    wait_for(lambda: mode(box) != "normal" or box.metric("complaintd_smtp_timeouts_total"), 10, "six of them are too many")
    assert box.metric("complaintd_intake_reading_bytes") <= 2 * 1024 * 1024
    assert box.metrics()['complaintd_smtp_limit_hits_total{limit="reading-memory"}'] >= 1, "the one that went over was dropped"
    wait_for(lambda: mode(box) == "normal", 60, "their time was cut short")
    assert box.metric("complaintd_smtp_timeouts_total") >= 1
    mark = letters.mark()
    assert box.mail(letters.mail("Small", mark))[0] == 250
    for peer in peers:
        peer.close()
    wait_for(lambda: box.metric("complaintd_intake_reading_bytes") == 0, 10, "all given back")
    model_check(box.db, [mark])


def job_memfds(pid):
    found = 0
    for name in os.listdir(f"/proc/{pid}/fd"):
        with contextlib.suppress(OSError):
            found += "memfd:job" in os.readlink(f"/proc/{pid}/fd/{name}")
    return found


def test_large_mails_are_decoded_one_at_a_time(make_box):
    box = make_box(overlay={"triage": {"budget": "30s", "deadline": "60s", "workers": 2}})
    marks = [letters.mark() for _ in range(4)]
    codes = []
    padding = "\n".join("x" * 76 for _ in range(20000))  # 1.5 MB
    workers = box.workers("triage")
    for pid in workers:
        os.kill(pid, signal.SIGSTOP)
    threads = [threading.Thread(target=lambda m=m: codes.append(box.mail(letters.mail("Large", f"{m}\n{padding}"))[0])) for m in marks]
    try:
        for t in threads:
            t.start()
        wait_for(lambda: box.metric("complaintd_intake_large_waiting") == 3, 20, "one has its turn, three wait")
        assert job_memfds(box.state["daemon"]["pid"]) == 1
    finally:
        for pid in workers:
            os.kill(pid, signal.SIGCONT)
    for t in threads:
        t.join()
    assert codes == [250] * 4
    assert box.metric("complaintd_intake_large_waiting") == 0
    values = box.metrics()
    assert values['complaintd_intake_total{channel="mail",outcome="new"}'] == 4, "none had to wait as pending"
    assert values['complaintd_worker_job_seconds_count{pool="triage"}'] >= 4
    assert model_check(box.db, marks)["acknowledged"] == 4


def test_gauges_of_the_queues(make_box):
    box = make_box(overlay={"notify": {"paused": True}})
    mark = letters.mark()
    assert box.mail(letters.mail("Waiting", mark))[0] == 250
    due = box.db.value("select count(*) from notifications where state = 'pending'")
    assert due >= 1
    wait_for(lambda: box.metric("complaintd_outbox_due") == due, 25, "looked at every 10 s")
    assert 0 < box.metric("complaintd_outbox_oldest_seconds") < 60
    assert box.metric("complaintd_pending_envelopes") == 0
    values = box.metrics()
    assert values['complaintd_accept_seconds_count{channel="mail"}'] == values['complaintd_accepted_total{channel="mail"}'] == 1
    assert values["complaintd_store_commit_seconds_count"] == values["complaintd_store_batches_total"] == 1
    assert values["complaintd_store_batch_size_sum"] == 1 and values["complaintd_loop_lag_seconds_count"] > 0
    assert abs(time.time() - values["process_start_time_seconds"]) < 120
    assert values["process_open_fds"] > 10 and values["process_resident_memory_bytes"] > 1e6
    model_check(box.db, [mark])
