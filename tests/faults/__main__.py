"""`python -m tests.faults --report`: inject every fault, print what became of it."""

import argparse
import sys
import tempfile
import time
from pathlib import Path

from tests.faults.rows import ROWS


def main() -> int:
    """Exit code: 0 if every fault was survived, else 1."""
    parser = argparse.ArgumentParser(prog="python -m tests.faults", description=__doc__)
    parser.add_argument("--report", action="store_true", help="run all rows, thoroughly")
    parser.add_argument("--only", metavar="ROW", choices=ROWS, action="append", help="this row")
    parser.add_argument("--quick", action="store_true", help="as the test suite runs them")
    asked = parser.parse_args()
    if not (asked.report or asked.only):
        parser.print_help()
        return 2
    names = asked.only or list(ROWS)
    width = max(map(len, names))
    injected = survived = 0
    started = time.monotonic()
    print(f"{'row':<{width}}  injected  survived  seconds  skipped")
    for name in names:
        begun = time.monotonic()
        with tempfile.TemporaryDirectory(prefix="aecli-faults-") as scratch:
            outcome = ROWS[name](Path(scratch).resolve(), not asked.quick)
        injected, survived = injected + outcome.injected, survived + outcome.survived
        seconds = time.monotonic() - begun
        print(
            f"{name:<{width}}  {outcome.injected:>8}  {outcome.survived:>8}  {seconds:>7.1f}"
            f"  {outcome.skipped or ''}",
            flush=True,
        )
        for failure in outcome.failures:
            print(f"    {failure}", file=sys.stderr, flush=True)
    seconds = time.monotonic() - started
    print(f"{'all':<{width}}  {injected:>8}  {survived:>8}  {seconds:>7.1f}")
    return 0 if survived == injected else 1


if __name__ == "__main__":
    sys.exit(main())
