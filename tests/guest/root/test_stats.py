"""stats on cgroup v2: pressure, which v1 does not count, and the peak of memory."""

from __future__ import annotations

import json
import re

import pytest

from tests.support.bundles import Bundle
from tests.support.runtime import Runtime, poll

pytestmark = pytest.mark.only_ocirt("runc and crun have `events` alone")

MIB = 1 << 20


def waited(text: str) -> dict[tuple[str, str], float]:
    """Resource and kind -> seconds."""
    pattern = r'^ocirt_container_pressure_waiting_seconds_total\{id="[^"]+",resource="(\w+)",kind="(\w+)"\} (\S+)$'
    return {(resource, kind): float(value) for resource, kind, value in re.findall(pattern, text, re.MULTILINE)}


def test_pressure_and_throttling(runtime: Runtime, bundle: Bundle) -> None:
    """A process with a fifth of a CPU waits for one; init is set up with no more."""
    bundle.resources(memory={"limit": 64 * MIB}, cpu={"quota": 20000, "period": 100000})
    runtime.launch(bundle.script("while :; do :; done"))

    def metrics() -> str:
        return runtime.ok("stats", "--format", "prometheus", bundle.id).out

    poll(lambda: waited(metrics())["cpu", "some"] > 0, "pressure")
    assert set(waited(metrics())) >= {(resource, "some") for resource in ("cpu", "memory", "io")}
    header, row = (line.split() for line in runtime.ok("stats", bundle.id).out.splitlines())
    found = dict(zip(header, row, strict=True))
    assert re.fullmatch(r"\d+\.\d%", found["CPU-PSI"])
    assert re.fullmatch(r"\d+\.\d%", found["MEM-PSI"])
    assert re.fullmatch(r"\d+\.\d%", found["IO-PSI"])
    assert int(found["THROTTLED"].removesuffix("%")) > 0
    assert found["LIMIT"] == "64M"
    (document,) = json.loads(runtime.ok("stats", "--format", "json", bundle.id).out)
    memory = document["usage"]["memory"]["usage"]
    assert 0 < memory["usage"] <= memory["max"] <= 64 * MIB
    runtime.stop(bundle)


def test_killed_for_want_of_memory(runtime: Runtime, bundle: Bundle) -> None:
    bundle.resources(memory={"limit": 16 * MIB, "swap": 16 * MIB})
    runtime.launch(bundle.script("dd if=/dev/zero of=/dev/null bs=64M count=1; sleep 1000"))
    poll(
        lambda: json.loads(runtime.ok("stats", "--format", "json", bundle.id).out)[0]["oom_kills"] == 1,
        "the kernel's count",
    )
    runtime.stop(bundle)
