"""The defences of docs/security.md taken away one at a time: the test of each fails then, as without the defence.

A defence that is an absence, such as a name that is never looked up, is taken away by putting there what another
runtime had.  That the weakened runtime still runs containers is tested first, so that it is the attack that is seen.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.e2e import (
    test_attacks,
    test_errors,
    test_exec,
    test_executable,
    test_mounts,
    test_oracle,
    test_process,
    test_python,
    test_seccomp,
    test_syscalls,
)
from tests.e2e.test_attacks import LEAK, Marked
from tests.e2e.test_exec import running as running
from tests.e2e.test_python import evil as evil
from tests.support.bundles import Bundle
from tests.support.runtime import CHECKOUT, WEAKENED, Runtime, poll

pytestmark = pytest.mark.only_ocirt("the defences that are taken away are ocirt's")

# The targets of mounts as text, as libcontainer had it in 2015, and no look at where they are.
BY_NAME = """
import os
from ocirt.kernel import files, live
from ocirt.stages import binds, mounts
def path_of(root, path):
    return os.readlink(f"/proc/self/fd/{root}") + path
def make(root, path, mode=0o755, *, directory=True, symlinks=True):
    name = path_of(root, path)
    made = not os.path.exists(name)
    os.makedirs(name if directory else os.path.dirname(name), exist_ok=True)
    if not directory:
        open(name, "a").close()
    return os.open(name, os.O_PATH), made
live.make_in_root = make
live.mkdir_in_root = lambda root, path, mode=0o755, *, symlinks=True: make(root, path, mode)[0]
live.open_in_root = lambda root, path, flags, *, symlinks=True: os.open(path_of(root, path), flags)
binds.place_in_root = mounts.place_in_root = lambda box, fd: "/anywhere"
"""
# As runc before 0.1.0: a name of the image's, even if it is a number.
NAMES = """
from ocirt.commands import exec
numbers = exec.parse_user
def parse_user(text):
    with open({passwd!r}) as file:
        lines = [line.split(":") for line in file]
    return next(({{"uid": int(line[2])}} for line in lines if line[0] == text), None) or numbers(text)
exec.parse_user = parse_user
"""
LINKS_TO_PROC = """
from ocirt.stages import mounts
mounts.DIRECTORY_ONLY = ()
"""
NUL_IS_TEXT = """
from ocirt.config import checks
from ocirt.kernel import ffi
checks.nul_faults = lambda value, at: ()
ffi.path = lambda name: name.encode() if isinstance(name, str) else name
"""
INHERITABLE = """
from ocirt.kernel import live
capset = live.capset
live.capset = lambda effective, permitted, inheritable: capset(effective, permitted, permitted)
"""
WRITABLE_CGROUPS = """
from ocirt.stages import cgroup_mounts
cgroup_mounts.mount_attributes = lambda flags: 0
attach = cgroup_mounts.MountCgroups.attach
def writable(self, box):
    self.flags &= ~cgroup_mounts.MS_RDONLY
    attach(self, box)
cgroup_mounts.MountCgroups.attach = writable
"""
OPEN_DESCRIPTORS = """
from ocirt.kernel import processes
processes.close_range = lambda first, last, *more: None
from ocirt.kernel import live
"""
IGNORED_SIGNALS = """
from ocirt.kernel import live
live.reset_signals = lambda: None
"""
HANDED_ON = """
import os
from ocirt.kernel import live
prepare = live.prepare_exec
live.prepare_exec = lambda args, env: prepare(args, (*env, *map("=".join, os.environ.items())))
"""
A_THREAD = """
import threading
threading.Thread(target=threading.Event().wait, daemon=True).start()
"""
LIBRARIES = """
import pwd
from ocirt.kernel import live
become = live.setresgid
def looked_up(*ids):
    try:
        pwd.getpwnam("nobody")
    except KeyError:
        pass
    become(*ids)
live.setresgid = looked_up
"""
EARLY_FILTER = """
from ocirt.stages import payload
real = payload.payload
def early(process, preserve_fds=0, listen_env=(), last=()):
    yield from last
    yield from real(process, preserve_fds, listen_env)
payload.payload = early
"""
RAW_TEXT = """
from ocirt import log
log.printable = str
log.quote = '"{}"'.format
"""
TRACEBACKS = """
from ocirt import cli
cli.main = lambda: cli._run(sys.argv[1:], cli._Context())
"""
# Text in a buffer at the clone, written by whoever ends otherwise than ocirt's processes do.
BUFFERED = """
import os
from ocirt import system
runtime = os.getpid()
sys.stderr = open(2, "w", closefd=False)
sys.stderr.write("buffered\\n")
def flushing(code):
    if {who}:
        sys.stderr.flush()
    os._exit(code)
system._exit = flushing
"""
# An import that somebody forgot, where the container's files are.
LATE_IMPORT = """
from ocirt.kernel import live
from ocirt.process import init
become = live.setresgid
def importing(*ids):
    try:
        import runpy
    except ImportError:
        pass
    become(*ids)
live.setresgid = importing
"""
UNSEALED = """
init.seal = lambda: None
"""


class Control:
    """row: of docs/security.md.  weakness: code for Runtime.weakened().  test: what fails then, given these values.

    says: what is in the words of the failure.
    """

    def __init__(self, row: str, weakness: str, test: Callable[..., None], says: str, **given: Any) -> None:
        self.row = row
        self.weakness = weakness
        self.test = test
        self.says = says
        self.given = given

    def __repr__(self) -> str:
        return f"{self.row}-{self.test.__name__}"


CONTROLS = (
    Control("S01", BY_NAME, test_attacks.test_bind_target_through_a_link_to_the_host, "/outside", kind="directory"),
    Control("S07", BY_NAME, test_attacks.test_target_through_a_link_to_the_host, "/outside", target="/a/b"),
    Control("S16", BY_NAME, test_attacks.test_bind_target_through_a_link_to_the_host, "/outside", kind="file"),
    Control("S05", "", test_executable.test_what_a_waiting_init_executes, "python3.11", wish=""),
    Control("S08", LINKS_TO_PROC, test_attacks.test_proc_and_sys_must_be_ordinary_directories, "code 0", name="proc"),
    Control("S10", NUL_IS_TEXT, test_errors.test_nul_in_a_string, "code 0", field="args"),
    Control("S11", INHERITABLE, test_exec.test_cap_is_not_inheritable_nor_ambient, "CapInh"),
    Control("S12", WRITABLE_CGROUPS, test_mounts.test_cgroup_mount, "refused", cgroup_namespace=True),
    Control("S12", WRITABLE_CGROUPS, test_mounts.test_cgroup_mount, "refused", cgroup_namespace=False),
    Control("S14", OPEN_DESCRIPTORS, test_attacks.test_descriptors_of_a_waiting_init, "3: ('/',", leak=LEAK),
    Control("H5", IGNORED_SIGNALS, test_oracle.test_the_inside_is_runcs, "ignored", uid=0),
    Control("P3", LIBRARIES, test_python.test_libraries_of_the_container_are_never_loaded, "was-loaded"),
    Control("P8", HANDED_ON, test_python.test_locale_of_the_runtime_does_not_reach_the_payload, "LC_CTYPE"),
    Control("P9", IGNORED_SIGNALS, test_process.test_signals_are_at_their_defaults, "([13, 25], 0, 0)"),
    Control("P10", OPEN_DESCRIPTORS, test_process.test_only_three_descriptors, "[0, 1, 2, 3,"),
    Control("P11", A_THREAD, test_syscalls.test_no_thread_is_ever_made, "CLONE_THREAD"),
    Control("P14", EARLY_FILTER, test_seccomp.test_filter_that_allows_little_more_than_execve, "through"),
    Control("P21", TRACEBACKS, test_errors.test_bad_global_options, "Traceback", options=("--root", "/")),
    Control("P22", RAW_TEXT, test_errors.test_control_characters_are_escaped, "is contained here"),
    Control("P24", TRACEBACKS, test_python.test_no_more_processes_for_the_runtime, "Traceback", limit=1),
)


def fails(control: Control, runtime: Runtime, request: pytest.FixtureRequest) -> None:
    """Run the control's test with that runtime; it must fail, or what it marked must have changed."""
    names = inspect.signature(control.test).parameters
    given = {"runtime": runtime, **control.given}
    if "marked" in names:  # the fixture's own end is that nothing has changed
        given["marked"] = Marked(request.getfixturevalue("bundle").path / "outside")
    arguments = {name: given[name] if name in given else request.getfixturevalue(name) for name in names}
    with pytest.raises(AssertionError) as caught:
        control.test(**arguments)
        if "marked" in names:
            given["marked"].assert_unchanged()
    assert control.says in str(caught.value)


@pytest.mark.parametrize("control", CONTROLS, ids=repr)
def test_without_the_defence_it_is_seen(
    control: Control, runtime: Runtime, new_bundle: Callable[[], Bundle], request: pytest.FixtureRequest
) -> None:
    weak = runtime.weakened(control.weakness)
    first = new_bundle()
    assert weak.inside(first, "echo ran") == "ran\n"
    poll(lambda: f"_ses.{first.id}" not in Path("/proc/keys").read_text(), "the end of its keyring")
    fails(control, weak, request)


def test_a_name_that_is_looked_up(runtime: Runtime, running: Bundle) -> None:
    """S02."""
    weak = runtime.weakened(NAMES.format(passwd=str(running.root / "etc/passwd")))
    with pytest.raises(AssertionError, match=r"^assert '0\\n' == '1000\\n'"):
        test_exec.test_a_number_that_the_image_has_as_a_name(weak, running)


@pytest.mark.parametrize("sealed", [True, False])
def test_an_import_after_the_clone(runtime: Runtime, bundle: Bundle, sealed: bool) -> None:
    """P2."""
    test_python.fake_library(bundle)
    weak = runtime.weakened(LATE_IMPORT + ("" if sealed else UNSEALED))
    weak.create_or_fail(bundle.script("true"))
    assert (bundle.root / "was-imported").exists() is not sealed


def test_an_interpreter_that_is_not_isolated(
    runtime: Runtime, new_bundle: Callable[[], Bundle], evil: test_python.EvilModules
) -> None:
    """P4."""
    weak = runtime.started_by(WEAKENED.format(checkout=str(CHECKOUT), code="").replace(" -IS", "", 1))
    assert weak.inside(new_bundle(), "echo ran") == "ran\n"
    with pytest.raises(AssertionError):
        test_python.test_environment_of_the_caller(weak, new_bundle(), evil, "PYTHONPATH")
    assert evil.marker.exists()


def test_an_interpreter_that_looks_where_it_is_started(runtime: Runtime, new_bundle: Callable[[], Bundle]) -> None:
    """P6."""
    bundle = new_bundle()
    weak = runtime.started_by(f'#!/bin/sh\nPYTHONPATH={CHECKOUT} exec /usr/bin/python3 -S -m ocirt "$@"\n')
    assert weak.inside(new_bundle(), "echo ran") == "ran\n"
    with pytest.raises(AssertionError):
        test_python.test_modules_in_the_bundle_and_the_callers_directory(weak, bundle)
    assert (bundle.path / "was-imported").exists()


@pytest.mark.parametrize(("who", "times"), [("os.getpid() == runtime", 1), ("True", 2)], ids=["runtime", "init too"])
def test_what_is_buffered_at_the_clone(runtime: Runtime, bundle: Bundle, who: str, times: int) -> None:
    """P12: an init that ended as Python ends would write it again."""
    created = runtime.weakened(BUFFERED.format(who=who)).create(bundle.hook("startContainer", "/none"))
    runtime.fails("start", bundle.id)
    runtime.wait(bundle)
    assert created.err.count("buffered\n") == times
