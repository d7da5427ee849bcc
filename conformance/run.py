"""Run the validation programs of OCI runtime-tools on one or more runtimes and print a table.

    python conformance/run.py --runtime ocirt=/usr/local/bin/ocirt --runtime runc --runtime crun [--only hostname ...]

The programs come from the Go module pinned in go.mod; they are built once into conformance/cache.  A program
passes when it ends with status 0 and its TAP output has no `not ok`.  expected.toml lists the failures that are
known, each with its reason; the exit code is 1 when a verdict differs from it.

Each program runs in its own mount namespace, with its own state directory and TMPDIR, and with this process as
its reaper, so that whatever it leaves behind is found again and removed.
"""

from __future__ import annotations

import argparse
import ctypes
import datetime
import os
import re
import shutil
import signal
import subprocess
import sys
import tarfile
import time
import tomllib
from pathlib import Path

HERE = Path(__file__).resolve().parent
CACHE = HERE / "cache"
TABLE = HERE.parent / "docs" / "conformance-runtime-tools.md"
MODULE = "github.com/opencontainers/runtime-tools"
UNIFIED = "/sys/fs/cgroup/unified"
PR_SET_CHILD_SUBREAPER = 36
# What the programs call their cgroups: a container's ID, or one of the suite's two names.
CGROUP_NAMES = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}|cgrouptest|testdir")
PASS, FAIL, SKIP, LATE = "pass", "FAIL", "skip", "LATE"


class Runtime:
    """A runtime under test.  name: as in the table and expected.toml; command: its executable."""

    def __init__(self, argument: str) -> None:
        self.name, _, command = argument.partition("=")
        found = shutil.which(command or self.name)
        if found is None:
            sys.exit(f"{command or self.name}: no such executable")
        self.command = os.path.abspath(found)
        # crun refuses a v2 hierarchy beside v1 ones, and Debian's refuses the suite's ociVersion 1.3.0.
        self.is_crun = "crun" in self.name
        self.hide_unified = self.is_crun and os.path.ismount(UNIFIED)

    def version(self) -> str:
        return subprocess.run([self.command, "--version"], check=False, capture_output=True, text=True).stdout.split(
            "\n"
        )[0]


class Result:
    """What one program said: verdict, its TAP counts, the first complaint."""

    def __init__(self, verdict: str, ok: int, not_ok: int, complaint: str, seconds: float) -> None:
        self.verdict = verdict
        self.ok = ok
        self.not_ok = not_ok
        self.complaint = complaint
        self.seconds = seconds


def build() -> list[str]:
    """Build the programs and the root file system they unpack; returns the programs' names."""
    packages = re.findall(r'_ "(.*)"', (HERE / "tools.go").read_text())
    bin_dir = CACHE / "bin"
    bin_dir.mkdir(parents=True, exist_ok=True)
    environment = os.environ | {"CGO_ENABLED": "0"}  # runtimetest runs inside the container: no libc there
    subprocess.run(
        ["go", "build", "-buildvcs=false", "-trimpath", "-ldflags=-s -w", "-o", f"{bin_dir}/", *packages],
        cwd=HERE,
        env=environment,
        check=True,
    )
    make_rootfs(CACHE / "rootfs-amd64.tar.gz")
    shutil.copy2(bin_dir / "runtimetest", CACHE / "runtimetest")
    return sorted(Path(package).name for package in packages if "/validation/" in package)


def make_rootfs(archive: Path) -> None:
    """A root file system of busybox-static, with the users that the programs look for."""
    if archive.exists():
        return
    busybox = shutil.which("busybox") or sys.exit("busybox is missing: apt-get install busybox-static")
    root = CACHE / "rootfs"
    shutil.rmtree(root, ignore_errors=True)
    for name in ("bin", "dev", "etc", "proc", "sys"):
        (root / name).mkdir(parents=True)
    shutil.copy2(busybox, root / "bin/busybox")
    for applet in subprocess.run([busybox, "--list"], capture_output=True, text=True, check=True).stdout.split():
        if applet != "busybox":
            (root / "bin" / applet).symlink_to("busybox")
    (root / "etc/passwd").write_text("root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/false\n")
    (root / "etc/group").write_text("root:x:0:\nnobody:x:65534:\n")
    with tarfile.open(archive, "w:gz") as tar:
        tar.add(root, arcname=".")
    shutil.rmtree(root)


class TimeOut(Exception):
    pass


def raise_time_out(*_: object) -> None:
    raise TimeOut


def wait_for(pid: int, limit: float) -> int | None:
    """The exit status of pid, reaping every orphan on the way; None when limit (seconds) passes first."""
    signal.signal(signal.SIGALRM, raise_time_out)
    signal.setitimer(signal.ITIMER_REAL, limit)
    try:
        while True:
            ended, status = os.waitpid(-1, 0)
            if ended == pid:
                return os.waitstatus_to_exitcode(status)
    except TimeOut:
        return None
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)


def kill_orphans() -> None:
    """End and reap what is still below this process."""
    while True:
        with open(f"/proc/self/task/{os.getpid()}/children") as file:
            children = [int(pid) for pid in file.read().split()]
        for pid in children:
            os.kill(pid, signal.SIGKILL)
        if not children:
            return
        for _ in children:
            os.waitpid(-1, 0)


def in_namespace(
    runtime: Runtime, *command: str | Path, output: int = subprocess.DEVNULL, environment: dict[str, str] | None = None
) -> subprocess.Popen[bytes]:
    """Start a command in a session and a mount namespace of its own, as the runtime needs it."""
    hide = f"umount {UNIFIED} && " if runtime.hide_unified else ""
    return subprocess.Popen(
        ["unshare", "--mount", "--propagation", "private", "sh", "-c", f'{hide}exec "$0" "$@"', *command],
        cwd=CACHE,
        env=os.environ | (environment or {}),
        stdin=subprocess.DEVNULL,
        stdout=output,
        stderr=output,
        start_new_session=True,
    )


def cgroup_directories() -> set[str]:
    return {
        os.path.join(directory, name)
        for directory, names, _ in os.walk("/sys/fs/cgroup")
        for name in names
        if CGROUP_NAMES.fullmatch(name)
    }


def clean_up(runtime: Runtime, work: Path, cgroups_before: set[str]) -> None:
    """Remove what a program left: containers, processes, cgroups, files."""
    state = work / "state"
    for container in sorted(os.listdir(state)) if state.exists() else ():
        in_namespace(runtime, work / "runtime", "delete", "--force", container).wait()
    kill_orphans()
    for top in cgroup_directories() - cgroups_before:
        for directory, _, _ in os.walk(top, topdown=False):
            try:
                os.rmdir(directory)
            except OSError as error:
                print(f"{directory}: {error.strerror}", file=sys.stderr)
    shutil.rmtree(work, ignore_errors=True)


def wrapper_text(runtime: Runtime, state: Path) -> str:
    """The shell script that the programs take for the runtime."""
    older = """for word; do
    [ "$last" != --bundle ] || sed -i 's/"ociVersion": *"1\\.3\\.0"/"ociVersion":"1.0.2"/' "$word/config.json"
    last=$word
done
"""
    return f'#!/bin/sh\n{older if runtime.is_crun else ""}exec {runtime.command} --root {state} "$@"\n'


def run_program(program: str, runtime: Runtime, limit: float) -> Result:
    """Run one program on one runtime; its output is kept in cache/output."""
    work = Path(f"/tmp/ocirt-conformance.{os.getpid()}")
    (work / "tmp").mkdir(parents=True)
    cgroups_before = cgroup_directories()
    wrapper = work / "runtime"
    wrapper.write_text(wrapper_text(runtime, work / "state"))
    wrapper.chmod(0o755)
    output = CACHE / "output" / f"{runtime.name}-{program}.tap"
    output.parent.mkdir(exist_ok=True)
    began = time.monotonic()
    with open(output, "wb") as file:
        environment = {"RUNTIME": str(wrapper), "TMPDIR": str(work / "tmp")}
        process = in_namespace(runtime, CACHE / "bin" / program, output=file.fileno(), environment=environment)
        status = wait_for(process.pid, limit)
    process.returncode = status or 0  # reaped above; subprocess need not look for it
    seconds = time.monotonic() - began
    if status is None:
        os.killpg(process.pid, signal.SIGKILL)
    clean_up(runtime, work, cgroups_before)
    return judge(output.read_text(errors="replace"), status, seconds)


def judge(tap: str, status: int | None, seconds: float) -> Result:
    """The verdict on a program's TAP output and exit status.

    Some programs report no test at all: they print an error as YAML, or nothing when all is well.
    """
    lines = [line.strip() for line in tap.split("\n")]
    bad = [line for line in lines if line.startswith("not ok")]
    good = [line for line in lines if re.match(r"ok \d", line)]
    skipped = [line for line in good if "# SKIP" in line.upper()]
    errors = [line for line in lines if line.startswith('"error": "') and line != '"error": ""']
    if status is None:
        return Result(LATE, len(good), len(bad), f"not finished after {seconds:.0f} s", seconds)
    if bad or status != 0:
        said = [line for line in lines if line and not re.match(r'ok|TAP|1\.\.|exit status|["{}#.-]', line)]
        return Result(FAIL, len(good), len(bad), (bad or said or [f"exit status {status}"])[-1], seconds)
    if errors and not good:
        return Result(FAIL, 0, 0, errors[0], seconds)
    return Result(SKIP if good and len(skipped) == len(good) else PASS, len(good), 0, "", seconds)


def table(
    results: dict[str, dict[str, Result]], runtimes: list[Runtime], expected: dict[str, dict[str, object]]
) -> str:
    """The Markdown document."""
    version = re.search(rf"{MODULE} (\S+)", (HERE / "go.mod").read_text())
    lines = [
        "# The OCI runtime-tools validation suite",
        "",
        f"Written by `make conformance` on {datetime.date.today()}, Linux {os.uname().release};"
        f" {MODULE} {version[1] if version else '?'}.",
        "",
        *(
            f"* {r.name}: {r.version()}{', with the v2 hierarchy hidden and ociVersion 1.0.2' if r.is_crun else ''}"
            for r in runtimes
        ),
        "",
        "A number is the count of TAP tests that were ok; `FAIL a/b` means a of b failed."
        " The reasons are those of conformance/expected.toml.",
        "",
        "| program | " + " | ".join(r.name for r in runtimes) + " | why it fails |",
        "|---|" + "---|" * (len(runtimes) + 1),
    ]
    for program, row in results.items():
        why = (
            str(expected.get(program, {}).get("why", ""))
            if any(r.verdict in (FAIL, LATE) for r in row.values())
            else ""
        )
        lines.append(f"| {program} | " + " | ".join(cell(row[r.name]) for r in runtimes) + f" | {why} |")
    totals = [sum(row[r.name].verdict == PASS for row in results.values()) for r in runtimes]
    lines.append(f"| **pass, of {len(results)}** | " + " | ".join(f"**{total}**" for total in totals) + " | |")
    return "\n".join(lines) + "\n"


def cell(result: Result) -> str:
    if result.verdict == FAIL and result.not_ok:
        return f"FAIL {result.not_ok}/{result.ok + result.not_ok}"
    return f"pass {result.ok or ''}".rstrip() if result.verdict == PASS else result.verdict


def surprises(results: dict[str, dict[str, Result]], expected: dict[str, dict[str, object]]) -> list[str]:
    """Where the verdicts and expected.toml differ."""
    found = []
    for program, row in results.items():
        known = expected.get(program, {})
        fails = known.get("fails", [])
        assert isinstance(fails, list)
        for name, result in row.items():
            failed = result.verdict in (FAIL, LATE)
            if failed and name not in fails:
                found.append(f"{name} {program}: {result.complaint}")
            elif not failed and name in fails and not known.get("races"):
                found.append(f"{name} {program}: passes, though expected.toml lists it as failing")
    return found


def main() -> int:
    parser = argparse.ArgumentParser(description="run the OCI runtime-tools validation suite")
    parser.add_argument("--runtime", action="append", required=True, help="NAME or NAME=PATH; may be repeated")
    parser.add_argument("--only", action="append", help="a program's name; may be repeated")
    parser.add_argument("--timeout", type=float, default=60, help="seconds for one program (default 60)")
    options = parser.parse_args()
    ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    runtimes = [Runtime(argument) for argument in options.runtime]
    with open(HERE / "expected.toml", "rb") as file:
        expected = tomllib.load(file)
    programs = [name for name in build() if not options.only or name in options.only]
    results: dict[str, dict[str, Result]] = {}
    for program in programs:
        row = results[program] = {r.name: run_program(program, r, options.timeout) for r in runtimes}
        print(f"{program:34}", *(f"{cell(r):12} {r.seconds:5.1f}s" for r in row.values()), flush=True)
    for runtime in runtimes:
        passed = sum(row[runtime.name].verdict == PASS for row in results.values())
        print(f"{runtime.name}: {passed} of {len(results)} pass")
    if not options.only:
        TABLE.write_text(table(results, runtimes, expected))
    found = surprises(results, expected)
    print(*(f"unexpected: {line}" for line in found), sep="\n")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
