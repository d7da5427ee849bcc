"""events: one JSON object a line, in the shape engines read."""

from __future__ import annotations

import json
import subprocess

import pytest

from tests.support.bundles import Bundle
from tests.support.events import Events
from tests.support.runtime import Runtime

pytestmark = pytest.mark.differs(crun="1.8 has no events")

MIB = 1 << 20


def test_stats(runtime: Runtime, bundle: Bundle) -> None:
    bundle.resources(memory={"limit": 64 * MIB}, pids={"limit": 20})
    runtime.launch(bundle.script("sleep 1000"))
    event = json.loads(runtime.ok("events", "--stats", bundle.id).out)
    assert (event["type"], event["id"]) == ("stats", bundle.id)
    data = event["data"]
    assert list(data) == [
        "cpu",
        "cpuset",
        "memory",
        "pids",
        "blkio",
        "hugetlb",
        "intel_rdt",
        "network_interfaces",
    ]
    assert data["pids"] == {"current": 1, "limit": 20}
    assert data["memory"]["usage"]["limit"] == 64 * MIB
    assert 0 < data["memory"]["usage"]["usage"] <= data["memory"]["usage"]["max"]
    assert data["cpu"]["usage"]["total"] > 0
    assert set(data["cpu"]["usage"]) >= {"total", "kernel", "user"}
    runtime.stop(bundle)


def test_stats_come_again_until_the_container_is_gone(runtime: Runtime, bundle: Bundle) -> None:
    runtime.launch(bundle.script("sleep 1000"))
    events = Events(runtime, "--interval", "10ms", bundle.id)
    assert [events.next()["type"] for _ in range(3)] == ["stats"] * 3
    runtime.stop(bundle)
    assert events.end() == 0


def test_out_of_memory(runtime: Runtime, bundle: Bundle) -> None:
    bundle.resources(memory={"limit": 16 * MIB, "swap": 16 * MIB})
    runtime.create(bundle.script("read go < /tmp/go; dd if=/dev/zero of=/dev/null bs=64M count=1; sleep 1000"))
    fifo = bundle.root / "tmp/go"
    subprocess.run(["mkfifo", fifo], check=True)
    runtime.start(bundle)
    events = Events(runtime, "--interval", "20ms", bundle.id)
    assert events.next()["type"] == "stats"  # now the watch is set
    fifo.write_text("go\n")
    while (event := events.next())["type"] == "stats":
        pass
    assert event == {"type": "oom", "id": bundle.id}
    runtime.stop(bundle)
    assert events.end() == 0


def test_bad_interval(runtime: Runtime, bundle: Bundle) -> None:
    runtime.launch(bundle.script("sleep 1000"))
    for interval in ("0s", "-1s"):
        runtime.fails("events", f"--interval={interval}", bundle.id, says="duration interval must be greater than 0")
    runtime.stop(bundle)


def test_stopped_container(runtime: Runtime, bundle: Bundle) -> None:
    runtime.launch(bundle.script("true"))
    runtime.wait(bundle)
    runtime.fails("events", "--stats", bundle.id, says=f"container with id {bundle.id} is not running")
    runtime.ok("delete", bundle.id)
