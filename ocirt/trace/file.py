"""The file of --trace: each command adds what it recorded, so that a container's create, start and delete share one."""

from __future__ import annotations

from _stat import S_ISREG  # the public module is Python: 0.1 ms

from ocirt import system as os
from ocirt.errors import UsageError
from ocirt.filelock import lock_within
from ocirt.trace.recorder import cpu_time, now

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import ModuleType

    from ocirt.trace.recorder import Mark
    from ocirt.trace.spans import Process

SEEK_SET = 0
CHROME, OTLP = "chrome", "otlp"
LOCK_DEADLINE = 2.0  # seconds; who writes holds it for one of a thousand
SUFFIX = ".otlp.json"  # of files that hold OTLP unless --trace-format says otherwise


class TraceFile:
    """path: absolute.  Opened twice, to be refused before anything is done, and to be written: meanwhile no descriptor
    of it is there for a container to inherit.

    Raises UsageError for a file that holds something else, OSError.
    """

    def __init__(self, path: str, form: str) -> None:
        if not path:
            raise UsageError("--trace-format without --trace FILE")
        form = form or (OTLP if path.endswith(SUFFIX) else CHROME)
        if form not in (CHROME, OTLP):
            raise UsageError(f"invalid trace-format: {form}")
        self.path = os.path.abspath(path)
        self.form = form
        os.close(self._open()[0])

    def add(self, processes: list[Process], ended: Mark) -> None:
        """processes: the first is the runtime, up to ended.  Its last phase is the writing itself, and so goes on here.

        Raises UsageError, OSError.
        """
        form, (runtime, *_) = self._form(), processes
        parts = [[form.event(process, span) for span in process.spans] for process in processes]
        fd, size = self._open()
        try:
            when, cpu = now(), cpu_time()
            for number in (0, -1):
                span = runtime.spans[number]
                span.end, span.cpu = max(span.start, when), (span.cpu or 0) + cpu - ended.cpu
                parts[0][number] = form.event(runtime, span)
            os.lseek(fd, max(0, size - len(form.TAIL)), SEEK_SET)
            text = form.HEAD if size == 0 else form.BETWEEN
            os.write_all(fd, f"{text}{form.join(processes, parts)}{form.TAIL}".encode("utf-8", "backslashreplace"))
        finally:
            os.close(fd)

    def _form(self) -> ModuleType:
        """HEAD, BETWEEN two commands and TAIL of the file; event() and join() make what a command adds."""
        if self.form == OTLP:
            from ocirt.trace import otlp

            return otlp
        from ocirt.trace import chrome

        return chrome

    def _open(self) -> tuple[int, int]:
        """Descriptor, locked, and size."""
        # O_NONBLOCK: to open a FIFO would wait for a reader.
        fd = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY, 0o644)
        try:
            if not lock_within(fd, LOCK_DEADLINE):  # another command writes the same file
                raise TimeoutError(f"it is locked for {LOCK_DEADLINE:.0f} s")
            form, found = self._form(), os.fstat(fd)
            head = os.pread(fd, len(form.STARTS), 0)
            tail = os.pread(fd, len(form.TAIL), max(0, found.st_size - len(form.TAIL)))
            ours = head == form.STARTS.encode() and tail == form.TAIL.encode()
            if not S_ISREG(found.st_mode) or (found.st_size and not ours):
                raise UsageError(
                    f"--trace {self.path}: no file of the format {self.form} to add to",
                    "name one that does not exist yet",
                )
        except (OSError, UsageError):
            os.close(fd)
            raise
        return fd, found.st_size
