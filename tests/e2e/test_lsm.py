"""Labels and profiles on a host that does not have their security module; with AppArmor, see tests/guest/root."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.bundles import Bundle
from tests.support.runtime import Runtime

SELINUX = " - selinuxfs " in Path("/proc/self/mountinfo").read_text()
APPARMOR = Path("/sys/module/apparmor/parameters/enabled")

LABEL = "system_u:system_r:container_t:s0:c1,c2"
CASES = [
    pytest.param(
        "selinuxLabel",
        LABEL,
        "selinux label is specified in config, but selinux is disabled or not supported",
        id="selinux",
        marks=pytest.mark.skipif(SELINUX, reason="this host has SELinux"),
    ),
    pytest.param(
        "apparmorProfile",
        "nonesuch",
        "apparmor: config provided but apparmor not supported",
        id="apparmor",
        marks=pytest.mark.skipif(APPARMOR.exists() and APPARMOR.read_text() == "Y\n", reason="this host has AppArmor"),
    ),
]
OPTIONS = {"selinuxLabel": "--process-label", "apparmorProfile": "--apparmor"}


@pytest.mark.parametrize(("member", "value", "says"), CASES)
def test_create_is_refused(
    runtime: Runtime, bundle: Bundle, member: str, value: str, says: str, host_unchanged: Callable
) -> None:
    bundle.process[member] = value
    bundle.save()
    with host_unchanged():
        result = runtime.fails("create", "--bundle", str(bundle.path), bundle.id)
    if runtime.name == "ocirt":
        assert f"{says} [/process/{member}]" in result.last_line


@pytest.mark.differs(crun="runs the program without the label")
@pytest.mark.parametrize("how", ["option", "file"])
@pytest.mark.parametrize(("member", "value", "says"), CASES)
def test_exec_is_refused(
    runtime: Runtime, bundle: Bundle, member: str, value: str, says: str, how: str, host_unchanged: Callable
) -> None:
    runtime.launch(bundle.args("/bin/probe", "pause"))
    if how == "option":
        arguments = [OPTIONS[member], value, bundle.id, "/bin/touch", "/ran"]
    else:
        path = bundle.process_file("process.json", args=["/bin/touch", "/ran"], **{member: value})
        arguments = ["--process", str(path), bundle.id]
    with host_unchanged():
        result = runtime.fails("exec", *arguments, code=255)
    if runtime.name == "ocirt":
        assert f"{says} [/{member}]" in result.last_line
    assert not (bundle.root / "ran").exists()
    runtime.stop(bundle)


@pytest.mark.skipif(SELINUX, reason="this host has SELinux")
@pytest.mark.differs(runc="asks the kernel for it all the same")
def test_label_of_mounts_without_selinux(runtime: Runtime, bundle: Bundle) -> None:
    bundle.linux["mountLabel"] = "system_u:object_r:container_file_t:s0:c1,c2"
    assert "context" not in runtime.inside(bundle, "cat /proc/self/mountinfo")


@pytest.mark.only_ocirt("1.0.2: any text")
def test_no_label_of_mounts(runtime: Runtime, bundle: Bundle) -> None:
    bundle.linux["mountLabel"] = 'u:r:t:s0",exec'
    bundle.save()
    result = runtime.fails("create", "--bundle", str(bundle.path), bundle.id, says="is not an SELinux label")
    assert "[/linux/mountLabel]" in result.last_line
