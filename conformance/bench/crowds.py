"""Many containers: started at once, alive at once, and one executed in all the time.  For bench.py."""

from __future__ import annotations

import itertools
import os
import statistics
import time
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from bench import Bench, Runtime

AT_ONCE = (1, 2, 4, 16)
AT_ONCE_ROUNDS = 6
ALIVE, EDGE = 500, 25  # the first and last EDGE creates are compared
EXECS_A_SECOND, EXEC_SECONDS = 50, 20


def head(first: str, bench: Bench) -> list[str]:
    others = [f"{bench.runtimes[0].name} / {runtime.name}" for runtime in bench.runtimes[1:]]
    names = [runtime.name for runtime in bench.runtimes]
    return [f"| {first} | " + " | ".join([*names, *others]) + " |", "|---|" + "---:|" * len([*names, *others])]


def row(name: str, values: list[float], digits: int = 1) -> str:
    """values: one for each runtime; the first is compared with the others."""
    cells = [f"{value:.{digits}f}" for value in values] + [f"{values[0] / other:.2f}" for other in values[1:]]
    return f"| {name} | " + " | ".join(cells) + " |"


def at_once(bench: Bench) -> list[str]:
    """A table: so many `run`s started together, until the last has ended."""
    walls: dict[tuple[int, str], list[float]] = {}
    for _, count, runtime in itertools.product(range(AT_ONCE_ROUNDS), AT_ONCE, bench.runtimes):
        lines = [bench.arguments(runtime, "run", number) for number in range(count)]
        began = time.perf_counter()
        for pid, line in [(bench.spawn(line), line) for line in lines]:
            bench.wait(pid, line)
        walls.setdefault((count, runtime.name), []).append((time.perf_counter() - began) * 1000)
    rows = [
        row(str(count), [statistics.median(walls[count, runtime.name]) for runtime in bench.runtimes])
        for count in AT_ONCE
    ]
    return ["## So many `run` at once, ms until the last has ended", "", *head("containers", bench), *rows, ""]


def alive(bench: Bench) -> list[str]:
    """A table: ALIVE created containers; what the last creates cost beside the first, and what all hold.

    The first are made once more when all are gone: a machine that is slower by then is no fault of the number.
    """
    first, last, memory = [], [], []
    for runtime in bench.runtimes:
        free = available()
        creates, pids = crowd(bench, runtime, ALIVE)
        memory.append((free - available()) / ALIVE)
        remove(bench, runtime, pids)
        again, pids = crowd(bench, runtime, EDGE)
        remove(bench, runtime, pids)
        first.append(statistics.median(creates[:EDGE] + again))
        last.append(statistics.median(creates[-EDGE:]))
    return [
        f"## {ALIVE} containers alive",
        "",
        *head("", bench),
        row(f"`create`, ms, of the first {EDGE}, before and after", first),
        row(f"`create`, ms, of the last {EDGE}", last),
        row("last over first", [b / a for a, b in zip(first, last, strict=True)], 2),
        row("memory of the host for each, KiB", memory, 0),
        "",
    ]


def crowd(bench: Bench, runtime: Runtime, count: int) -> tuple[list[float], list[int]]:
    """So many created containers: the milliseconds of each `create`, and the pids of their inits."""
    creates, pids = [], []
    for number in range(count):
        creates.append(bench.timed(runtime, "create", number)[0])
        pids.append(bench.init_pid(runtime))
    return creates, pids


def available() -> int:
    """MemAvailable of proc(5), KiB."""
    text = Path("/proc/meminfo").read_text()
    return int(text.partition("MemAvailable:")[2].split()[0])


def remove(bench: Bench, runtime: Runtime, pids: list[int]) -> None:
    """Kill the containers with these inits, which are this process's to reap, and delete them."""
    for number, pid in enumerate(pids):
        kill = bench.arguments(runtime, "kill", number)
        bench.wait(bench.spawn(kill), kill)
        os.waitpid(pid, 0)
        bench.timed(runtime, "delete", number)


def steady_exec(bench: Bench) -> list[str]:
    """A table: `exec` in one container at a fixed rate; the CPU time it takes of one processor."""
    shares = []
    for runtime in bench.runtimes:
        bench.timed(runtime, "create")
        bench.timed(runtime, "start")
        used = 0.0
        due = time.perf_counter()
        for _ in range(EXECS_A_SECOND * EXEC_SECONDS):
            time.sleep(max(0.0, due - time.perf_counter()))
            due += 1 / EXECS_A_SECOND
            used += bench.timed(runtime, "exec")[1]
        shares.append(used / 1000 / EXEC_SECONDS * 100)
        bench.timed(runtime, "kill")
        bench.timed(runtime, "delete")
    title = f"## {EXECS_A_SECOND} `exec` a second, for {EXEC_SECONDS} s"
    return [title, "", *head("", bench), row("CPU time, per cent of one processor", shares), ""]
