"""What ocirt, runc and crun say of the same failures: every bundle of tests/support/failures.py, run as root.

    python3 conformance/errors/errors.py            # to standard output
    python3 conformance/errors/errors.py --write    # into lines.json, which docs/generate_errors.py reads

Runtimes that are not installed are left out; with --write they keep the lines they have.
"""

from __future__ import annotations

import json
import shutil
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parents[1]))

from tests.support.bundles import Bundle, Roots  # noqa: E402
from tests.support.failures import FAILURES, line_of, normal, provoke  # noqa: E402
from tests.support.host import Place  # noqa: E402
from tests.support.runtime import Runtime  # noqa: E402

LINES = HERE / "lines.json"
NAMES = ("ocirt", "runc", "crun")
# What is not comparable, and why.
NOT_COMPARED = {("crun", "too_many_processes"): "(not run: in this test crun needs a process more, to hide cgroup v2)"}


def main() -> int:
    lines: dict[str, dict[str, str]] = json.loads(LINES.read_text()) if LINES.exists() else {}
    names = [name for name in NAMES if name == "ocirt" or shutil.which(name)]
    place = Place()
    try:
        with tempfile.TemporaryDirectory() as made:
            directory = Path(made)
            directory.chmod(0o711)
            roots = Roots(directory / "roots")
            for name in names:
                said = say(name, directory / name, roots, place)
                for failure, line in said.items():
                    lines.setdefault(failure, {})[name] = line
                    print(f"{failure}: {line}", flush=True)
    finally:
        place.close()
    if "--write" in sys.argv[1:]:
        LINES.write_text(json.dumps(lines, indent=1, ensure_ascii=False) + "\n")
    return 0


def say(name: str, directory: Path, roots: Roots, place: Place) -> dict[str, str]:
    """Failure -> the line that the runtime ends with, what it prints when it does not fail."""
    directory.mkdir(mode=0o711)
    runtime = Runtime(directory, name)
    said = {}
    for failure in (failure for group in FAILURES.values() for failure in group):
        title = failure.__name__
        if (name, title) in NOT_COMPARED:
            said[title] = NOT_COMPARED[name, title]
            continue
        bundle = Bundle(directory / title / "web1", roots)
        result = provoke(failure, runtime, bundle, place)
        said[title] = normal(line_of(result), bundle, place) if result.code else "(it runs)"
        runtime.remove_all()
    return said


if __name__ == "__main__":
    sys.exit(main())
