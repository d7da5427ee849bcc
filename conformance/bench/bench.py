"""Time every verb of several runtimes beside each other and print medians.

    python3 conformance/bench/bench.py --runtime ocirt=PATH --runtime runc --runtime crun
                                       [--rounds 40] [--write | --short]

All runtimes get the same bundle (busybox, the config of `runc spec` without a terminal) in one private mount
namespace, in which the cgroup v2 hierarchy is hidden because crun refuses to run beside it, and /run is a tmpfs.
In every round the runtimes come in random order, verb by verb, so that what the machine does meanwhile hits all alike.

Back to back, a command starts when the one before has ended.  Spaced, commands start 100 ms apart: then a write to
cgroup.procs waits for an RCU grace period, as it does for the one container a user starts.

--short leaves out all but the first table, and prints it as JSON too: {runtime: {verb: [wall ms, cpu ms]}}.
"""

from __future__ import annotations

import argparse
import ctypes
import datetime
import json
import os
import random
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import bundles
import crowds
import through

if TYPE_CHECKING:
    from collections.abc import Callable

HERE = Path(__file__).resolve().parent
DOCUMENT = HERE.parents[1] / "docs" / "benchmarks.md"
UNIFIED = "/sys/fs/cgroup/unified"
INSIDE = "OCIRT_BENCH_INSIDE"
SECCOMP, MOUNTS = "run, docker's seccomp profile", "run, 200 mounts"
VERBS = ("run", SECCOMP, MOUNTS, "create", "start", "exec", "state", "kill", "delete")
GAP = 0.1  # seconds between starts, when spaced
MEMORY_ROUNDS = 5
PR_SET_CHILD_SUBREAPER = 36


class Runtime:
    def __init__(self, argument: str) -> None:
        self.name, _, command = argument.partition("=")
        found = shutil.which(command or self.name)
        if found is None:
            sys.exit(f"{command or self.name}: no such executable")
        self.command = os.path.abspath(found)

    def version(self) -> str:
        out = subprocess.run([self.command, "--version"], check=True, capture_output=True, text=True).stdout
        return out.split("\n")[0]


class Bench:
    """The bundles, the state directories and the samples: (runtime name, verb) -> list of (wall ms, cpu ms)."""

    def __init__(self, runtimes: list[Runtime], work: Path) -> None:
        self.runtimes = runtimes
        self.work = work
        self.samples: dict[tuple[str, str], list[tuple[float, float]]] = {}
        self.null = os.open("/dev/null", os.O_RDWR)
        self.errors = os.open(work / "errors", os.O_RDWR | os.O_CREAT | os.O_APPEND)
        self.run_bundles = {
            "run": self.make_bundle("run", ["true"]),
            SECCOMP: self.make_bundle("seccomp", ["true"], bundles.add_seccomp),
            MOUNTS: self.make_bundle("mounts", ["true"], bundles.add_mounts),
        }
        self.wait_bundle = self.make_bundle("wait", ["sleep", "600"])
        self.last_start = 0.0

    def make_bundle(self, name: str, args: list[str], change: Callable[[dict[str, Any]], None] | None = None) -> str:
        bundles.make_bundle(self.work / name, args, change)
        return str(self.work / name)

    def arguments(self, runtime: Runtime, verb: str, number: int = 0) -> list[str]:
        """A command line.  number: which of the runtime's containers."""
        container = f"bench-{os.getpid()}-{runtime.name}-{number}"
        if verb in self.run_bundles:
            words = ["run", "--bundle", self.run_bundles[verb], container]
        else:
            rest = {
                "create": ["--bundle", self.wait_bundle, "--pid-file", self.pid_file(runtime), container],
                "exec": [container, "/bin/busybox", "true"],
                "kill": [container, "KILL"],
            }.get(verb, [container])
            words = [verb, *rest]
        return [runtime.command, "--root", str(self.work / "state" / runtime.name), *words]

    def pid_file(self, runtime: Runtime) -> str:
        return str(self.work / f"{runtime.name}.pid")

    def spawn(self, arguments: list[str]) -> int:
        actions = [(os.POSIX_SPAWN_DUP2, self.null, fd) for fd in (0, 1)] + [(os.POSIX_SPAWN_DUP2, self.errors, 2)]
        return os.posix_spawn(arguments[0], arguments, os.environ, file_actions=actions)

    def wait(self, pid: int, arguments: list[str]) -> float:
        """Its user and system time in ms.  Exits when the command failed."""
        _, status, usage = os.wait4(pid, 0)
        if status:
            said = (self.work / "errors").read_text()
            sys.exit(f"{said}{' '.join(arguments)}: exit status {os.waitstatus_to_exitcode(status)}")
        return (usage.ru_utime + usage.ru_stime) * 1000

    def timed(self, runtime: Runtime, verb: str, number: int = 0) -> tuple[float, float]:
        """Run one command to its end: wall and user+system time in ms."""
        arguments = self.arguments(runtime, verb, number)
        began = time.perf_counter()
        cpu = self.wait(self.spawn(arguments), arguments)
        wall = (time.perf_counter() - began) * 1000
        if verb == "kill":
            os.waitpid(self.init_pid(runtime), 0)  # ours to reap: this process is the subreaper
        return wall, cpu

    def once(self, runtime: Runtime, verb: str, gap: float) -> None:
        """Keep the times of one command, that starts at least gap seconds after the one before."""
        time.sleep(max(0.0, self.last_start + gap - time.perf_counter()))
        self.last_start = time.perf_counter()
        self.samples.setdefault((runtime.name, verb), []).append(self.timed(runtime, verb))

    def init_pid(self, runtime: Runtime) -> int:
        return int(Path(self.pid_file(runtime)).read_text())

    def rounds(self, count: int, gap: float) -> dict[tuple[str, str], list[tuple[float, float]]]:
        """The samples of count rounds, after one round that only warms the page cache."""
        for number in range(count + 1):
            if number == 1:
                self.samples = {}
            for verb in VERBS:
                for runtime in random.sample(self.runtimes, len(self.runtimes)):
                    self.once(runtime, verb, gap)
        return self.samples

    def memory(self, runtime: Runtime) -> tuple[int, int]:
        """Peak resident KiB of `run`, by GNU time because posix_spawn charges a child with this process's own
        peak; and the proportional set size in KiB of a created container's waiting init."""
        peaks = []
        for _ in range(MEMORY_ROUNDS):
            command = ["/usr/bin/time", "-f", "%M", *self.arguments(runtime, "run")]
            done = subprocess.run(command, check=True, stdin=self.null, stdout=self.null, stderr=subprocess.PIPE)
            peaks.append(int(done.stderr.split()[-1]))
        self.once(runtime, "create", 0)
        rollup = Path(f"/proc/{self.init_pid(runtime)}/smaps_rollup").read_text()
        waiting = next(int(line.split()[1]) for line in rollup.split("\n") if line.startswith("Pss:"))
        self.once(runtime, "kill", 0)
        self.once(runtime, "delete", 0)
        return int(statistics.median(peaks)), waiting

    def floor(self, arguments: list[str], count: int) -> float:
        """Median wall ms of a command that is no runtime."""
        walls = []
        for _ in range(count):
            began = time.perf_counter()
            os.waitpid(os.posix_spawn(arguments[0], arguments, os.environ), 0)
            walls.append((time.perf_counter() - began) * 1000)
        return statistics.median(walls)

    def remove_leftovers(self) -> None:
        for runtime in self.runtimes:
            state = self.work / "state" / runtime.name
            for container in os.listdir(state) if state.exists() else ():
                command = [runtime.command, "--root", str(state), "delete", "--force", container]
                subprocess.run(command, check=False, capture_output=True)
        while self.reap():
            pass

    def reap(self) -> bool:
        """Take one that has ended; False when there is none."""
        try:
            return os.waitpid(-1, os.WNOHANG)[0] > 0
        except ChildProcessError:
            return False


def medians(samples: list[tuple[float, float]]) -> tuple[float, float]:
    return statistics.median(s[0] for s in samples), statistics.median(s[1] for s in samples)


def section(
    title: str, runtimes: list[Runtime], samples: dict[tuple[str, str], list[tuple[float, float]]]
) -> list[str]:
    """One table: a row per verb; wall (cpu) per runtime; the first runtime's wall and cpu over each other one's."""
    first, *others = runtimes
    head = [*(r.name for r in runtimes), *(f"{first.name} / {r.name}" for r in others)]
    lines = [f"## {title}", "", "| verb | " + " | ".join(head) + " |", "|---|" + "---:|" * len(head)]
    for verb in VERBS:
        by_name = {r.name: medians(samples[r.name, verb]) for r in runtimes}
        cells = [f"{wall:.1f} ({cpu:.1f})" for wall, cpu in by_name.values()]
        mine = by_name[first.name]
        for other in others:
            wall, cpu = by_name[other.name]
            cells.append(f"{mine[0] / wall:.2f} ({mine[1] / cpu:.2f})")
        lines.append(f"| {verb} | " + " | ".join(cells) + " |")
    return [*lines, ""]


def processor() -> str:
    for line in Path("/proc/cpuinfo").read_text().split("\n"):
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return "unknown processor"


def report(bench: Bench, rounds: int) -> str:
    runtimes = bench.runtimes
    back_to_back = dict(bench.rounds(rounds, 0))
    spaced = dict(bench.rounds(max(rounds // 2, 5), GAP))
    memory = {r.name: bench.memory(r) for r in runtimes}
    python = bench.floor(["/usr/bin/python3", "-I", "-S", "-c", "pass"], rounds)
    true = bench.floor(["/bin/busybox", "true"], rounds)
    lines = [
        "# Benchmarks",
        "",
        f"Written by `make bench` on {datetime.date.today()}: Linux {os.uname().release},"
        f" {os.cpu_count()} x {processor()}, load {os.getloadavg()[0]:.1f};"
        f" {rounds} rounds back to back, {max(rounds // 2, 5)} spaced.",
        "",
        *(f"* {r.name}: {r.version()}" for r in runtimes),
        "",
        "Median milliseconds of wall time, in brackets of user + system time; then ratios of these medians.",
        "All run in one mount namespace with the cgroup v2 hierarchy hidden (crun needs that) and a tmpfs as /run,",
        "on a busybox bundle with the config of `runc spec`.",
        f"For scale: `busybox true` takes {true:.1f} ms here, `python3 -I -S -c pass` {python:.1f} ms.",
        "",
        *section("Back to back", runtimes, back_to_back),
        *section("Spaced: one start every 100 ms", runtimes, spaced),
        *crowds.at_once(bench),
        *crowds.alive(bench),
        *crowds.steady_exec(bench),
        *through.engines(bench),
        "## Memory",
        "",
        "| KiB | " + " | ".join(r.name for r in runtimes) + " |",
        "|---|" + "---:|" * len(runtimes),
        "| peak resident set of `run` | " + " | ".join(str(memory[r.name][0]) for r in runtimes) + " |",
        "| waiting init after `create`, proportional set | "
        + " | ".join(str(memory[r.name][1]) for r in runtimes)
        + " |",
        "",
        *time_line(bench),
    ]
    return "\n".join(lines) + "\n"


def time_line(bench: Bench) -> list[str]:
    """What the first runtime, if it is ocirt, says of one of its runs."""
    first = bench.runtimes[0]
    if first.name != "ocirt":
        return []
    trace = str(bench.work / "trace.json")
    command, *words = bench.arguments(first, "run")
    subprocess.run([command, "--trace", trace, *words], check=True, stdin=bench.null, stdout=bench.null)
    chart = subprocess.run([command, "trace", "view", trace], check=True, capture_output=True, text=True).stdout
    return ["## One run, by `ocirt --trace FILE run` and `ocirt trace view FILE`", "", "```text", chart.rstrip(), "```"]


def short_report(bench: Bench, rounds: int) -> str:
    """The first table and, as the last line, its medians as JSON."""
    samples = bench.rounds(rounds, 0)
    found = {r.name: {verb: medians(samples[r.name, verb]) for verb in VERBS} for r in bench.runtimes}
    return "\n".join([*section("Back to back", bench.runtimes, samples), json.dumps(found)])


def enter_namespace() -> None:
    """Start over in a private mount namespace without the v2 hierarchy, once."""
    if INSIDE in os.environ:
        return
    os.environ[INSIDE] = "1"
    hide = f"if mountpoint -q {UNIFIED}; then umount {UNIFIED}; fi; "
    fast = "mount -t tmpfs tmpfs /run; "  # as on an ordinary host: the state directories are made there
    command = ["unshare", "--mount", "--propagation", "private", "sh", "-c", hide + fast + 'exec "$0" "$@"']
    os.execvp("unshare", [*command, sys.executable, *sys.argv])


def main() -> None:
    parser = argparse.ArgumentParser(description="time the verbs of several runtimes beside each other")
    parser.add_argument("--runtime", action="append", required=True, help="NAME or NAME=PATH; the first is compared")
    parser.add_argument("--rounds", type=int, default=40)
    parser.add_argument("--write", action="store_true", help=f"rewrite {DOCUMENT.name}")
    parser.add_argument("--short", action="store_true", help="the verbs back to back only, also as JSON")
    options = parser.parse_args()
    enter_namespace()
    ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    work = Path(tempfile.mkdtemp(prefix="ocirt-bench.", dir="/run"))
    bench = Bench([Runtime(argument) for argument in options.runtime], work)
    try:
        text = (short_report if options.short else report)(bench, options.rounds)
    finally:
        bench.remove_leftovers()
        shutil.rmtree(work)
    print(text)
    if options.write:
        DOCUMENT.write_text(text)


if __name__ == "__main__":
    main()
