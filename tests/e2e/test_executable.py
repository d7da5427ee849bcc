"""The runtime's executable in the hands of a container (CVE-2019-5736; S04 and S05 of docs/security.md).

A thief with every privilege of the machine's root, but in the container's namespaces, collects the executables of what
enters the container, and then tries to change them.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.bundles import Bundle
from tests.support.runtime import CHECKOUT, Runtime, poll
from tests.support.user import User, UserRuntime

SOURCE = CHECKOUT / "tests/support/thief.c"
EXECS = 50  # at most; four executables are enough
EVERYTHING = ["mount_setattr", "remount", "open_tree", "bind", "fspick", "fchmod", "mmap", "write", "write-by-handle"]
COPY = "export OCIRT_SELF_EXE=independent-data-copy"

# As Debian's launcher without what protects it, and with an interpreter that may be spoilt.
UNPROTECTED = """#!{python} -IS
import sys
sys.path.insert(0, {checkout!r})
from ocirt.cli import main
main()
"""
# What a waiting init maps of the host's files.  A container needs CAP_SYS_ADMIN or CAP_CHECKPOINT_RESTORE in the
# machine's own user namespace to open them (proc_pid_map_files(5)).  This list may only become shorter.
MAPPED: set[str] = set()
PORTABLE_MAPPED = {"ld-linux-x86-64", "libc", "libm", "LC_CTYPE", "gconv-modules.cache", "libffi", "libz", "libexpat"}
PORTABLE_MAPPED |= {f"{module}.cpython-311-x86_64-linux-gnu" for module in ("_ctypes", "_json")}


@pytest.fixture(scope="module")
def thief(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("thief") / "thief"
    subprocess.run(["gcc", "-static", "-O1", "-o", made, SOURCE], check=True, timeout=60)
    return made


def all_capabilities() -> list[str]:
    """Those this process has: a runtime cannot give more."""
    status = Path("/proc/self/status").read_text().splitlines()
    mask = next(line.split()[1] for line in status if line.startswith("CapEff:"))
    out = subprocess.run(["capsh", f"--decode={mask}"], check=True, capture_output=True, text=True, timeout=10).stdout
    return [name.upper() for name in out.strip().partition("=")[2].split(",")]


def steal(runtime: Runtime, bundle: Bundle, thief: Path) -> tuple[list[str], list[tuple[str, str]]]:
    """Run the thief while processes enter the container: what it caught, and (attempt, result) of all it tried."""
    shutil.copy(thief, bundle.root / "bin/thief")
    script = bundle.root / "bin/self"
    script.write_text("#!/proc/self/exe\n")
    script.chmod(0o755)
    bundle.capabilities(*all_capabilities())
    result = runtime.launch(bundle.args("/bin/thief"))
    poll(lambda: "looking" in result.out, "the thief is there")
    for _ in range(EXECS):
        runtime.call("exec", bundle.id, "/bin/true")
        runtime.call("exec", bundle.id, "/bin/self")  # the runtime itself, as a program of the container
        if result.out.count("caught") > 3:
            break
    (bundle.root / "tmp/stop").touch()
    poll(lambda: "done" in result.out, "the thief has tried everything", 60)
    runtime.wait(bundle)
    runtime.ok("delete", bundle.id)
    lines = [line.partition(" ") for line in result.out.splitlines()[1:-1]]
    caught = [rest for word, _, rest in lines if word == "caught"]
    return caught, [(word, rest) for word, _, rest in lines if word != "caught"]


def executables(*paths: str) -> dict[str, tuple[object, ...]]:
    """Identity, size, times, content."""
    found = {}
    for path in paths:
        status = os.stat(path)
        content = hashlib.sha256(Path(path).read_bytes()).hexdigest()
        found[path] = (status.st_ino, status.st_mode, status.st_size, status.st_mtime_ns, status.st_ctime_ns, content)
    return found


@pytest.mark.parametrize("wish", ["", COPY], ids=["default", "copy"])
def test_a_thief_with_every_privilege(runtime: Runtime, bundle: Bundle, thief: Path, wish: str) -> None:
    files = (shutil.which(runtime.command) or runtime.command, "/usr/bin/python3.11", sys.executable)
    before = executables(*files)
    caught, tried = steal(runtime.after(wish), bundle, thief)
    assert executables(*files) == before
    assert caught
    copied = all(target == "/memfd:ocirt (deleted)" for target in caught)
    assert copied or not wish or runtime.name != "ocirt"
    bearable = {"fchmod"} if copied else set()  # of the copy
    if runtime.name != "ocirt":  # the file is a mount's root: whoever has it has the file system by fspick(2)
        bearable.add("fspick")
    assert {what for what, _ in tried} == set(EVERYTHING)
    assert {what for what, told in tried if told == "ok"} <= bearable


@pytest.mark.only_ocirt("the control of the test above: what it does is possible")
def test_the_thief_succeeds_where_nothing_protects(runtime: Runtime, bundle: Bundle, thief: Path) -> None:
    python = bundle.path / "python3"
    shutil.copy("/usr/bin/python3", python)
    launcher = bundle.path / "unprotected"
    launcher.write_text(UNPROTECTED.format(python=python, checkout=str(CHECKOUT)))
    launcher.chmod(0o755)
    runtime.command = str(launcher)
    before = executables(str(python))
    _, tried = steal(runtime, bundle, thief)
    assert ("write", "ok") in tried
    assert executables(str(python)) != before


@pytest.mark.only_ocirt("how the others do it is theirs")
@pytest.mark.parametrize("wish", ["", COPY], ids=["default", "copy"])
def test_what_a_waiting_init_executes(runtime: Runtime, bundle: Bundle, wish: str) -> None:
    """S05: no file of the host's; and what it has mapped of those."""
    runtime.after(wish).create(bundle.args("/bin/probe", "pause"))
    process = Path(f"/proc/{bundle.pid}")
    executed = os.readlink(process / "exe")
    device = os.stat(process / "exe").st_dev
    mapped = {os.readlink(path) for path in (process / "map_files").iterdir()}
    comm = (process / "comm").read_text()
    runtime.stop(bundle)
    assert executed in (["/memfd:ocirt (deleted)"] if wish else ["/memfd:ocirt (deleted)", "/ocirt"])
    assert device not in {os.stat(path).st_dev for path in ("/usr/bin/python3", runtime.command)}
    assert comm == "ocirt\n"
    known = PORTABLE_MAPPED if runtime.is_portable else MAPPED
    assert {Path(path).name.partition(".so")[0] for path in mapped - {executed}} <= known


@pytest.mark.only_ocirt("how the others do it is theirs")
def test_a_user_other_than_root(tmp_path: Path, user: User, bundle: Bundle) -> None:
    """Without the right to mount it is a copy."""
    runtime = UserRuntime(tmp_path, user)
    user.bundle(bundle).args("/bin/probe", "pause")
    runtime.create(bundle)
    executed = os.readlink(f"/proc/{bundle.pid}/exe")
    runtime.stop(bundle)
    assert executed == "/memfd:ocirt (deleted)"


@pytest.mark.only_ocirt("it is a wish of ocirt's")
@pytest.mark.parametrize(("command", "code"), [("create", 1), ("exec", 255)])
def test_a_wish_that_is_not_understood(runtime: Runtime, command: str, code: int) -> None:
    if runtime.is_portable:
        pytest.skip("the portable launcher always makes a copy")
    result = runtime.fails(command, "x", code=code, env={"OCIRT_SELF_EXE": "copy"})
    assert result.err == "ocirt: OCIRT_SELF_EXE: copy: neither ro-shared-page nor independent-data-copy\n"


@pytest.mark.only_ocirt("runc 1.1.5 falls back to a temporary file")
def test_a_host_that_forbids_executable_memory(runtime: Runtime, bundle: Bundle) -> None:
    """P1: vm.memfd_noexec=2, which is a pid namespace's own."""
    if not Path("/proc/sys/vm/memfd_noexec").exists():
        pytest.skip("no vm.memfd_noexec before Linux 6.3")
    bundle.script("echo ran").save()
    command = " ".join(runtime.arguments("run", "--bundle", str(bundle.path), bundle.id))
    inner = f"echo 2 > /proc/sys/vm/memfd_noexec; {command}; echo $?; {COPY}; {command}; echo $?"
    script = ["unshare", "--pid", "--fork", "--mount-proc", "sh", "-c", inner]
    done = subprocess.run(script, check=True, capture_output=True, text=True, timeout=60)
    refusal = (
        "ocirt: the executable cannot be protected from the container: memfd_create: Permission denied"
        " - allow it by vm.memfd_noexec\n"
    )
    if runtime.is_portable:
        assert (done.stdout, done.stderr) == ("1\n1\n", refusal * 2)
    else:
        assert (done.stdout, done.stderr) == ("ran\n0\n1\n", refusal)
