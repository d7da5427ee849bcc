"""The one error type of ocirt: a record with a code, not a string.  The lowest layer: imports nothing.

OcirtError
 |- UsageError    the command line is wrong
 |- ConfigError   config.json (or --process, --resources) is wrong; `at` is a JSON pointer
 |- StateError    the container does not exist or is in the wrong status for the command
KernelError       an OSError that knows its system call; raised by ocirt.kernel only

Who adds what: the raiser says what it tried; the runner (pipeline.run) adds stage and step; the
command adds its name; the edge (cli) adds the remedy.  No function adds what its caller has.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

CODES = {
    # command line and bundle
    "usage": "the command line is wrong",
    "container-id": "the container ID is empty or has a character outside [A-Za-z0-9_+.-]",
    "bundle": "the bundle directory or its config.json cannot be read",
    "json": "a file is not acceptable JSON (RFC 8259, UTF-8, no duplicate keys, no NaN)",
    "schema": "a value contradicts the JSON Schema of the runtime specification",
    "rule": "a value contradicts a rule of the runtime specification that a schema cannot say",
    # containers and their status
    "exists": "a container with this ID exists already",
    "not-found": "no container has this ID",
    "status": "the container's status does not allow the command",
    "busy": "another command holds the container's lock",
    "record": "the container's state directory is damaged",
    # doing it
    "step-failed": "a step of the set-up failed; stage, step, call and errno say which and why",
    "executable": "process.args[0] cannot be executed: not found, a directory, or no permission",
    "unsupported": "the host's kernel cannot do what the configuration asks for",
    "cgroup": "the container's cgroup cannot be used",
    "network": "a network device of linux.netDevices cannot be moved into the container",
    "resctrl": "the container's resctrl group (linux.intelRdt) cannot be made or used",
    "console": "the terminal or its console socket is missing or not wanted",
    "criu": "CRIU could not do it, is missing, or too old",
    "hook": "a hook failed or ran past its timeout",
    "init-died": "the container's init process died before it was ready",
    "timeout": "a wait ran past its bound",
    "interrupted": "a signal ended the command; what it had begun was taken back",
    "signal": "the signal's name or number is not known, or it could not be sent",
    "internal": "ocirt itself is at fault; --debug shows the traceback",
}

RECORD_FIELDS = ("code", "what", "stage", "step", "at", "call", "errno", "detail", "remedy")


class OcirtError(Exception):
    """An error as a record.

    code:   a key of CODES.        what:   what was tried or is wrong, as a sentence part.
    stage, step: where in the plan.  at:    JSON pointer of the setting ("" when none).
    call:   the system call.       errno:  its errno (0 when none).
    detail: the call's arguments.  remedy: one sentence on what to do.
    """

    def __init__(
        self,
        code: str,
        what: str,
        *,
        stage: str = "",
        step: str = "",
        at: str = "",
        call: str = "",
        errno: int = 0,
        detail: str = "",
        remedy: str = "",
    ) -> None:
        super().__init__(what)
        self.code = code
        self.what = what
        self.stage = stage
        self.step = step
        self.at = at
        self.call = call
        self.errno = errno
        self.detail = detail
        self.remedy = remedy

    def to_record(self) -> list[str]:
        """The fields as text, in RECORD_FIELDS order, for the channel between init and runtime."""
        return [str(getattr(self, name)) for name in RECORD_FIELDS]

    @classmethod
    def from_record(cls, fields: list[str]) -> OcirtError:
        """Inverse of to_record.  The other side may be hostile: a code that is none becomes "internal"."""
        code, what, stage, step, at, call, errno, detail, remedy = fields
        code = code if code in CODES else "internal"
        number = int(errno) if errno.isascii() and errno.isdigit() and len(errno) < 6 else 0
        return OcirtError(
            code, what, stage=stage, step=step, at=at, call=call, errno=number, detail=detail, remedy=remedy
        )


class UsageError(OcirtError):
    def __init__(self, what: str, remedy: str = "") -> None:
        super().__init__("usage", what, remedy=remedy)


class ConfigError(OcirtError):
    """code is json, schema or rule; at is the JSON pointer ("" is the whole document)."""

    def __init__(self, code: str, what: str, at: str = "", remedy: str = "") -> None:
        super().__init__(code, what, at=at, remedy=remedy)


class StateError(OcirtError):
    """code is exists, not-found, status, busy or record."""


class KernelError(OSError):
    """A system call failed.  call: its man-page name; detail: its arguments, flags by name.

    A detail that is a function is called when somebody asks: many a failure is an answer, and nobody does.
    """

    def __init__(self, errno: int, strerror: str, call: str, detail: str | Callable[[], str] = "") -> None:
        super().__init__(errno, strerror)
        self.call = call
        self._detail = detail

    @property
    def detail(self) -> str:
        return self._detail if isinstance(self._detail, str) else self._detail()

    @detail.setter
    def detail(self, text: str) -> None:
        self._detail = text


def system_error(error: OSError) -> OcirtError:
    """The record of a system call that failed outside of any step."""
    if isinstance(error, KernelError):
        what = f"{error.call} ({error.detail})" if error.detail else error.call
        return OcirtError("step-failed", what, call=error.call, errno=error.errno or 0, detail=error.detail)
    name = error.filename.decode("utf-8", "replace") if isinstance(error.filename, bytes) else error.filename
    return OcirtError("step-failed", str(name or "a system call"), errno=error.errno or 0)
