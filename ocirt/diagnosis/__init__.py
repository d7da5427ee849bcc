"""Why a command failed: looked up after the failure and never before, by the runtime, which may import still.

What the set-up knows when it fails is a call and an errno.  Here the machine is asked for the rest, while init, which
has reported and executes nothing any more, waits for the end of the conversation (process/init.py): its root, its
mounts and its rights can be looked at.  The answer stands in place of the remedy; where there is none, remedies.py has
its own.

Nothing here changes the machine, and whatever goes wrong here must leave the failure as it was.
"""

from __future__ import annotations

import errno

from ocirt import log
from ocirt import system as os
from ocirt.channel import ASK
from ocirt.diagnosis import limits, mounting, places, program
from ocirt.kernel import files as kernel
from ocirt.stages.directory import EnterDirectory
from ocirt.stages.payload import BuildImage, LookUpExecutable
from ocirt.stages.rootfs import OpenRoot

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import TypeVar

    from ocirt.box import Box
    from ocirt.channel import Channel
    from ocirt.config.views import Config
    from ocirt.container import Container
    from ocirt.errors import OcirtError
    from ocirt.pipeline import Plan, Step

    Kind = TypeVar("Kind", bound=Step)

ROOT = "root"  # the question to init for its root directory
IN_THE_CONTAINER = ("/hooks/createContainer/", "/hooks/startContainer/")
EXECUTABLE, HOOK = "executable", "hook"
DIRECTORY = "/cwd"  # the end of the pointer of process.cwd


class Failure:
    """error: to be given its remedy, and perhaps another pointer.  pid: of init as we see it, 0 without one.

    conversation: with init.  call: what was to be executed, None when that is not known.
    step: of the plan, None when there is no plan.  root_path: of the root file system on the host.
    controllers: the container's cgroups, controller -> directory.  clone_flags: of init.
    """

    __slots__ = ("call", "clone_flags", "controllers", "conversation", "error", "pid", "proc", "root_path", "step")

    def __init__(self, error: OcirtError, pid: int, conversation: Channel | None, proc: int) -> None:
        self.error = error
        self.pid = pid
        self.conversation = conversation
        self.proc = proc
        self.call: program.Call | None = None
        self.step: Step | None = None
        self.root_path = ""
        self.controllers: dict[str, str] = {}
        self.clone_flags = 0


def explain(error: OcirtError, plan: Plan, box: Box) -> None:
    """Give the error of a launch its cause, as far as that can be found."""

    def failure() -> Failure:
        found = Failure(error, box.pid, getattr(box, "channel", None), box.proc)
        found.step = _failed_step(error, plan)
        found.controllers = dict(box.manager.paths) if box.manager is not None else {}
        found.call = _call_of_plan(error, plan)
        root = _first(plan, OpenRoot)
        found.root_path = root.path if root is not None else ""
        found.clone_flags = plan.clone_flags
        return found

    _explain(error, failure)


def explain_start(error: OcirtError, container: Container, config: Config, conversation: Channel | None = None) -> None:
    """As explain(), for what init reports in `start`, and for hooks after it."""

    def failure() -> Failure:
        proc = os.open("/proc", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        found = Failure(error, container.pid, conversation, proc)
        manager = container.manager()
        found.controllers = dict(manager.paths) if manager is not None else {}
        process = config.process
        if process is not None:
            at, name = f"{process.at}/args/0", process.args[0]
            found.call = program.Call(name, error.detail, "", process.cwd, process.args, process.env, at)
        return found

    _explain(error, failure)


def _explain(error: OcirtError, failure: Callable[[], Failure]) -> None:
    try:
        text, at = _cause(failure())
    except Exception as problem:  # the failure is what is to be reported
        log.debug(f"looking for the cause: {type(problem).__name__}: {problem}")
        return
    error.remedy = text or error.remedy
    error.at = at or error.at


def _cause(failure: Failure) -> tuple[str, str]:
    """(cause and remedy, pointer), each "" when not known.  Raises anything."""
    error = failure.error
    if error.code == EXECUTABLE or error.at.endswith(DIRECTORY):
        return _in_the_container(failure)
    if error.code == HOOK and error.call == "execve":
        if error.errno == errno.EAGAIN:
            return limits.processes(failure.controllers), ""
        failure.call = program.Call(error.detail, error.detail, cwd=os.getcwd(), at=error.at)
        if error.at.startswith(IN_THE_CONTAINER):
            return _in_the_container(failure)
        return _on_the_host(failure)
    text = mounting.cause(error, failure.step, failure.proc, failure.pid, failure.root_path)
    if text:
        return text, ""
    uid = places.Who(failure.proc, str(failure.pid or "self")).uid
    return limits.cause(error, failure.step, failure.controllers, failure.clone_flags, uid)


def _in_the_container(failure: Failure) -> tuple[str, str]:
    if failure.call is None:
        return "", ""
    root = _root_of_init(failure)
    try:
        pid = str(failure.pid)
        view = program.View(root, failure.proc, pid, places.Who(failure.proc, pid))
        if failure.error.at.endswith(DIRECTORY):
            return program.directory_cause(view, failure.call.cwd), ""
        return program.cause(view, failure.call, failure.error.errno)
    finally:
        os.close(root)


def _on_the_host(failure: Failure) -> tuple[str, str]:
    root = os.open("/", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        view = program.View(root, failure.proc, "self", places.Who(failure.proc, "self"))
        assert failure.call is not None
        return program.cause(view, failure.call, failure.error.errno)
    finally:
        os.close(root)


def _root_of_init(failure: Failure) -> int:
    """Its root directory, by /proc/PID/root, or, where init hides even from who started it, from its own hands."""
    try:
        return kernel.openat(failure.proc, f"{failure.pid}/root", os.O_PATH | os.O_DIRECTORY)
    except OSError as error:
        if error.errno not in (errno.EACCES, errno.EPERM) or failure.conversation is None:
            raise
    failure.conversation.send(ASK, ROOT)
    return failure.conversation.receive_descriptor()


def _failed_step(error: OcirtError, plan: Plan) -> Step | None:
    """By what pipeline.with_context() has noted."""
    steps = (step for stage in plan.stages if stage.name == error.stage for step in stage.steps)
    return next((step for step in steps if step.describe() == error.step), None)


def _call_of_plan(error: OcirtError, plan: Plan) -> program.Call | None:
    """What was to be found, or, when execve(2) failed, what was found."""
    look_up, image = _first(plan, LookUpExecutable), _first(plan, BuildImage)
    directory = _first(plan, EnterDirectory)
    if look_up is None or image is None or directory is None:
        return None
    path = error.detail if error.call == "execve" else look_up.name if "/" in look_up.name else ""
    return program.Call(look_up.name, path, look_up.search_path, directory.path, image.args, image.env, look_up.at)


def _first(plan: Plan, kind: type[Kind]) -> Kind | None:
    steps = (step for stage in plan.stages for step in stage.steps)
    return next((step for step in steps if isinstance(step, kind)), None)
