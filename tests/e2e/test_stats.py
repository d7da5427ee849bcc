"""stats: what is shown of real containers, in each form, and when watching ends."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
from collections.abc import Callable

import pytest

from tests.support.bundles import Bundle
from tests.support.runtime import BOUND, Runtime, poll
from tests.support.terminal import OnTerminal

pytestmark = pytest.mark.only_ocirt("runc and crun have `events` alone")

MIB = 1 << 20


def rows(text: str) -> list[dict[str, str]]:
    header, *lines = (line.split() for line in text.splitlines())
    return [dict(zip(header, line, strict=True)) for line in lines]


SAMPLE = re.compile(r'ocirt_container_(\w+)\{id="([^"]+)"[^}]*\} (\S+)')


def metrics(text: str) -> dict[tuple[str, str], float]:
    """Name and id -> value; tests/unit/stats has Prometheus' own parser."""
    samples = [line for line in text.splitlines() if not line.startswith("#")]
    return {(name, one): float(value) for name, one, value in (SAMPLE.fullmatch(line).groups() for line in samples)}  # type: ignore[union-attr]


@pytest.fixture
def busy(runtime: Runtime, bundle: Bundle) -> Bundle:
    """It has 64 MiB and 20 processes, used 4 MiB at once, is throttled to a tenth of a CPU, and uses all of that."""
    bundle.resources(memory={"limit": 64 * MIB}, pids={"limit": 20}, cpu={"quota": 1000, "period": 10000})
    runtime.launch(bundle.script("dd if=/dev/zero of=/dev/null bs=4M count=1; echo up >/up; while :; do :; done"))
    poll((bundle.root / "up").exists, "the end of dd")
    poll(lambda: "throttledPeriods" in runtime.ok("stats", "--format", "json", bundle.id).out, "throttling")
    return bundle


def test_table(runtime: Runtime, busy: Bundle, new_bundle: Callable[[], Bundle]) -> None:
    """Those that have a process; what the cgroup says beside the numbers."""
    created, ended = new_bundle(), new_bundle()
    runtime.create(created.args("true"))
    runtime.launch(ended.args("true"))
    runtime.wait(ended)
    found = {row["ID"]: row for row in rows(runtime.ok("stats").out)}
    assert set(found) == {busy.id, created.id}
    row = found[busy.id]
    assert (row["STATUS"], row["LIMIT"], row["PIDS"], row["OOM"]) == ("running", "64M", "1/20", "0")
    assert 0 < float(row["CPU%"]) < 30
    assert 0 < int(row["THROTTLED"].removesuffix("%")) <= 100
    assert float(row["PEAK"].removesuffix("M")) >= 4
    assert (found[created.id]["STATUS"], found[created.id]["LIMIT"]) == ("created", "-")
    assert [one["ID"] for one in rows(runtime.ok("stats", created.id, busy.id).out)] == [created.id, busy.id]
    runtime.fails("stats", busy.id, ended.id, says=f"container with id {ended.id} is not running")
    runtime.fails("stats", "nobody", says="container does not exist")
    for one in (created, ended):
        runtime.ok("delete", "--force", one.id)
    runtime.stop(busy)
    assert rows(runtime.ok("stats").out) == []


def test_json_is_what_events_say(runtime: Runtime, busy: Bundle) -> None:
    (one,) = json.loads(runtime.ok("stats", "--format", "json").out)
    event = json.loads(runtime.ok("events", "--stats", busy.id).out)["data"]
    assert (one["id"], one["status"], one["oom_kills"]) == (busy.id, "running", 0)
    assert one["pid"] == json.loads(runtime.ok("state", busy.id).out)["pid"]
    assert set(one["usage"]) >= {name for name, value in event.items() if value is not None}
    assert one["usage"]["pids"] == event["pids"] == {"current": 1, "limit": 20}
    assert one["usage"]["cpu"]["usage"]["total"] <= event["cpu"]["usage"]["total"]
    runtime.stop(busy)


def test_prometheus(runtime: Runtime, busy: Bundle) -> None:
    found = metrics(runtime.ok("stats", "--format", "prometheus").out)
    name = busy.id
    assert found["info", name] == 1
    assert found["memory_limit_bytes", name] == 64 * MIB
    assert 4 * MIB < found["memory_peak_bytes", name] <= 64 * MIB
    assert found["pids", name] == 1
    assert found["pids_limit", name] == 20
    assert found["memory_oom_kills_total", name] == 0
    assert 0 < found["cpu_throttled_periods_total", name] <= found["cpu_periods_total", name]
    assert found["cpu_throttled_seconds_total", name] > 0
    used = ("cpu_usage_seconds_total", name)
    assert found[used] > 0
    poll(lambda: metrics(runtime.ok("stats", "--format", "prometheus").out)[used] > found[used], "more of it")
    runtime.stop(busy)


def test_killed_for_want_of_memory(runtime: Runtime, bundle: Bundle) -> None:
    bundle.resources(memory={"limit": 16 * MIB, "swap": 16 * MIB})
    runtime.launch(bundle.script("dd if=/dev/zero of=/dev/null bs=64M count=1; echo killed; sleep 1000"))

    def kills() -> float:
        return metrics(runtime.ok("stats", "--format", "prometheus").out)["memory_oom_kills_total", bundle.id]

    poll(lambda: kills() == 1, "the kill")
    assert rows(runtime.ok("stats").out)[0]["OOM"] == "1"
    runtime.stop(bundle)


def test_watching_ends_with_the_last_container(runtime: Runtime, busy: Bundle) -> None:
    watching = subprocess.Popen(
        runtime.arguments("stats", "--watch", "--interval", "20ms", "--format", "json", busy.id),
        stdout=subprocess.PIPE,
        text=True,
    )
    assert watching.stdout is not None
    first, second = (json.loads(watching.stdout.readline())[0] for _ in range(2))
    assert first["id"] == second["id"] == busy.id
    runtime.stop(busy)
    watching.communicate(timeout=BOUND)
    assert watching.returncode == 0


def test_on_a_terminal_like_top(runtime: Runtime, busy: Bundle) -> None:
    terminal = OnTerminal(runtime.arguments("stats", "--watch", "--interval", "50ms"), 10, 70)
    seen = ""
    while seen.count("\x1b[H\x1b[2J") < 3:
        seen += os.read(terminal.master, 4096).decode()
    terminal.child.send_signal(signal.SIGINT)
    assert terminal.finish() == 130
    _, _, last, _ = seen.split("\x1b[H\x1b[2J")
    title, header, row = last.splitlines()[:3]
    assert title.endswith("  1 container; every 50ms, until Ctrl-C")
    assert header.split()[:3] == ["ID", "STATUS", "CPU%"]
    assert row.split()[:2] == [busy.id, "running"]
    assert max(map(len, last.splitlines())) <= 70
    runtime.stop(busy)


def test_misuse(runtime: Runtime) -> None:
    runtime.fails("stats", "--format", "xml", says="invalid format option")
    runtime.fails("stats", "--interval", "1s", says="--interval without --watch")
    runtime.fails("stats", "--watch", "--format", "prometheus", says="prometheus is no format to watch")
    runtime.fails("stats", "--watch", "--interval", "0s", says="duration interval must be greater than 0")
