"""ocirt with a fault in it, for `python3 -IS faulty.py SPEC FD ARGS...`: the package as it is, watched from outside.

The interpreter's profiler sees every kernel call that ocirt's own modules make (posix, fcntl, select, _socket,
_signal, and the seam ocirt/kernel/ffi.py) and the end of every Step; each is an event of the kind `call` or `step`.
They are counted by kind, in each process of a command by itself: `runtime`, `joiner`, `init`.  SPEC, as JSON:

    {"do": "list"}                                              write "role kind number name" to FD, a line each
    {"do": "pause", "role": r, "kind": k, "at": n}              there send a message over FD, a socket, and wait
    {"do": "fail", "role": r, "kind": "call", "at": n, "errno": e}      let that kernel call fail

What imports read is not counted: an installed ocirt may have its modules in its launcher.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from types import FrameType
from typing import Any

CONTROL = 900  # a number that no command comes to, below the smallest RLIMIT_NOFILE of the tests' bundles
MODULES = ("posix", "fcntl", "select", "_signal", "_socket")
# No calls of the kernel, or such as cannot fail.
HARMLESS = """
    DirEntry WIFEXITED WIFSIGNALED WTERMSIG _exit cpu_count fileno fspath geteuid getegid getgid getpid getppid getuid
    is_dir is_file is_symlink major makedev minor modify poll register signal strerror umask unregister
    waitstatus_to_exitcode detach close get_blocking settimeout sigpending getsignal pthread_sigmask
"""


def kernel_call(function: Any) -> str:
    """The name of a built-in function that calls the kernel, else ""."""
    name: str = function.__name__
    owner = getattr(function, "__self__", None)
    module = getattr(function, "__module__", None) or type(owner).__module__
    if type(owner).__module__ == "select" and name == "poll":
        return name
    return name if module in MODULES and name not in HARMLESS.split() else ""


class Watch:
    def __init__(self, spec: dict[str, Any]) -> None:
        from ocirt import errors, pipeline
        from ocirt.kernel import ffi, live
        from ocirt.process import init, joiner

        self.spec = spec
        self.role = "runtime"
        self.numbers = {"call": 0, "step": 0}
        self.error = errors.KernelError
        self.runner = pipeline.run.__code__
        self.seam = ffi.syscall.__code__
        self.births = {init.main.__code__: "init", joiner.main.__code__: "joiner"}
        self._spare_control(live)

    def _spare_control(self, live: Any) -> None:
        """init closes what it did not open itself; our descriptor ends with execve."""
        real = live.close_range

        def close_range(first: int, last: int, *more: int) -> None:
            if first <= CONTROL <= last:
                real(first, CONTROL - 1, *more)
                first = CONTROL + 1
            real(first, last, *more)

        live.close_range = close_range

    def __call__(self, frame: FrameType, kind: str, what: Any) -> None:
        code = frame.f_code
        if kind == "c_call":
            if str(frame.f_globals.get("__name__")).startswith("ocirt") and (name := kernel_call(what)):
                self.event("call", name)
        elif kind == "call":
            if code is self.seam:
                self.event("call", frame.f_locals["call"], seam=True)
            elif code in self.births:
                self.role, self.numbers = self.births[code], {"call": 0, "step": 0}
        elif kind == "return" and code.co_name == "apply" and frame.f_back and frame.f_back.f_code is self.runner:
            self.event("step", frame.f_locals["self"].describe())

    def event(self, kind: str, name: str, seam: bool = False) -> None:
        """seam: what fails there is a KernelError."""
        self.numbers[kind] += 1
        number = self.numbers[kind]
        do = self.spec["do"]
        if do == "list":
            os.write(CONTROL, f"{self.role} {kind} {number} {name}\n".encode())
            return
        if (self.role, kind, number) != (self.spec["role"], self.spec["kind"], self.spec["at"]):
            return
        if do == "pause":
            os.write(CONTROL, f"{kind} {name}".encode())
            os.read(CONTROL, 1)
        elif do == "fail":
            os.write(CONTROL, f"{kind} {name}".encode())
            errno = self.spec["errno"]
            if seam:
                raise self.error(errno, os.strerror(errno), name)
            raise OSError(errno, os.strerror(errno))


def main() -> None:
    spec, control = json.loads(sys.argv[1]), int(sys.argv[2])
    os.dup2(control, CONTROL, inheritable=False)
    os.close(control)
    sys.argv[1:3] = []
    sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
    from ocirt import cli

    sys.setprofile(Watch(spec))
    cli.main()


if __name__ == "__main__":
    main()
