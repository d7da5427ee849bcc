"""`--trace FILE`: what a command did from when to when, and how long of that on a CPU.  Loaded when it is asked for.

recorder.py notes, in the runtime and in init; spans.py makes a tree of the notes; chrome.py and otlp.py write it and
read it again, file.py keeps the file; chart.py draws it for a terminal.  Where the notes are taken: log.phase() and
pipeline.run().
"""

from __future__ import annotations

import time

from ocirt import log
from ocirt import system as os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ocirt.trace.file import TraceFile


def begin(path: str, form: str) -> TraceFile:
    """Record from now on.  Raises UsageError, OSError for a file that cannot take the trace."""
    when, cpu = time.clock_gettime_ns(time.CLOCK_REALTIME), time.clock_gettime_ns(time.CLOCK_PROCESS_CPUTIME_ID)
    waited = _waited()
    from ocirt.trace import recorder
    from ocirt.trace.file import TraceFile

    file = TraceFile(path, form)
    context = recorder.Context(os.getenv("TRACEPARENT"), os.getenv("TRACESTATE"), os.getrandom(24))
    tracer = recorder.Recorder(context)
    tracer.was(recorder.process_began(when - cpu - waited), 0, "start the interpreter")
    tracer.was(when, cpu, "load the recorder")
    log.tracer = tracer
    return file


def end(file: TraceFile, command: str, error: str, step: str) -> None:
    """Write what was recorded.  command: as the error line begins.  error: that line, ""; step: the one that failed.

    Raises OSError, OcirtError.
    """
    tracer, log.tracer = log.tracer, None
    if tracer is None:
        return
    tracer.phase("write the trace")
    from ocirt.trace.recorder import Mark, Name, cpu_time, now
    from ocirt.trace.spans import processes

    ended = Mark(-1, now(), cpu_time(), Name(""))
    file.add(processes(tracer, command, error, step, ended), ended)


def _waited() -> int:
    """Nanoseconds in which this process could run and had no CPU (proc_pid_schedstat); 0 where that is not counted."""
    try:
        return int(os.read_whole("/proc/self/schedstat").split()[1])
    except (OSError, IndexError, ValueError):  # CONFIG_SCHED_INFO
        return 0
