"""Desks: several addresses, tags, a whole domain, postmaster and abuse; one mail for two desks."""
import os
import shutil

import letters
from box import ROOT, default_build, run
from clients import RawSmtp
from model import settle

DESKS = [
    {"name": "care", "addresses": ["care@example.com", "help@shop.example"]},
    {"name": "shop", "addresses": ["laden@shop.example", "@all.example"], "default_team": "billing", "policy": "standard", "brand": "The Shop"},
    {"name": "office", "addresses": ["office@example.com"], "default_team": "privacy", "policy": "standard"},
]
OVERLAY = {"desks": DESKS, "mail": {"postmaster_desk": "office"}}


def verdict(smtp, recipient):
    smtp.command("RSET")
    smtp.command("MAIL FROM:<a@shop.example>")
    return smtp.command(f"RCPT TO:<{recipient}>")[1][0][:9]


def test_who_gets_what(make_box):
    box = make_box(overlay=OVERLAY)
    ok, nobody, relay = "250 2.1.5", "550 5.1.1", "550 5.7.1"
    with RawSmtp(box.smtp_port) as s:
        s.command("EHLO client.example")
        for recipient, wanted in {
            "CARE@Example.COM": ok,
            "care+anything@example.com": ok,
            "care+a+b@example.com": ok,
            "+care@example.com": nobody,
            "care-anything@example.com": nobody,
            "whoever@all.example": ok,
            "whoever@sub.all.example": relay,
            "nobody@example.com": nobody,
            "care@elsewhere.example": relay,
            "PostMaster": ok,
            "postmaster@shop.example": ok,
            "abuse@all.example": ok,
            "Abuse@complaints.example.com": ok,
            "postmaster@elsewhere.example": relay,
        }.items():
            assert verdict(s, recipient) == wanted, recipient
    found = {}
    for recipient in ("help+7@shop.example", "x.y@all.example", "postmaster@all.example", "abuse@complaints.example.com", "Postmaster"):
        mark = letters.mark()
        assert box.mail(letters.mail(f"For whom {mark}", f"hello {mark}"), recipients=[recipient])[0] == 250
        found[recipient] = box.complaint_of(mark)["desk"]
    assert list(found.values()) == ["care", "shop", "office", "office", "office"]

    # one mail, two desks: one message, one complaint; both find it, the first owns it
    mark = letters.mark()
    text = letters.mail(f"For two {mark}", f"a matter without any known word {mark}", sender="Ann <two@shop.example>")
    assert box.mail(text, recipients=["laden@shop.example", "care@example.com", "care+x@example.com"])[0] == 250
    c = box.complaint_of(mark)
    assert (c["desk"], c["desks"], c["team"]) == ("shop", ["shop", "care"], "billing")
    assert box.db.value("select count(*) from messages where complaint_id = %s and direction = 'in'", c["id"]) == 1
    with box.line("agent") as line:
        for desk in ("shop", "care"):
            _, _, rows = line.request("LIST", desk=desk, limit=100)
            assert c["ref"] in [r["ref"] for r in rows], desk
        _, _, rows = line.request("LIST", desk="office", limit=100)
        assert c["ref"] not in [r["ref"] for r in rows]


def test_another_separator_and_none(make_box):
    box = make_box(overlay={"mail": {"tag_separator": "-"}})
    with RawSmtp(box.smtp_port) as s:
        s.command("EHLO client.example")
        assert verdict(s, "care-7@example.com") == "250 2.1.5"
        assert verdict(s, "care+7@example.com") == "550 5.1.1"


def test_check_says_who_gets_postmaster(box, tmp_path):
    done = run(default_build() + "/complaintd", "--check", "--config", box.e["CONFIG"])
    assert done.returncode == 0
    assert "mail to postmaster and abuse goes to desk care, the first" in done.stdout
    with open(box.e["CONFIG"], encoding="utf-8") as f:
        text = f.read()
    for wrong, word in (("  postmaster_desk: nowhere\n", "there is no desk 'nowhere'"), ("  tag_separator: ab\n", "tag_separator")):
        path = tmp_path / "wrong.yaml"
        path.write_text(text.replace("mail:\n", "mail:\n" + wrong, 1), encoding="utf-8")
        done = run(default_build() + "/complaintd", "--check", "--config", str(path))
        assert done.returncode == 78 and word in done.stdout, done.stdout


def test_a_template_of_the_desks_own(make_box, tmp_path):
    folder = tmp_path / "templates"
    shutil.copytree(os.path.join(ROOT, "config", "templates"), folder)
    (folder / "acknowledgement.mail.en.shop.txt").write_text("Subject: The Shop has it: {{ref}}\n\nThe Shop has {{ref}}.\n", encoding="utf-8")
    box = make_box(overlay={**OVERLAY, "templates": str(folder)})
    for recipient, subject in (("laden@shop.example", "The Shop has it"), ("care@example.com", None)):
        mark = letters.mark()
        text = letters.mail(f"Which text {mark}", f"I would like to complain about the text of this answer. {mark}", sender=f"Ann <{mark}@shop.example>")
        assert box.mail(text, recipients=[recipient])[0] == 250
        settle(box.db, 30)
        (answer,) = box.mails(f"{mark}@shop.example")
        assert ("The Shop has it" in answer["Subject"]) == bool(subject), answer["Subject"]
    (folder / "acknowledgement.mail.en.nobody.txt").write_text("Subject: {{ref}}\n\n{{ref}}\n", encoding="utf-8")
    done = run(default_build() + "/complaintd", "--check", "--config", box.e["CONFIG"])
    assert done.returncode == 78 and "there is no desk nobody" in done.stdout, done.stdout
