"""Sessions written down in docs/protocol.md, "→" what the client says and "←" what it hears, and how to have them again: what differs
each time (references, ids, times, cursors) is a name that stands for the same thing throughout."""
import os
import re

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
HANDSHAKE = "(the TLS handshake)"
VARIES = re.compile(
    r"(?P<cursor>\b\d+:[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12})"
    r"|(?P<uuid>\b[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12})"
    r"|(?P<ref>\bC-[0-9A-Z]{4}-[0-9A-Z]{4}-[0-9A-Z]{4}\b)"
    r"|(?P<time>\b\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d+)?(?:Z|\+00:00))"
)


def sessions(path=os.path.join(ROOT, "docs", "protocol.md")):
    """Lists of steps: [requests said at once, answers then heard], or HANDSHAKE."""
    with open(path, encoding="utf-8") as f:
        blocks = re.findall(r"^```\n(→ .*?)^```$", f.read(), re.M | re.S)
    assert blocks, "the document has no sessions"
    return [steps_of(block.splitlines()) for block in blocks]


def steps_of(lines):
    steps = []
    for line in lines:
        arrow, text = line[:1], line[2:].strip()
        if text == HANDSHAKE:
            steps.append(HANDSHAKE)
        elif arrow == "→":
            if not steps or steps[-1] == HANDSHAKE or steps[-1][1]:
                steps.append([[], []])
            steps[-1][0].append(text)
        else:
            assert arrow == "←", line
            steps[-1][1].append(text)
    return steps


class Names:
    """What the document calls something, and what it is called here."""

    def __init__(self):
        self.here, self.there = {}, {}

    def said(self, text):
        """A request of the document with today's names, in whatever way it writes a reference."""
        for name, value in sorted(self.here.items(), key=lambda pair: -len(pair[0])):
            text = text.replace(name, value)
            bare = name.replace("-", "").lower()
            if name.startswith("C-"):
                text = text.replace(bare, value.replace("-", "").lower())
        return text

    def heard(self, document, here):
        """Learns the names of an answer; "" when the two are the same but for these, else what is different."""
        if VARIES.sub(lambda m: f"<{m.lastgroup}>", document) != VARIES.sub(lambda m: f"<{m.lastgroup}>", here):
            return f"the document has {document}\nheard was        {here}"
        for a, b in zip(VARIES.finditer(document), VARIES.finditer(here)):
            if a.lastgroup == "time":
                continue
            if self.here.setdefault(a[0], b[0]) != b[0] or self.there.setdefault(b[0], a[0]) != a[0]:
                return f"{a[0]} of the document was {self.here[a[0]]}, and now {b[0]}"
        return ""


def replay(connect, secure, names, steps, hear=None):
    """connect() gives a clients.Line, secure(line) does the handshake. `hear` instead of comparing: is given what was heard."""
    line = connect()
    try:
        for step in steps:
            if step == HANDSHAKE:
                secure(line)
                continue
            requests, answers = step
            line.send_raw("".join(names.said(r) + "\n" for r in requests).encode())
            if hear:
                hear(line, requests)
                continue
            for answer in answers:
                heard = line.file.readline().decode().rstrip("\n")
                fault = names.heard(answer, heard)
                assert not fault, fault
        if not hear:
            assert line.file.readline() == b"", "the session ended"
    finally:
        line.close()
