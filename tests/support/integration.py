#!/usr/bin/python3
"""integration.py RESULTS: runs each file of tests/integration in a pytest of its own, CD_TEST_JOBS of them at a time (2 when not
given), those that take longest first, and prints what each said when it is done. JUnit files go to RESULTS. Ends with 1 when any failed.

Most tests wait more than they compute, so two at a time take little more than half as long; each file has a sandbox of its own."""
import concurrent.futures
import os
import subprocess
import sys
import time

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
FOLDER = os.path.join(ROOT, "tests", "integration")
# What takes a minute or more; a file that is not named here comes behind them.
LONG = ["test_bounces", "test_kill", "test_outmail", "test_scan", "test_mending", "test_hostile", "test_abuse", "test_tokens", "test_races",
        "test_http_framing", "test_web", "test_subscribe", "test_notify", "test_corpus", "test_threads"]
# They measure times or processor time: nothing else runs beside them.
ALONE = ["test_hostile", "test_abuse"]


def run(results, name):
    started = time.monotonic()
    done = subprocess.run(
        ["/usr/bin/python3", "-m", "pytest", os.path.join(FOLDER, name + ".py"), "-q", "-ra", "--tb=short", "-p", "no:cacheprovider",
         f"--junitxml={results}/integration-{name}.xml"],
        cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL, encoding="utf-8", errors="replace", check=False)
    print(f"---- {name}: {time.monotonic() - started:.0f} s\n{done.stdout.rstrip()}", flush=True)
    return done.returncode in (0, 5)  # 5: it has no test for this machine


def main(results):
    names = sorted(f[:-3] for f in os.listdir(FOLDER) if f.startswith("test_") and f.endswith(".py"))
    names.sort(key=lambda n: LONG.index(n) if n in LONG else len(LONG))
    together = [n for n in names if n not in ALONE]
    with concurrent.futures.ThreadPoolExecutor(int(os.environ.get("CD_TEST_JOBS", "2"))) as pool:
        good = list(pool.map(lambda n: run(results, n), together))
    good += [run(results, n) for n in names if n in ALONE]
    return 0 if all(good) else 1


if __name__ == "__main__":
    sys.exit(main(os.path.abspath(sys.argv[1])))
