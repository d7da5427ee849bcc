"""ocirt for programs: what `from ocirt import Bundle, Container` gives.  Described in docs/library.md.

What only looks is done here: Bundle.check() and plan().  What makes or changes a process is done by a command of its
own, the same code in a fresh interpreter: a clone of a program with threads may find a lock held that nobody will ever
give back, its signals and its working directory are not ours, and its executable would be in the container's reach.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import threading
from typing import TYPE_CHECKING, NamedTuple

from ocirt import log
from ocirt.check import Finding as Finding  # noqa: TC001  # it is what check() returns, for callers
from ocirt.check.examine import examine
from ocirt.config import jsontext
from ocirt.config.bundle import open_bundle, read_config
from ocirt.errors import CODES
from ocirt.errors import OcirtError as OcirtError
from ocirt.extensions import load
from ocirt.host import probe_host
from ocirt.plan import Options, make_plan

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import IO, Any

    Stream = int | IO[Any] | None  # as subprocess has it

PACKAGES = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
# As the portable launcher: isolated from the caller's settings, and executed from a copy that no container can change.
COMMAND = f"""import sys
sys.path.append({PACKAGES!r})
if sys.argv[1] == "protected":
    from ocirt.launcher.protect import protect
    protect()
del sys.argv[1]
from ocirt.cli import main
main()
"""
PROTECTED = ("create", "exec")  # the verbs that let a process into a container
ENDING_PATIENCE = 30.0  # seconds that a command has to take back what it did
# Who looks says where warnings go, and there is one place for that (log.relay).  Again by the same thread: a stage of
# others may look while it is planned.
_looking = threading.RLock()


class PlannedStep(NamedTuple):
    """place, stage: where it runs.  text: what it does.  pointer: JSON pointer of the setting it is from, or ""."""

    place: str
    stage: str
    text: str
    pointer: str


class Bundle:
    """A bundle directory.  path: absolute, without symlinks."""

    def __init__(self, path: str, text: bytes) -> None:
        """Use open()."""
        self.path = path
        self._text = text

    @classmethod
    def open(cls, path: str | os.PathLike[str] = ".") -> Bundle:
        """Reads config.json, once.  Raises OcirtError bundle."""
        bundle = open_bundle(os.fspath(path))
        try:
            return cls(bundle.path, bundle.config_text())
        finally:
            os.close(bundle.fd)

    @property
    def config(self) -> dict[str, Any]:
        """config.json as it was read, valid in every respect.  Raises OcirtError json, schema or rule."""
        return read_config(self._text).raw

    def check(self) -> list[Finding]:
        """What `ocirt check` says: what create would refuse, and what is dangerous; in the order of the file."""
        with _looking:
            return examine(self._text, self.path).findings

    def plan(
        self, container_id: str = "ID", *, no_pivot: bool = False, stages: Sequence[str] = ()
    ) -> list[PlannedStep]:
        """What create would do here, in order; nothing is done.  stages: names of stages of others.

        Raises OcirtError for what create would refuse.  What it would only warn of, check() says.
        """
        host = probe_host()
        extensions = load(list(stages))
        options = Options(container_id, self.path, no_pivot=no_pivot, rootless=host.rootless, extensions=extensions)
        with _looking:
            log.relay(lambda level, text: None)
            try:
                plan = make_plan(read_config(self._text), host, options)
            finally:
                log.relay(None)
        return [
            PlannedStep(stage.place, stage.name, step.describe(), step.at)
            for stage in plan.stages
            for step in stage.steps
        ]


class Container:
    """A container that exists, or will when create() returns.

    root: the directory of all containers, as --root; None: as the command has it.
    runtime: the command to be called, None: this very ocirt, by the interpreter that runs the caller.
    """

    def __init__(self, container_id: str, *, root: str | None = None, runtime: Sequence[str] | None = None) -> None:
        self.id = container_id
        self.root = root
        self.runtime = tuple(runtime) if runtime is not None else None

    @classmethod
    def create(
        cls,
        bundle: Bundle | str | os.PathLike[str],
        container_id: str,
        *,
        root: str | None = None,
        runtime: Sequence[str] | None = None,
        stages: Sequence[str] = (),
        options: Sequence[str] = (),
        stdin: Stream = subprocess.DEVNULL,
        stdout: Stream = subprocess.DEVNULL,
        stderr: Stream = subprocess.DEVNULL,
        timeout: float | None = None,
    ) -> Container:
        """A container whose program waits for start(); its standard streams are these (not PIPE: it outlives the call).

        options: more words for `ocirt create`.  Raises OcirtError; then nothing of it is left, but after a timeout
        what could not be taken back within 30 seconds: delete(force=True) removes that.
        """
        if subprocess.PIPE in (stdin, stdout, stderr):
            raise ValueError("PIPE is for a process that is waited for: give the container an end of a pipe of yours")
        path = bundle.path if isinstance(bundle, Bundle) else os.fspath(bundle)
        words = ["--bundle", path, *(word for name in stages for word in ("--stage", name)), *options]
        container = cls(container_id, root=root, runtime=runtime)
        container._call("create", *words, container_id, streams=(stdin, stdout, stderr), timeout=timeout)
        return container

    def start(self, *, timeout: float | None = None) -> None:
        """Returns when the program runs.  Raises OcirtError."""
        self._call("start", self.id, timeout=timeout)

    def exec(
        self,
        args: Sequence[str],
        *,
        env: Mapping[str, str] | None = None,
        cwd: str = "",
        user: str = "",
        options: Sequence[str] = (),
        stdin: Stream = subprocess.DEVNULL,
        stdout: Stream = None,
        stderr: Stream = None,
        timeout: float | None = None,
    ) -> subprocess.CompletedProcess[bytes]:
        """Run one more program in the container, and wait for it.  user: "UID[:GID]".  options: more for `ocirt exec`.

        Raises OcirtError when it could not be run; how it ended is in the result, as subprocess.run() has it, 128 + n
        for signal n.  With timeout SIGTERM comes to the program, and OcirtError("timeout") when it has ended by that;
        one that does not within 30 seconds stays in the container.
        """
        words = [*options]
        for name, value in (env or {}).items():
            words += ["--env", f"{name}={value}"]
        for option, text in (("--cwd", cwd), ("--user", user)):
            if text:
                words += [option, text]
        return self._call("exec", *words, self.id, *args, streams=(stdin, stdout, stderr), timeout=timeout)

    def kill(self, signal: str | int = "TERM", *, timeout: float | None = None) -> None:
        """Send a signal to the container's program; KILL ends every process.  Raises OcirtError status."""
        self._call("kill", self.id, str(int(signal)) if isinstance(signal, int) else signal, timeout=timeout)

    def delete(self, *, force: bool = False, timeout: float | None = None) -> None:
        """Remove what create() made.  force: kill what runs first; no error when there is no such container."""
        self._call("delete", *["--force"] * force, self.id, timeout=timeout)

    def state(self, *, timeout: float | None = None) -> dict[str, Any]:
        """The state of runtime.md, with runc's additions.  Raises OcirtError not-found."""
        done = self._call(
            "state", self.id, streams=(subprocess.DEVNULL, subprocess.PIPE, subprocess.DEVNULL), timeout=timeout
        )
        value: Any = jsontext.parse(done.stdout, "the state")
        return value  # type: ignore[no-any-return]  # an object: our own command wrote it

    @property
    def status(self) -> str:
        """creating, created, running, paused or stopped."""
        return str(self.state()["status"])

    @property
    def pid(self) -> int:
        """Of the container's program; 0 when it has ended."""
        return int(self.state().get("pid", 0))

    def __repr__(self) -> str:
        return f"Container({self.id!r})"

    def _call(
        self,
        verb: str,
        *words: str,
        streams: tuple[Stream, Stream, Stream] = (subprocess.DEVNULL,) * 3,
        timeout: float | None = None,
    ) -> subprocess.CompletedProcess[bytes]:
        """Run the command.  Raises OcirtError as its log has it."""
        with tempfile.NamedTemporaryFile(prefix="ocirt-", suffix=".log") as record:
            command = [*self._command(verb), "--log", record.name, "--log-format", "json"]
            command += ["--root", os.path.abspath(self.root)] if self.root is not None else []
            stdin, stdout, stderr = streams
            with subprocess.Popen([*command, verb, *words], stdin=stdin, stdout=stdout, stderr=stderr) as process:
                try:
                    out, err = process.communicate(timeout=timeout)
                except BaseException as error:
                    _end(process)
                    if not isinstance(error, subprocess.TimeoutExpired):
                        raise
                    raise OcirtError("timeout", f"{verb} of {self.id} took longer than {timeout} s") from None
            failure = _error(record.read(), f"ocirt {verb} {self.id}: ")
        if failure is None and process.returncode and verb != "exec":
            failure = OcirtError("internal", f"ocirt {verb} ended with {process.returncode}, and did not say why")
        if failure is not None:
            raise failure
        return subprocess.CompletedProcess(process.args, process.returncode, out, err)

    def _command(self, verb: str) -> tuple[str, ...]:
        if self.runtime is not None:
            return self.runtime
        kind = "protected" if verb in PROTECTED else "plain"
        return sys.executable, "-IS", "-c", COMMAND, kind


def _end(process: subprocess.Popen[bytes]) -> None:
    """SIGTERM, upon which a command takes back what it did."""
    process.terminate()
    try:
        process.wait(ENDING_PATIENCE)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _error(lines: bytes, prefix: str) -> OcirtError | None:
    """What a command that failed has written into its log: the one record of the level "error"."""
    records: list[Any] = [jsontext.parse(line, "the log") for line in lines.splitlines()]
    for record in reversed(records):
        if record["level"] != "error":
            continue
        remedy = record.get("remedy", "")
        at, stage, code = (record.get(name, "") for name in ("pointer", "stage", "code"))
        what = record["msg"].removesuffix(f" - {remedy}").removesuffix(f" [{at}]")
        return OcirtError(
            code if code in CODES else "internal",
            what.removeprefix(prefix).removeprefix(f"{stage}: "),
            at=at,
            stage=stage,
            errno=int(record.get("errno", 0)),
            remedy=remedy,
            **{name: record.get(name, "") for name in ("step", "call", "detail")},
        )
    return None
