"""Samples as a table, and, for `--watch` on a terminal, as a screen that is drawn again and again."""

from __future__ import annotations

import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ocirt.stats import Sample

HEADER = (
    *("ID", "STATUS", "CPU%", "TIME", "THROTTLED", "MEMORY", "PEAK", "LIMIT", "OOM", "PIDS", "READ", "WRITTEN"),
    *("CPU-PSI", "MEM-PSI", "IO-PSI"),
)
LEFT = 2  # columns of text; the others are numbers
NOTHING = "-"
GAP = "  "
MOST_ID = 24
UNITS = "BKMGTPE"
TOP = "\x1b[H\x1b[2J"  # ctlseqs: to the first place of an empty screen


def rows(samples: list[Sample], before: dict[str, Sample]) -> list[tuple[str, ...]]:
    return [_row(sample, before.get(sample.id)) for sample in samples]


def _row(sample: Sample, before: Sample | None) -> tuple[str, ...]:
    if sample.usage is None:
        return (sample.id, sample.status, *[NOTHING] * (len(HEADER) - LEFT))
    limit, pids = sample.memory_limit(), sample.number("pids", "limit")
    return (
        sample.id,
        sample.status,
        f"{sample.cpu_percent(before):.1f}",
        seconds(sample.number("cpu", "usage", "total")),
        throttled(sample, before),
        size(sample.number("memory", "usage", "usage")),
        size(sample.number("memory", "usage", "max")),
        size(limit) if limit else NOTHING,
        str(sample.oom_kills),
        f"{sample.number('pids', 'current')}" + (f"/{pids}" if pids else ""),
        size(sum(sample.io("Read").values())),
        size(sum(sample.io("Write").values())),
        *(pressure(sample, resource) for resource in ("cpu", "memory", "blkio")),
    )


def throttled(sample: Sample, before: Sample | None) -> str:
    """Of the periods of the CPU quota, those in which it was used up: since `before`, or ever."""
    periods, hit = (sample.number("cpu", "throttling", name) for name in ("periods", "throttledPeriods"))
    if before is not None:
        periods -= before.number("cpu", "throttling", "periods")
        hit -= before.number("cpu", "throttling", "throttledPeriods")
    return f"{100 * hit / periods:.0f}%" if periods > 0 else NOTHING


def pressure(sample: Sample, resource: str) -> str:
    """Which part of the last ten seconds some process has waited for it."""
    some = sample.pressure(resource).get("some")
    return NOTHING if some is None else f"{some['avg10']:.1f}%"


def size(count: int) -> str:
    """Bytes in three digits and a unit of 1024: 0B, 9.8K, 512M."""
    value, unit = float(count), 0
    while value >= 999.5 and unit < len(UNITS) - 1:
        value, unit = value / 1024, unit + 1
    return f"{value:.1f}{UNITS[unit]}" if unit and value < 9.95 else f"{value:.0f}{UNITS[unit]}"


def seconds(nanoseconds: int) -> str:
    """CPU time as top has it: 0:01.50, and hours."""
    minutes, rest = divmod(nanoseconds / 1e9, 60)
    if minutes < 60:
        return f"{minutes:.0f}:{rest:05.2f}"
    hours, minutes = divmod(minutes, 60)
    return f"{hours:.0f}h{minutes:02.0f}:{rest:02.0f}"


def table(rows: list[tuple[str, ...]], columns: int = 0) -> str:
    """columns: of a terminal, at which lines end; 0 for none."""
    cut = [(row[0] if not columns or len(row[0]) <= MOST_ID else f"{row[0][: MOST_ID - 1]}…", *row[1:]) for row in rows]
    lines = [HEADER, *cut]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    texts = []
    for line in lines:
        cells = [
            cell.ljust(width) if place < LEFT else cell.rjust(width)
            for place, (cell, width) in enumerate(zip(line, widths, strict=True))
        ]
        text = GAP.join(cells).rstrip()
        texts.append(f"{text[:columns] if columns else text}\n")
    return "".join(texts)


def screen(samples: list[Sample], before: dict[str, Sample], columns: int, lines: int, interval: str) -> str:
    """The busiest first, as many as there is room for."""
    samples = sorted(samples, key=lambda sample: -sample.cpu_percent(before.get(sample.id)))
    shown = samples[: max(1, lines - 3)] if lines else samples
    more = f", {len(samples) - len(shown)} of them below" if len(shown) < len(samples) else ""
    what = "1 container" if len(samples) == 1 else f"{len(samples)} containers"
    title = f"{time.strftime('%H:%M:%S')}  {what}{more}; every {interval}, until Ctrl-C"
    return f"{TOP}{title[:columns]}\n{table(rows(shown, before), columns)}"
