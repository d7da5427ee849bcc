"""A trace for a terminal: one line for each phase, stage and step, and where it lies in the time of the whole."""

from __future__ import annotations

from ocirt import log
from ocirt.config import jsontext
from ocirt.errors import ConfigError, OcirtError
from ocirt.trace import chrome, otlp
from ocirt.trace.spans import STAGE, STEP, WHOLE

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ocirt.trace.spans import Process, Span

BAR = 40  # columns, where the terminal has as many as the rest needs
LEAST_NAME = 24
MOST = 2**63  # nanoseconds
EIGHTHS = " ▏▎▍▌▋▊▉"
INDENT = {STEP: "  "}
NUMBERS = 39  # columns of four numbers


def read(data: bytes, what: str) -> list[Process]:
    """The processes of a trace in either format.  Raises OcirtError("json")."""
    try:
        if data.startswith(otlp.STARTS.encode()):
            found = [process for line in data.splitlines() for process in otlp.read(jsontext.parse(line, what))]
        else:
            found = chrome.read(jsontext.parse(data, what))
        if found and all(map(_is_sane, found)):
            return found
    except ConfigError as error:
        raise OcirtError("json", f"{what}: {error.what}", remedy=NO_TRACE) from None
    except (KeyError, TypeError, ValueError, IndexError, AttributeError, OverflowError):
        pass
    raise OcirtError("json", f"{what}: no trace of ocirt's", remedy=NO_TRACE)


def _is_sane(process: Process) -> bool:
    """Whether its whole comes first, and every time is one."""
    times = all(0 <= span.start <= span.end < MOST and 0 <= (span.cpu or 0) < MOST for span in process.spans)
    return bool(process.spans) and process.spans[0].kind == WHOLE and times


NO_TRACE = "ocirt --trace FILE writes one"


def draw(processes: list[Process], columns: int, shortest: int) -> str:
    """columns: of the terminal.  shortest: what took fewer nanoseconds is left out, but for failures."""
    first = min(process.spans[0].start for process in processes)
    last = max(process.spans[0].end for process in processes)
    bar = BAR if columns >= NUMBERS + LEAST_NAME + BAR else 0
    name = columns - NUMBERS - bar - 2
    lines = [f"{'at ms':>9} {'wall':>9} {'cpu':>9} {'blocked':>9}"]
    for process in processes:
        lines += f"{process.name} (process {process.pid}): {_sum(process)}".split("\n")
        left_out = 0
        for span in process.spans[1:]:
            if span.wall < shortest and not span.error:
                left_out += span.kind != STAGE
                continue
            lines.append(f"{_numbers(span, first)} {_name(span, name)} {_bar(span, first, last, bar)}".rstrip())
            if span.error:
                lines.append(f"{'':{NUMBERS}}     ! {span.error}")
        if left_out:
            lines.append(f"{'':{NUMBERS}} and {left_out} that took less")
    return "".join(f"{log.printable(line)}\n" for line in lines)


def _sum(process: Process) -> str:
    whole = process.spans[0]
    cpu = "" if whole.cpu is None else f", {_ms(whole.cpu)} of them on a CPU"
    failed = f"\n  ! {whole.error}" if whole.error else ""
    return f"{_ms(whole.wall)} ms{cpu}; {process.named():.1%} in named steps{failed}"


def _numbers(span: Span, first: int) -> str:
    unknown = "-"
    cpu = unknown if span.cpu is None else _ms(span.cpu)
    blocked = unknown if span.blocked is None else _ms(span.blocked)
    return f"{_ms(span.start - first):>9} {_ms(span.wall):>9} {cpu:>9} {blocked:>9}"


def _ms(nanoseconds: int) -> str:
    return f"{nanoseconds / 1e6:.3f}"


def _name(span: Span, width: int) -> str:
    name = INDENT.get(span.kind, "") + (f"[{span.name}]" if span.kind == STAGE else span.name)
    return name.ljust(width) if len(name) <= width else f"{name[: width - 1]}…"


def _bar(span: Span, first: int, last: int, width: int) -> str:
    """In eighths of a column; what is shorter than one is drawn as one."""
    scale = width * 8 / max(1, last - first)
    begin = min(max(0, int((span.start - first) * scale)), max(0, width * 8 - 1))
    end = min(max(begin + 1, int((span.end - first) * scale)), width * 8)
    if not width:
        return ""
    column, offset = divmod(begin, 8)
    if offset or end - begin < 8:  # a terminal has no blocks that begin in the middle
        eighths = min(end, (column + 1) * 8) - begin
        text = " " * column + EIGHTHS[max(1, min(7, eighths))]
        begin = (column + 1) * 8
    else:
        text = " " * column
    if end > begin:
        whole, rest = divmod(end - begin, 8)
        text += "█" * whole + EIGHTHS[rest].strip()
    return text
