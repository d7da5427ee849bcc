"""Coverage-guided fuzzing, for as long as one likes (`make fuzz`):

    python -m tests.fuzz [--seconds N] [--into DIRECTORY] [TARGET ...]

Each target gets N seconds (60) in a process of its own.  DIRECTORY (build/fuzz) keeps what libFuzzer found worth
keeping, for the next time, and crash-* for a find: shrink it, mend what it shows, and put it into corpus/<target>.
Ends with status 1 when there was a find.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from pathlib import Path

MOST_SECONDS_FOR_ONE = 10  # a slower input is a find too
MOST_MEMORY = 2048  # MiB


def fuzz(name: str, seconds: int, into: Path) -> None:
    """One target, in this process, which libFuzzer ends."""
    import atheris

    with atheris.instrument_imports(include=["ocirt"]):
        from tests.fuzz import targets

    corpus = into / name
    corpus.mkdir(parents=True, exist_ok=True)
    for number, seed in enumerate(targets.seeds(name)):
        (corpus / f"seed-{number}").write_bytes(seed)
    options = [
        f"-max_total_time={seconds}",
        f"-max_len={targets.MOST_BYTES}",
        f"-timeout={MOST_SECONDS_FOR_ONE}",
        f"-rss_limit_mb={MOST_MEMORY}",
        f"-artifact_prefix={into}/{name}-",
        "-print_final_stats=1",
        "-verbosity=0",
    ]
    atheris.Setup([sys.argv[0], *options, str(corpus)], lambda data: targets.run(name, data))
    atheris.Fuzz()


def main() -> int:
    if sys.argv[1:2] == ["--here"]:  # nothing of ocirt is imported yet: fuzz() has it instrumented
        fuzz(sys.argv[2], int(sys.argv[3]), Path(sys.argv[4]))
        return 0
    from tests.fuzz.targets import TARGETS

    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description="Fuzz what reads untrusted bytes.")
    parser.add_argument("--seconds", type=int, default=60, help="for each target (60)")
    parser.add_argument("--into", type=Path, default=Path("build/fuzz"), help="directory (build/fuzz)")
    parser.add_argument("targets", nargs="*", metavar="TARGET", help=", ".join(TARGETS))
    options = parser.parse_args()
    names, finds = options.targets or list(TARGETS), []
    for name in names:
        print(f"== {name}: {options.seconds} s", flush=True)
        here = [sys.executable, "-m", "tests.fuzz", "--here", name, str(options.seconds), str(options.into)]
        if subprocess.run(here, check=False).returncode:
            finds.append(name)
    print(f"{len(names)} targets, {len(finds)} with a find{': ' if finds else ''}{', '.join(finds)}")
    return 1 if finds else 0


if __name__ == "__main__":
    sys.exit(main())
