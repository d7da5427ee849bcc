"""ocirt stats: what containers use, once or again and again."""

from __future__ import annotations

import time

from ocirt import log
from ocirt import system as os
from ocirt.config import jsontext
from ocirt.container import Container, list_containers
from ocirt.errors import StateError, UsageError
from ocirt.kernel.terminals import window_size
from ocirt.options import VALUE, Option
from ocirt.stats import Sample, look
from ocirt.units import parse_duration

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ocirt.options import Globals, Parsed

SUMMARY = "show what containers use of CPU, memory, processes and disks"
ARGUMENTS = "[container-id...]"
OPTIONS = (
    Option("format", "f", VALUE, '"table" (default), "json" or "prometheus"', "FORMAT"),
    Option("watch", "w", help="again and again, until a signal or the last container ends it"),
    Option("interval", "", VALUE, "time between two looks of --watch (default: 1s)", "DURATION"),
)

DEFAULT_INTERVAL = "1s"


def main(g: Globals, options: Parsed) -> int:
    form = options.format or "table"
    if form not in ("table", "json", "prometheus"):
        raise UsageError("invalid format option")
    if options.interval and not options.watch:
        raise UsageError("--interval without --watch")
    if options.watch and form == "prometheus":
        raise UsageError("prometheus is no format to watch", "let what collects the metrics call ocirt stats itself")
    if not options.watch:
        show(collect(g, options.args, required=True), {}, form)
        return 0
    interval = options.interval or DEFAULT_INTERVAL
    pause = parse_duration(interval)
    if pause <= 0:
        raise UsageError("duration interval must be greater than 0")
    watch(g, options.args, form, interval, pause)
    return 0


def collect(g: Globals, ids: list[str], *, required: bool) -> list[Sample]:
    """Of these containers, or of all that have a process.  required: raise StateError for one of ids that has none."""
    if not ids:
        there = g.root_given or os.path.exists(g.root)  # else nothing was created yet
        return [sample for container in (list_containers(g.root) if there else ()) if (sample := look(container))]
    samples = []
    for container_id in ids:
        sample = _sample(g.root, container_id, required)
        if sample is not None:
            samples.append(sample)
        elif required:
            raise StateError("status", f"container with id {container_id} is not running")
    return samples


def _sample(root: str, container_id: str, required: bool) -> Sample | None:
    try:
        container = Container.load(root, container_id)
    except StateError as error:
        if required or error.code != "not-found":
            raise
        return None
    try:
        return look(container)
    finally:
        container.close()


def watch(g: Globals, ids: list[str], form: str, interval: str, pause: float) -> None:
    """Until a signal, or until none of the containers asked for has a process any more."""
    samples = collect(g, ids, required=True)
    before: dict[str, Sample] = {}
    due = time.monotonic()
    while samples or not ids:
        show(samples, before, form, interval)
        due += pause
        time.sleep(max(0.0, due - time.monotonic()))
        before = {sample.id: sample for sample in samples}
        samples = collect(g, ids, required=False)
        # An id may be another container's by now.
        before = {sample.id: before[sample.id] for sample in samples if _same(sample, before.get(sample.id))}


def _same(sample: Sample, before: Sample | None) -> bool:
    return before is not None and (sample.pid, sample.born) == (before.pid, before.born)


def show(samples: list[Sample], before: dict[str, Sample], form: str, interval: str = "") -> None:
    """interval: of a watch, ""."""
    if form == "json":
        log.show(jsontext.dump([sample.document() for sample in samples]) + "\n")
        return
    if form == "prometheus":
        from ocirt.stats import prometheus

        log.show(prometheus.text(samples))
        return
    from ocirt.stats import table

    lines, columns = window_size(log.STDOUT)
    if columns and interval:
        log.show(table.screen(samples, before, columns, lines, interval))
    else:
        log.show(table.table(table.rows(samples, before), columns))
