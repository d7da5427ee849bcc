"""The Trace Event Format, as Perfetto and chrome://tracing open it: an array of complete events ("ph": "X").

Times are whole microseconds, so that neighbours do not overlap for the rounding of a reader; `args` have the fractions.
"""

from __future__ import annotations

from ocirt import log
from ocirt.config import jsontext
from ocirt.trace.spans import WHOLE, Process, Span

STARTS = HEAD = "[\n"
BETWEEN = ",\n"
TAIL = "\n]\n"


def event(process: Process, span: Span) -> str:
    start, end = span.start // 1000, span.end // 1000
    args: dict[str, object] = {"wall_us": span.wall / 1000}
    if span.cpu is not None:
        args |= {"cpu_us": span.cpu / 1000, "blocked_us": (span.blocked or 0) / 1000}
    texts = {"place": span.place, "pointer": span.at, "error": span.error, "span_id": span.id, "parent_id": span.parent}
    args |= {name: text for name, text in texts.items() if text}
    if span.kind == WHOLE:
        args |= {"trace_id": process.trace_id}
    where = f'"ts":{start},"dur":{end - start},"pid":{process.pid},"tid":{process.pid}'
    return f'{{"name":{log.quote(span.name)},"cat":"{span.kind}","ph":"X",{where},"args":{jsontext.dump(args)}}}'


def join(processes: list[Process], parts: list[list[str]]) -> str:
    """The events, each process's name before its own."""
    lines = []
    for process, events in zip(processes, parts, strict=True):
        name = f'"args":{{"name":{log.quote(process.name)}}}'
        lines.append(f'{{"name":"process_name","ph":"M","pid":{process.pid},"tid":{process.pid},{name}}}')
        lines += events
    return ",\n".join(lines)


def read(value: object) -> list[Process]:
    """Inverse of join(), as far as a chart needs it.  Raises KeyError, TypeError, ValueError for what is none."""
    found: list[Process] = []
    for one in value if isinstance(value, list) else ():
        if one["ph"] != "X":
            continue
        args = one["args"]
        start, cpu = int(one["ts"]) * 1000, args.get("cpu_us")
        span = Span(
            str(one["cat"]),
            str(one["name"]),
            start,
            start + round(float(args["wall_us"]) * 1000),
            None if cpu is None else round(float(cpu) * 1000),
            place=str(args.get("place", "")),
            at=str(args.get("pointer", "")),
            error=str(args.get("error", "")),
        )
        if span.kind == WHOLE:
            found.append(Process(span.name, int(one["pid"]), str(args["trace_id"]), []))
        found[-1].spans.append(span)
    return found
