"""The two stories that `./demo --story` prints, run against the daemon: every message that the customer saw, every state on the way, chains whole."""
import pytest

import story
from model import settle

SAID = {
    "by_sms": {"the customer writes": 2, "we write": 3},
    "by_mail": {"the customer writes": 3, "we write": 3},
}


@pytest.mark.parametrize("title, tell", story.STORIES, ids=[tell.__name__ for _, tell in story.STORIES])
def test_story(make_box, title, tell):
    box = make_box(overlay=story.CODES)
    said = []
    s = tell(box, lambda *what: said.append(what))
    settle(box.db)
    for who, times in SAID[tell.__name__].items():
        assert sum(w[0] == who for w in said) == times, said
    assert said[-1][0] == "verified"
    events = box.db.rows("select e.kind, e.actor, e.data from events e join complaints c on c.id = e.complaint_id where c.ref = %s order by e.seq", s.ref)
    assert all(e["actor"] for e in events)
    assert {e["data"].get("via") for e in events if e["actor"].startswith("@")} == {"unix"}
