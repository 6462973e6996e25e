"""ABNF (RFC 5234, with %s"…" of RFC 7405) as a regular expression, for grammars that do not recurse. Rules that the grammar takes from
elsewhere are given as expressions."""
import re

CORE = {
    "ALPHA": "[A-Za-z]",
    "DIGIT": "[0-9]",
    "HEXDIG": "[0-9A-Fa-f]",
    "DQUOTE": '"',
    "SP": " ",
    "CR": "\r",
    "LF": "\n",
}
# of RFC 8259: an object is looked into by a parser of JSON, here it only has its brackets
JSON = {
    "object": r"\{.*\}",
    "string": r'"(?:[^"\\\x00-\x1f]|\\(?:["\\/bfnrt]|u[0-9A-Fa-f]{4}))*"',
}
TOKEN = re.compile(
    r'\s*(?:(?P<string>(?:%s|%i)?"[^"]*")|(?P<range>%x[0-9A-F]+(?:-[0-9A-F]+)?)|(?P<repeat>\d*\*\d*|\d+)(?=[A-Za-z("%\[])'
    r"|(?P<name>[A-Za-z][A-Za-z0-9-]*)|(?P<sign>[()\[\]/]))"
)


class Grammar:
    def __init__(self, text, given):
        self.rules, self.known = {}, dict(CORE, **given)
        name = None
        for line in text.splitlines():
            line = re.sub(r'^((?:[^";]|"[^"]*")*);.*$', r"\1", line).rstrip()
            rule = re.match(r"([A-Za-z][A-Za-z0-9-]*)\s*=\s*(.*)", line)
            if rule:
                name = rule[1]
                assert name not in self.rules, f"{name} is defined twice"
                self.rules[name] = rule[2]
            elif line.strip():
                self.rules[name] += " " + line.strip()

    def expression(self, name, inside=()):
        """The regular expression of a rule."""
        assert name not in inside, f"{name} recurses"
        if name not in self.known:
            assert name in self.rules, f"{name} is used and not defined"
            tokens = self.tokens(self.rules[name])
            found = self.alternation(tokens, (*inside, name))
            assert not tokens, f"{name}: {tokens}"
            self.known[name] = found
        return self.known[name]

    @staticmethod
    def tokens(text):
        found, at = [], 0
        while at < len(text.rstrip()):
            m = TOKEN.match(text, at)
            assert m, f"no ABNF: {text[at:]}"
            found.append((m.lastgroup, m[m.lastgroup]))
            at = m.end()
        return found

    def alternation(self, tokens, inside):
        ways = [self.concatenation(tokens, inside)]
        while tokens and tokens[0] == ("sign", "/"):
            tokens.pop(0)
            ways.append(self.concatenation(tokens, inside))
        return "(?:" + "|".join(ways) + ")"

    def concatenation(self, tokens, inside):
        parts = []
        while tokens and tokens[0] not in (("sign", "/"), ("sign", ")"), ("sign", "]")):
            parts.append(self.element(tokens, inside))
        return "".join(parts)

    def element(self, tokens, inside):
        kind, value = tokens.pop(0)
        if kind == "repeat":
            low, star, high = value.partition("*")
            times = "{%s,%s}" % (low or "0", high) if star else "{%s}" % low
            return f"(?:{self.element(tokens, inside)}){times}"
        if kind == "name":
            return self.expression(value, inside)
        if kind == "string":
            exact = value.startswith("%s")
            text = re.escape(value[value.index('"') + 1 : -1])
            return text if exact else f"(?i:{text})"
        if kind == "range":
            low, _, high = value[2:].partition("-")
            return f"[\\x{low}-\\x{high or low}]"
        found = self.alternation(tokens, inside)
        assert tokens.pop(0) == ("sign", ")" if value == "(" else "]")
        return found if value == "(" else f"(?:{found})?"
