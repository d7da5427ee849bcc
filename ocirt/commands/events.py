"""ocirt events: out-of-memory events and resource usage of a container, one JSON object a line."""

from __future__ import annotations

import select
import time

from ocirt import log
from ocirt.cgroups import require
from ocirt.config import jsontext
from ocirt.container import Container
from ocirt.errors import StateError, UsageError
from ocirt.options import VALUE, Option
from ocirt.stats import usage
from ocirt.units import parse_duration

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from ocirt.cgroups import Manager
    from ocirt.options import Globals, Parsed

SUMMARY = "report out-of-memory events and resource usage as JSON lines"
ARGUMENTS = "<container-id>"
OPTIONS = (
    Option("interval", "", VALUE, "time between two reports of usage (default: 5s)", "DURATION"),
    Option("stats", "", help="report the usage once and end"),
)
MIN_ARGS = MAX_ARGS = 1

DEFAULT_INTERVAL = "5s"


def main(g: Globals, options: Parsed) -> int:
    interval = parse_duration(options.interval or DEFAULT_INTERVAL)
    if interval <= 0:
        raise UsageError("duration interval must be greater than 0")
    container = Container.load(g.root, options.args[0])
    if not container.alive():
        raise StateError("status", f"container with id {container.id} is not running")
    manager = require(container.manager())
    if options.stats:
        _report(container.id, "stats", usage(container, manager))
    else:
        _watch(container, manager, interval)
    return 0


def _watch(container: Container, manager: Manager, interval: float) -> None:
    """Until the cgroup is removed."""
    watch = manager.watch_oom()
    poll = select.poll()
    poll.register(watch.fd, select.POLLIN)
    due = time.monotonic() + interval
    while True:
        if poll.poll(max(0.0, due - time.monotonic()) * 1000):
            happened = watch.read()
            if happened is None:
                return
            if happened:
                _report(container.id, "oom")
        if time.monotonic() >= due:
            due += interval
            _report(container.id, "stats", usage(container, manager))


def _report(container_id: str, kind: str, data: dict[str, Any] | None = None) -> None:
    event: dict[str, Any] = {"type": kind, "id": container_id}
    if data is not None:
        event["data"] = data
    log.show(jsontext.dump(event) + "\n")
