"""`make fuzz`: thousands of altered files through the command line; exits with 1 if one breaks the promise.

The promise: exit 0 or 2, no traceback, no crash, no 5 s of silence, nothing written but what was asked for.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from pathlib import Path

from tests.fuzz.kinds import KINDS, possible
from tests.fuzz.pool import Pool
from tests.fuzz.worker import prepare


def main() -> int:
    """Run the cases that the command line asks for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cases", type=int, default=2_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--only", type=int, action="append", help="only the case of this number")
    parser.add_argument("--keep", type=Path, help="with --only: lay the altered file out here, too")
    options = parser.parse_args()
    skipped = [kind.name for kind in KINDS if not kind.possible]
    if skipped:
        print(f"not installed, so not tried: {', '.join(skipped)}")
    started = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        pool = Pool(Path(folder), workers=1 if options.only else options.workers)
        pool.build()
        indexes = options.only or range(options.cases)
        if options.keep is not None:
            for index in options.only or ():
                kind, what = prepare(Path(folder) / "seeds", options.keep / str(index), options.seed, index)
                print(f"{options.keep / str(index)}: {kind.name}: {what}: {json.dumps(kind.arguments)}")
        pool.run(options.seed, iter(indexes))
    print(pool.table())
    counted = sum(tally.cases for tally in pool.tallies.values())
    print(f"{counted} cases, {len(pool.violations)} violations, {time.monotonic() - started:.0f} s")
    return int(bool(pool.violations) or len(possible()) == 0)


if __name__ == "__main__":
    sys.exit(main())
