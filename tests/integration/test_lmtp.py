"""LMTP: by hand, over its socket and TCP, and with Postfix as the mail server in front."""
import os
import smtplib
import sys

import pytest

import letters
from model import wait_for
from processes import PortReservation

sys.path.insert(0, os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "bench"))


WAYS = ("smtp", "unix", "inet")


@pytest.fixture(scope="module")
def lmtp_port():
    ports = PortReservation()
    port = ports.take()
    ports.release()
    return port


@pytest.fixture
def lbox(make_box, lmtp_port):
    """Two desks, and LMTP on TCP beside the sandbox's socket."""
    return make_box(
        overlay={
            "mail": {"lmtp_listen": [f"127.0.0.1:{lmtp_port}"]},
            "desks": [
                {"name": "care", "addresses": ["care@example.com", *(f"care@{w}.example" for w in WAYS)]},
                {"name": "shop", "addresses": ["shop@example.com", *(f"shop@{w}.example" for w in WAYS)], "default_team": "billing", "policy": "standard"},
            ],
        },
    )


def test_one_mail_one_complaint_an_answer_for_each(lbox, lmtp_port):
    for host, port in ((lbox.e["LMTP_SOCKET"], 0), ("127.0.0.1", lmtp_port)):
        mark = letters.mark()
        with smtplib.LMTP(host, port, local_hostname="mail.example") as s:
            assert s.docmd("EHLO", "mail.example")[0] == 500
            s.ehlo_resp = s.helo_resp = None
            s.ehlo()  # smtplib's LMTP says LHLO here
            assert s.mail("a@shop.example")[0] == 250
            assert [s.rcpt(r)[0] for r in ("care@example.com", "nobody@example.com", "shop@example.com")] == [250, 550, 250]
            code, text = s.data(letters.mail(f"To both {mark}", f"broken {mark}", sender="Ann <a@shop.example>"))
            second = s.getreply()
            assert (code, text) == second and code == 250
            assert s.noop()[0] == 250, "and no third"
        c = lbox.complaint_of(mark)
        assert lbox.db.value("select desks from complaints where id = %s", c["id"]) == ["care", "shop"]
        raw = bytes(lbox.db.value("select raw from messages where complaint_id = %s and direction = 'in'", c["id"]))
        assert b" with LMTP id " in raw


def test_postfix_relays_by_smtp_and_lmtp(lbox, lmtp_port, open_folder):
    import targets

    if not targets.Postfix.there():
        pytest.skip("Postfix is not installed, or this is not root")
    folder = os.path.join(open_folder, "postfix")
    with open_postfix(targets, folder, lbox, lmtp_port) as postfix:
        for way in WAYS:
            mark = letters.mark()
            with smtplib.SMTP("127.0.0.1", postfix.port) as s:
                s.sendmail(
                    "a@shop.example",
                    [f"care@{way}.example", f"shop@{way}.example", f"nobody@{way}.example"],
                    letters.mail(f"By {way} {mark}", f"broken {mark}", sender="Ann <a@shop.example>"),
                )
            wait_for(
                lambda m=mark: lbox.db.value("select count(*) from complaints where strpos(subject, %s) > 0", m) == 1, 30, f"the mail by {way}"
            )
            c = lbox.complaint_of(mark)
            assert lbox.db.value("select desks from complaints where id = %s", c["id"]) == ["care", "shop"]

            def log():
                with open(os.path.join(folder, "log"), encoding="utf-8") as f:
                    return [line for line in f if f"@{way}.example" in line and "status=" in line]

            wait_for(lambda: len(log()) >= 3, 20, f"the fate of three recipients by {way}")
            assert sum("status=sent (250 2.0.0 Ok: id " in line for line in log()) == 2, log()
            assert sum("status=bounced" in line and "550 5.1.1" in line for line in log()) == 1, log()


class open_postfix:
    """A Postfix of the test's own that relays each domain its way."""

    def __init__(self, targets, folder, box, lmtp_port):
        class Relay(targets.Postfix):
            def run(self, verb):
                if verb == "start":
                    self.settle()
                super().run(verb)

            def settle(self):
                with open(os.path.join(self.conf, "main.cf"), "a", encoding="utf-8") as f:
                    f.write(f"relay_domains = smtp.example, unix.example, inet.example\ntransport_maps = texthash:{self.conf}/transport\n")
                    f.write("smtp_generic_maps =\nsmtp_dns_support_level = disabled\nsmtp_tls_security_level = none\nlmtp_tls_security_level = none\n")
                with open(os.path.join(self.conf, "transport"), "w", encoding="utf-8") as f:
                    f.write(f"smtp.example smtp:[127.0.0.1]:{box.smtp_port}\nunix.example lmtp:unix:{box.e['LMTP_SOCKET']}\n")
                    f.write(f"inet.example lmtp:inet:127.0.0.1:{lmtp_port}\n")
                with open(os.path.join(self.conf, "master.cf"), "a", encoding="utf-8") as f:
                    f.write("smtp unix - - n - - smtp\nrelay unix - - n - - smtp\nlmtp unix - - n - - lmtp\n")

        self.postfix = Relay(folder)

    def __enter__(self):
        return self.postfix

    def __exit__(self, *_):
        self.postfix.close()


def test_the_socket_goes_with_the_daemon(lbox):
    path = lbox.e["LMTP_SOCKET"]
    assert os.path.exists(path)
    lbox.broken = True
    lbox.kill_daemon(15)
    assert not os.path.exists(path)
