"""SMS in through the provider's signed webhook; the answer to the customer goes out through its API."""
import secrets

import clients
import letters
from model import wait_for


def number():
    return "+86139" + "".join(secrets.choice("0123456789") for _ in range(8))


def test_signed_sms_becomes_a_complaint_and_is_answered(box):
    mark, sender = letters.mark(), number()
    status, body = box.sms(clients.sms_params(f"你们客服态度太差了，骂人还挂电话！{mark}", sender))
    assert status // 100 == 2 and "<Message" not in body
    c = box.complaint_of(mark)
    assert (c["channel"], c["customer_phone"], c["language"], c["category"]) == (
        "sms",
        sender,
        "zh",
        "service-attitude",
    )
    wait_for(lambda: box.sent_sms(sender), 30, "acknowledgement by SMS")
    sent = box.sent_sms(sender)
    assert len(sent) == 1 and c["ref"] in sent[0]["body"] and sent[0]["from"] == "+18005551212"
    assert any("\u4e00" <= ch <= "\u9fff" for ch in sent[0]["body"])


def test_unsigned_is_403_counted_and_not_stored(box):
    before = box.metric("complaintd_sms_signature_failures_total")
    mark = letters.mark()
    params = clients.sms_params(f"forged {mark}")
    good = clients.twilio_signature(box.e["SMS_TWILIO_TOKEN"], box.e["SMS_TWILIO_URL"], params)
    assert box.sms(params, signature="")[0] == 403
    assert box.sms(params, signature="AAAA" + good[4:])[0] == 403
    assert box.sms({**params, "Body": f"changed {mark}"}, signature=good)[0] == 403
    assert box.metric("complaintd_sms_signature_failures_total") == before + 3
    assert box.db.value("select count(*) from messages where strpos(coalesce(body, ''), %s) > 0", mark) == 0


def test_the_provider_delivers_twice(box):
    mark, sender = letters.mark(), number()
    params = clients.sms_params(f"My order never arrived, where is it? {mark}", sender)
    assert [box.sms(params)[0] // 100 for _ in range(3)] == [2, 2, 2]
    c = box.complaint_of(mark)
    assert c["language"] == "en"
    wait_for(lambda: box.sent_sms(sender), 30)
    assert len(box.sent_sms(sender)) == 1


def test_unknown_parameters_are_verified_and_ignored(box):
    mark = letters.mark()
    params = {
        **clients.sms_params(f"Internet is down since Monday {mark}"),
        "SomethingNew": "1&2=3",
        "OptOutType": "",
    }
    assert box.sms(params)[0] // 100 == 2
    box.complaint_of(mark)


def test_wrong_path_method_and_type(box):
    base = f"http://127.0.0.1:{box.e['HTTP_PORT']}"
    params = clients.sms_params("x")
    assert clients.send_sms(base + "/sms/twilio/nobody", box.e["SMS_TWILIO_TOKEN"], params)[0] in (403, 404)
    assert clients.send_sms(base + "/sms/other/main", box.e["SMS_TWILIO_TOKEN"], params)[0] in (403, 404)
    assert clients.post(base + "/nowhere", b"", {})[0] == 404
