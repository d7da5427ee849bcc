"""The runtime inside a container of its own making: a privileged one, and one with a user namespace."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from ocirt.kernel.capabilities import CAPABILITIES
from tests.support.bundles import Bundle
from tests.support.host import Place, alive
from tests.support.runtime import CHECKOUT, Result, Runtime, poll

pytestmark = pytest.mark.differs(crun="refuses the v2 hierarchy beside v1, and cannot unmount it here")

SYSTEM = ("/usr", "/etc", "/lib", "/lib64", "/bin", "/sbin")  # the runtime and what it is linked with


@pytest.fixture
def inner(new_bundle: Callable[[], Bundle]) -> Bundle:
    return new_bundle()


@pytest.fixture
def outer(runtime: Runtime, bundle: Bundle, inner: Bundle) -> Bundle:
    """A container with all rights over itself, in which the host's programs and the inner bundle have their paths."""
    installed = Path(os.environ.get("OCIRT_RUNTIME", CHECKOUT / "bin" / "ocirt")).parents[1]
    for path in dict.fromkeys((*SYSTEM, str(CHECKOUT), str(installed), str(runtime.directory))):
        if os.path.exists(path):
            bundle.bind(os.path.realpath(path), path, "rbind", "ro")
    bundle.bind(inner.path, str(inner.path))
    bundle.mount("/run", "tmpfs", "tmpfs", "mode=755", "nosuid")
    bundle.capabilities(*own_capabilities())
    bundle.process["noNewPrivileges"] = False
    bundle.process["env"] += ["USER=root"]
    bundle.linux["maskedPaths"] = bundle.linux["readonlyPaths"] = []
    return bundle


def own_capabilities() -> list[str]:
    """All that can be given: what the tests themselves have."""
    status = Path("/proc/self/status").read_text()
    mask = int(next(line for line in status.splitlines() if line.startswith("CapEff:")).split()[1], 16)
    return [name for number, name in enumerate(CAPABILITIES) if mask >> number & 1]


def nested(runtime: Runtime, outer: Bundle, inner: Bundle, script: str) -> Result:
    """run in run; the inner payload is a shell that runs the script."""
    inner.script(script).save()
    command = [runtime.command, "--root", "/run/state", "run", "--bundle", str(inner.path), inner.id]
    result = runtime.run(outer.args(*command))
    assert result.code == 0, result
    return result


@pytest.mark.cgroup_v1("looks for the hierarchy of pids")
@pytest.mark.parametrize("cgroup_namespace", [False, True])
def test_privileged(runtime: Runtime, outer: Bundle, inner: Bundle, cgroup_namespace: bool) -> None:
    """The inner container has namespaces of its own, device nodes, and a cgroup below the outer one's."""
    outer.mount("/sys/fs/cgroup", "cgroup", "cgroup", "nosuid", "noexec", "nodev")
    if cgroup_namespace:
        outer.namespace("cgroup")
    inner.config["hostname"] = "inner"
    inner.resources(pids={"limit": 7})
    script = "hostname; stat -c %t:%T /dev/null; grep :pids: /proc/self/cgroup; mount | grep ' /dev/null ' || echo node"
    lines = nested(runtime, outer, inner, script).out.splitlines()
    assert lines[:2] == ["inner", "1:3"]
    assert lines[2].endswith(f"/{inner.id}")
    assert lines[3] == "node"


@pytest.mark.cgroup_v1("looks below the outer cgroup; on v2 the inner one is beside it")
def test_a_limit_of_the_inner_container(runtime: Runtime, place: Place, outer: Bundle, inner: Bundle) -> None:
    """Seen from the host: the inner cgroup is below the outer container's, with the inner limit."""
    outer.mount("/sys/fs/cgroup", "cgroup", "cgroup", "nosuid", "noexec", "nodev")
    inner.resources(pids={"limit": 7})
    inner.args("sleep", "1000").save()
    words = f"{runtime.command} --root /run/state run --bundle {inner.path} {inner.id}"
    runtime.run_detached(outer.script(f"{words} & wait"))
    outer_cgroup = place.cgroup("pids") / outer.id
    (found,) = poll(lambda: list(outer_cgroup.glob(f"**/{inner.id}/pids.max")), "the inner cgroup")
    poll(lambda: found.read_text() == "7\n", "the inner limit")
    (sleep,) = poll(lambda: (found.parent / "cgroup.procs").read_text().split(), "the inner process")
    runtime.ok("delete", "--force", outer.id)
    assert not alive(int(sleep))


@pytest.mark.parametrize(
    "network", [True, pytest.param(False, marks=pytest.mark.differs(runc="does not fall back for sysfs"))]
)
def test_in_a_user_namespace(runtime: Runtime, outer: Bundle, inner: Bundle, network: bool) -> None:
    """Root in name only: no rights over cgroups, the outer container's device nodes, its /sys where it must be."""
    runtime.directory.chmod(0o755)
    for parent in runtime.directory.parents:
        if parent.is_relative_to("/tmp") and parent != Path("/tmp"):
            parent.chmod(parent.stat().st_mode | 0o11)
    inner.user_namespace().without_namespace("user")
    for which in ("uidMappings", "gidMappings"):
        del inner.linux[which]
    outer.user_namespace().mount("/sys/fs/cgroup", "cgroup", "cgroup", "ro", "nosuid", "noexec", "nodev")
    if not network:
        inner.without_namespace("network")
    script = "cat /proc/self/uid_map; stat -c %t:%T /dev/null; grep ' /sys ' /proc/self/mountinfo"
    words = nested(runtime, outer, inner, script).out.split()
    assert words[:4] == ["0", "100000", "65536", "1:3"]
    assert "sysfs" in words
