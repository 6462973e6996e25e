"""LIST with words to search for: English, Chinese and references; what people do to a complaint afterwards; pages."""
import secrets

import pytest

import letters
from clients import LineError
from model import wait_for


def put(box, text, subject="A matter", sender="search@shop.example"):
    mark = letters.mark()
    assert box.mail(letters.mail(subject, f"{text} {mark}", f"S <{sender}>"), sender)[0] == 250
    return box.complaint_of(mark)


def refs(line, **args):
    return [row["ref"] for row in line.ok("LIST", **args)]


def found(line, words, ref):
    """Words are written after the commit."""
    return wait_for(lambda: ref in refs(line, search=words), 60, f"{ref} to be found by {words}")


def test_words_of_both_scripts_and_references(box):
    word = "zq" + secrets.token_hex(5)
    english = put(box, f"The {word}fridge hums, Ünïted Été in full-width ＡＢＣ{word}", "Ann's delivery")
    chinese = put(box, f"我的蒲公英茶壶坏了，请退款。{word}", "投诉 质量")
    with box.line("agent") as line:
        found(line, word, english["ref"])
        found(line, "蒲公英茶壶", chinese["ref"])
        for words in (f"{word}frid", f"{word}FRIDGE HUMS", f"hums {word}fridge", f"abc{word}", f"ünïted {word}f", f"delivery {word}f"):
            assert refs(line, search=words) == [english["ref"]], words
        for words in (f"茶壶 {word}", f"蒲公英 {word}", f"公英茶 {word}", f"坏 {word}", f"款 {word}", f"蒲公英茶壶坏了 {word}", f"质量 {word}",
                      f"茶壶{word}"):
            assert refs(line, search=words) == [chinese["ref"]], words
        assert set(refs(line, search=word)) == {english["ref"], chinese["ref"]}
        for words in (f"壶茶 {word}", f"fridge{word}", f"hum{word}", f"{word} nothing-of-this"):
            assert refs(line, search=words) == [], words
        # references: whole and sloppy, a part of one, and the sender
        bare = english["ref"].replace("-", "").lower()
        for words in (english["ref"], english["ref"].lower(), bare, f"{english['ref'][2:6]} {word}", f"search@shop.example {word}f"):
            assert refs(line, search=words) == [english["ref"]], words
        assert refs(line, search=word, category="nothing") == []
        assert refs(line, search=word, status="new", channel="mail", limit=1) == [max(english, chinese, key=lambda c: c["id"])["ref"]]


def test_long_texts_and_long_words(box):
    """The first 20,000 characters count, and the first 40 of a word."""
    early, late, long = "ze" + secrets.token_hex(5), "zl" + secrets.token_hex(5), "zx" + secrets.token_hex(29)
    made = put(box, f"{early} {long} " + "\n".join(["filler words of no interest"] * 900) + f" {late}")
    with box.line("agent") as line:
        found(line, early, made["ref"])
        assert refs(line, search=late) == []
        assert refs(line, search=long) == refs(line, search=long[:40]) == refs(line, search=long[:40] + "other") == [made["ref"]]


def test_pages_go_on_where_the_last_one_ended(box):
    word = "zp" + secrets.token_hex(5)
    made = [put(box, f"number {n} {word}")["ref"] for n in range(5)]
    with box.line("agent") as line:
        found(line, word, made[-1])
        wait_for(lambda: len(refs(line, search=word)) == 5, 60)
        seen, after = [], {}
        while True:
            _, body, rows = line.request("LIST", search=word, limit=2, **after)
            seen += [row["ref"] for row in rows]
            if "next" not in body:
                break
            after = {"after": body["next"]}
        assert seen == made[::-1]


def test_words_follow_their_messages(box):
    one, two = "zm" + secrets.token_hex(5), "zn" + secrets.token_hex(5)
    a, b = put(box, one, sender="moves@shop.example"), put(box, two, sender="moves2@shop.example")
    with box.line("agent") as line:
        found(line, one, a["ref"])
        found(line, two, b["ref"])
        line.ok("MERGE", ref=b["ref"], into=a["ref"])
        assert refs(line, search=two) == [a["ref"]]
        assert refs(line, search=b["ref"]) == [a["ref"]], "a reference leads to where its complaint went"
        line.ok("SPLIT", ref=a["ref"], message=str(b["id"]))
        assert refs(line, search=two) == [b["ref"]] and refs(line, search=one) == [a["ref"]]


@pytest.mark.parametrize("words", ["…", "' & | ! :* \\", "-", "%"])
def test_nothing_to_search_for(box, words):
    with box.line("agent") as line:
        with pytest.raises(LineError) as e:
            line.ok("LIST", search=words)
        assert e.value.code == "bad-argument"


def test_words_that_look_like_operators(box):
    with box.line("agent") as line:
        for words in ("a' | 'b", "x:*&!y", "'); drop table x; --", "\\' <-> z", "a" * 200, "账" * 200):
            line.ok("LIST", search=words)
        for words in ("", "x" * 201, "a\nb"):
            with pytest.raises(LineError) as e:
                line.ok("LIST", search=words)
            assert e.value.code == "bad-argument" and e.value.body["field"] == "search", words
        with pytest.raises(LineError):
            line.ok("LIST", search=7)


def test_an_instance_writes_what_the_one_before_left(make_box):
    """Words that were lost, and messages stored while nobody wrote any, are found by the walk of the next start."""
    box = make_box()
    word = "zw" + secrets.token_hex(5)
    ref = put(box, word)["ref"]
    with box.line("agent") as line:
        found(line, word, ref)
    box.kill_daemon()
    box.db.execute("delete from search")
    box.db.execute("update search_state set walked = 'ffffffff-0000-7000-8000-000000000000'")
    box.start_daemon()
    with box.line("agent") as line:
        found(line, word, ref)
    assert box.metric("complaintd_search_messages_total") >= 1
    assert box.db.value("select walked < 'ffffffff-0000-7000-8000-000000000000' from search_state")


def test_a_failure_is_counted_and_ends(make_box):
    box = make_box()
    box.db.execute("alter table search rename to away")
    word = "zf" + secrets.token_hex(5)
    ref = put(box, word)["ref"]
    wait_for(lambda: box.metric("complaintd_search_failures_total") >= 1, 20)
    assert "search.failed" in box.log()
    box.db.execute("alter table away rename to search")
    with box.line("agent") as line:
        wait_for(lambda: ref in refs(line, search=word), 30)
