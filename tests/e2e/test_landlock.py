"""Landlock by annotation: what the container's program may still do, and that of exec."""

from __future__ import annotations

import errno
from collections.abc import Callable
from typing import Any

import pytest

from ocirt.kernel.landlock import landlock_abi
from tests.support.bundles import Bundle
from tests.support.runtime import Runtime

pytestmark = pytest.mark.only_ocirt("an extension of its own")


@pytest.fixture(autouse=True)
def kernel_has_landlock() -> int:
    try:
        return landlock_abi()
    except OSError as error:
        pytest.skip(f"this kernel has no Landlock: {errno.errorcode[error.errno or 0]}")


def landlocked(bundle: Bundle, no_new_privileges: bool = True, **kinds: str) -> Bundle:
    bundle.config["annotations"] = {f"ocirt.landlock.{kind}": value for kind, value in kinds.items()}
    bundle.process["noNewPrivileges"] = no_new_privileges
    return bundle


SCRIPT = """
cat /etc/passwd >/dev/null && echo read
echo x >/tmp/x && echo written
echo x 2>/dev/null >/etc/x || echo not written
cat /root/secret 2>/dev/null || echo not read
"""


@pytest.mark.parametrize("user", [0, 1000])
@pytest.mark.parametrize("no_new_privileges", [True, False])
def test_paths(runtime: Runtime, bundle: Bundle, no_new_privileges: bool, user: int) -> None:
    """Whoever runs, and though the files' own permissions would let root do all of it."""
    (bundle.root / "root/secret").write_text("secret")
    bundle.process["user"] = {"uid": user, "gid": user}
    landlocked(bundle, no_new_privileges, ro="/bin:/etc:/lib", rw="/tmp:/dev")
    (bundle.root / "lib").mkdir(exist_ok=True)
    assert runtime.inside(bundle, SCRIPT).split("\n") == ["read", "written", "not written", "not read", ""]


def test_a_file(runtime: Runtime, bundle: Bundle) -> None:
    landlocked(bundle, ro="/bin:/etc/passwd", rw="/dev")
    script = "cat /etc/passwd >/dev/null && echo one; cat /etc/group 2>/dev/null || echo but not the other"
    assert runtime.inside(bundle, script) == "one\nbut not the other\n"


def test_off_by_default(runtime: Runtime, bundle: Bundle) -> None:
    bundle.config["annotations"] = {"org.example.landlock.ro": "/bin"}
    assert runtime.inside(bundle, "cat /etc/passwd >/dev/null && echo read") == "read\n"


def test_exec_is_restricted_too(runtime: Runtime, bundle: Bundle) -> None:
    landlocked(bundle, ro="/bin:/etc", rw="/tmp:/dev")
    runtime.launch(bundle.args("/bin/probe", "pause"))
    result = runtime.call("exec", bundle.id, "/bin/sh", "-c", "echo x >/tmp/x && echo x >/etc/x")
    assert (bundle.root / "tmp/x").read_text() == "x\n"
    assert "can't create /etc/x: Permission denied" in result.err
    runtime.stop(bundle)


def test_before_a_filter_that_refuses_landlock(runtime: Runtime, bundle: Bundle) -> None:
    calls = ["landlock_create_ruleset", "landlock_add_rule", "landlock_restrict_self"]
    rule = {"names": calls, "action": "SCMP_ACT_KILL"}
    bundle.linux["seccomp"] = {"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [rule]}
    landlocked(bundle, ro="/bin", rw="/dev")
    assert runtime.inside(bundle, "cat /etc/passwd 2>/dev/null || echo not read") == "not read\n"


def test_ports(runtime: Runtime, bundle: Bundle, kernel_has_landlock: int) -> None:
    if kernel_has_landlock < 4:
        pytest.skip("TCP needs version 4 of Landlock, Linux 6.7")
    landlocked(bundle, bind="8080")
    bundle.namespace("network")
    script = "for p in 8080 8081; do timeout 1 nc -l -p $p 2>&1; done; true"
    assert runtime.inside(bundle, script).splitlines() == ["Terminated", "nc: bind: Permission denied"]


@pytest.mark.parametrize(
    ("kinds", "says"),
    [
        (
            {"ro": "/bin:/nonesuch"},
            "open /nonesuch in the container: no such file or directory [/annotations/ocirt.landlock.ro]",
        ),
        ({"rw": "tmp"}, "[/annotations/ocirt.landlock.rw]"),
        ({"all": "/"}, '"ocirt.landlock.all" is not known [/annotations/ocirt.landlock.all]'),
        ({"ro": "/etc"}, "permission denied"),
    ],
)
def test_refused(
    runtime: Runtime, bundle: Bundle, host_unchanged: Callable[[], Any], kinds: dict[str, str], says: str
) -> None:
    landlocked(bundle, **kinds)
    bundle.save()
    runtime.fails("run", "--bundle", str(bundle.path), bundle.id, says=says)
