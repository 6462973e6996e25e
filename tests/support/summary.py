#!/usr/bin/python3
"""summary.py DIR: adds up the JUnit files that ./check left in DIR; the last line is "N passed, N failed, N skipped".
A cmocka program is one entry for ctest; its own cases are counted from what it printed. Ends with 1 when anything failed or
nothing ran."""
import glob
import os
import re
import sys
import xml.etree.ElementTree as ET


def cmocka_cases(entry):
    """(passed, failed, skipped) of one test program."""
    output = "".join(part.text or "" for part in entry.iter("system-out"))
    counted = {
        word: sum(int(n) for n in re.findall(rf"\[\s*{word}\s*\] (?:tests: )?(\d+) test", output))
        for word in ("PASSED", "FAILED", "SKIPPED")
    }
    failed = counted["FAILED"]
    if entry.get("status") != "run" or entry.find("failure") is not None:
        failed = max(failed, 1)
    passed = counted["PASSED"]
    return (passed if passed or failed else 1), failed, counted["SKIPPED"]


def pytest_case(entry):
    if entry.find("skipped") is not None:
        return 0, 0, 1
    bad = entry.find("failure") is not None or entry.find("error") is not None
    return (0, 1, 0) if bad else (1, 0, 0)


def count(path):
    each = pytest_case if os.path.basename(path).startswith("integration") else cmocka_cases
    total = [0, 0, 0]
    for entry in ET.parse(path).getroot().iter("testcase"):
        total = [a + b for a, b in zip(total, each(entry))]
    return total


def line(numbers):
    return "{} passed, {} failed, {} skipped".format(*numbers)


def main(folder):
    total = [0, 0, 0]
    names = {
        "unit-debug.xml": "unit tests, sanitizers",
        "unit-release.xml": "unit tests, optimized",
    }
    kinds = {}
    for path in sorted(glob.glob(os.path.join(folder, "*.xml")), reverse=True):
        kind = names.get(os.path.basename(path), "integration tests")
        kinds[kind] = [a + b for a, b in zip(kinds.get(kind, [0, 0, 0]), count(path))]
    for kind, numbers in kinds.items():
        total = [a + b for a, b in zip(total, numbers)]
        print(f"{kind:<24} {line(numbers)}")
    print(line(total))
    return 1 if total[1] or not total[0] else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
