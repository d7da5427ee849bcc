"""Run the engines' checks with ocirt and with runc, and compare check by check.

    python conformance/engines/engines.py --runtime ocirt=build/ocirt/bin/ocirt --runtime runc [--engine podman ...]

The first runtime is the one under test, the others are what it is compared with: a check that passes with any of
them must pass with it, or the exit status is 1.  place.py says where and how the checks run.  Output and traces of
every check stay in build/engines; --write puts the table of every engine's last run into docs/engines.md.
"""

from __future__ import annotations

import argparse
import datetime
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
TREE = HERE.parent.parent
TOOLS = HERE.parent / "cache" / "go"  # place.py knows it too
CRI_TOOLS = "sigs.k8s.io/cri-tools@v1.34.0"
OUTPUT = TREE / "build" / "engines"
DOCUMENT = TREE / "docs" / "engines.md"
BEGIN, END = "<!-- table: written by make engines -->", "<!-- end of the table -->"
LIMIT = 1800  # seconds for one engine with one runtime
# name of the file with the checks -> what prints the engine's version
ENGINES = {
    "podman": "podman --version",
    "rootless": "podman --version",
    "containerd": "containerd --version",
    "cri": "crictl --version",
    "docker": "/usr/sbin/dockerd --version",
    "compose": "docker-compose --version",
    "swarm": "/usr/sbin/dockerd --version",
    "buildah": "buildah --version",
}
UNSHARE = (
    "unshare",
    "--mount",
    "--pid",
    "--net",
    "--ipc",
    "--uts",
    "--cgroup",
    "--fork",
    "--mount-proc",
    "--kill-child",
)

Results = dict[str, dict[str, dict[str, object]]]  # check -> runtime -> verdict, said, seconds


def own_cgroups() -> list[tuple[Path, bool]]:
    """The directory of this process in every hierarchy that is mounted, and whether it is cgroup v2."""
    own = {}
    for line in Path("/proc/self/cgroup").read_text().splitlines():
        _, names, path = line.split(":", 2)
        own.update(dict.fromkeys(names.split(","), path))
    found = []
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        fields, _, tail = line.partition(" - ")
        kind, _, options = tail.split(" ", 2)
        if kind in ("cgroup", "cgroup2"):
            path = next(
                (own[name] for name in options.split(",") if name in own and kind == "cgroup"), own.get("", "/")
            )
            found.append((Path(fields.split()[4] + path), kind == "cgroup2"))
    return found


class Cgroup:
    """A new cgroup in every hierarchy, for all that a place runs."""

    def __init__(self, name: str) -> None:
        self.directories = []
        for own, _ in own_cgroups():
            directory = own / name
            directory.mkdir()
            self.directories.append(directory)
            for file in ("cpuset.cpus", "cpuset.mems"):
                if (directory / file).exists() and (own / file).exists():
                    (directory / file).write_text((own / file).read_text())

    def enter(self) -> None:
        """For a child before its exec."""
        for directory in self.directories:
            (directory / "cgroup.procs").write_text(str(os.getpid()))

    def remove(self) -> list[str]:
        """Remove all; what was there below, as a list of complaints."""
        left = []
        for directory in self.directories:
            for top, _, _ in os.walk(directory, topdown=False):
                if top != str(directory):
                    left.append(top)
                remove_directory(top)
        return left


def remove_directory(path: str) -> None:
    """A cgroup is busy for a moment after its last process has ended."""
    for _ in range(100):
        try:
            os.rmdir(path)
            return
        except OSError:
            time.sleep(0.05)
    print(f"could not remove {path}", file=sys.stderr)


def build_tools() -> None:
    """crictl and critest, once; without a Go that is new enough the CRI checks are skipped, and say so."""
    if (TOOLS / "critest").exists() or shutil.which("go") is None:
        return
    found = subprocess.run(["go", "mod", "download", "-json", CRI_TOOLS], check=False, capture_output=True, text=True)
    if found.returncode:
        print(f"{CRI_TOOLS} cannot be had: {found.stderr}", file=sys.stderr)
        return
    TOOLS.mkdir(parents=True, exist_ok=True)
    source = json.loads(found.stdout)["Dir"]
    for words in (
        ["build", "-o", f"{TOOLS}/", "./cmd/crictl"],
        ["test", "-c", "-o", f"{TOOLS}/critest", "./cmd/critest"],
    ):
        if subprocess.run(["go", *words], check=False, cwd=source).returncode:
            print(f"go {' '.join(words)} failed", file=sys.stderr)


def run_engine(engine: str, name: str, path: str, only: list[str]) -> None:
    """One engine with one runtime, in a place of its own; the results are in OUTPUT."""
    work = Path(tempfile.mkdtemp(prefix="ocirt-engines."))
    cgroup = Cgroup(work.name)
    command = [*UNSHARE, sys.executable, str(HERE / "place.py"), engine, name, path, str(work), *only]
    process = subprocess.Popen(command, preexec_fn=cgroup.enter, start_new_session=True)  # noqa: PLW1509 - there are no threads
    try:
        process.wait(LIMIT)
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        cgroup.remove()
        keep(work, OUTPUT / f"{engine}-{name}")


def keep(work: Path, where: Path) -> None:
    """Output and logs for the reader; the rest is removed."""
    shutil.rmtree(where, ignore_errors=True)
    where.mkdir(parents=True)
    for name in ("output", "log"):
        if (work / name).exists():
            shutil.copytree(work / name, where / name)
    file = work / "results.json"
    if not file.exists():
        file.write_text(json.dumps([{"check": "the place", "verdict": "FAIL", "said": "it died"}]))
    shutil.copy2(file, where)
    shutil.rmtree(work)


def rows_of(engine: str, runtimes: dict[str, str]) -> Results:
    """What the last run of this engine said, check by check; {} when there was none."""
    rows: Results = {}
    for name in runtimes:
        file = OUTPUT / f"{engine}-{name}" / "results.json"
        for result in json.loads(file.read_text()) if file.exists() else ():
            rows.setdefault(result["check"], {})[name] = result
    return rows


def date_of(engine: str, runtimes: dict[str, str]) -> str:
    """The day of the engine's last run, of the oldest if the runtimes' are of several; "never"."""
    files = [OUTPUT / f"{engine}-{name}" / "results.json" for name in runtimes]
    times = [file.stat().st_mtime for file in files if file.exists()]
    return str(datetime.date.fromtimestamp(min(times))) if times else "never"


def regressions(results: dict[str, Results], tested: str) -> list[str]:
    """Checks that pass with another runtime and not with the tested one; engines of which nothing passed at all."""
    found = []
    for engine, rows in results.items():
        mine = [row[tested] for row in rows.values() if tested in row]
        if not any(result["verdict"] in ("pass", "skip") for result in mine):
            found.append(f"{engine}: nothing passed")
        for check, row in rows.items():
            verdict = row.get(tested, {}).get("verdict", "missing")
            if verdict != "pass" and any(other["verdict"] == "pass" for name, other in row.items() if name != tested):
                found.append(f"{engine}: {check}: {verdict}: {row.get(tested, {}).get('said', '')}")
    return found


def version(command: str) -> str:
    """The first line of what `NAME --version` prints."""
    command = command.replace("crictl", str(TOOLS / "crictl"))
    if shutil.which(command.split()[0]) is None:
        return "not installed"
    text = subprocess.run(command.split(), check=False, capture_output=True, text=True).stdout
    return text.strip().splitlines()[0]


def table(results: dict[str, Results], runtimes: dict[str, str]) -> str:
    """Markdown: versions, then one table an engine."""
    lines = [
        f"Written on {datetime.date.today()}, Linux {os.uname().release}, cgroup v1 and v2 side by side, no systemd.",
        "",
        *(f"* {version(f'{path} --version')}" for path in runtimes.values()),
    ]
    for engine, rows in results.items():
        counts = ", ".join(
            f"{name} {sum(row.get(name, {}).get('verdict') == 'pass' for row in rows.values())}" for name in runtimes
        )
        lines += ["", f"### {engine}: {version(ENGINES[engine])}", ""]
        lines += [f"{len(rows)} checks, run on {date_of(engine, runtimes)}; passed: {counts}.", ""]
        lines += [f"| check | {' | '.join(runtimes)} |", "|---|" + "---|" * len(runtimes)]
        lines += [
            f"| {check} | {' | '.join(cell(row.get(name)) for name in runtimes)} |" for check, row in rows.items()
        ]
    return "\n".join(lines) + "\n"


def cell(result: dict[str, object] | None) -> str:
    if result is None:
        return "-"
    said = re.sub(r"[|<>`]", " ", str(result["said"]))[:120]
    return str(result["verdict"]) if result["verdict"] == "pass" else f"{result['verdict']}: {said}"


def write_table(text: str) -> None:
    before, _, rest = DOCUMENT.read_text().partition(BEGIN)
    DOCUMENT.write_text(f"{before}{BEGIN}\n\n{text}\n{END}{rest.partition(END)[2]}")


def main() -> int:
    parser = argparse.ArgumentParser(description="run engines' checks with several runtimes")
    parser.add_argument("--runtime", action="append", required=True, help="NAME or NAME=PATH; the first is tested")
    parser.add_argument("--engine", action="append", choices=sorted(ENGINES), help="default: all")
    parser.add_argument("--only", action="append", default=[], help="checks whose heading has this in it")
    parser.add_argument("--write", action="store_true", help="rewrite the table in docs/engines.md")
    options = parser.parse_args()
    runtimes = {}
    for argument in options.runtime:
        name, _, command = argument.partition("=")
        runtimes[name] = os.path.abspath(shutil.which(command or name) or sys.exit(f"{command or name}: not found"))
    engines = options.engine or list(ENGINES)
    if "cri" in engines:
        build_tools()
    for engine in engines:
        for name, path in reversed(runtimes.items()):  # what is compared with first: it tells whether the check works
            run_engine(engine, name, path, options.only)
    results = {engine: rows_of(engine, runtimes) for engine in engines}
    if options.write:
        write_table(table({engine: rows_of(engine, runtimes) for engine in ENGINES}, runtimes))
    for engine, rows in results.items():
        for check, row in rows.items():
            for name, result in row.items():
                if result["verdict"] != "pass":
                    print(f"{engine} {name} {result['verdict']}: {check}: {result['said']}")
    found = regressions(results, next(iter(runtimes)))
    print(*(f"REGRESSION {line}" for line in found), sep="\n")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
