"""AppArmor: the profile that the program runs under, what it denies, and profiles that are not there."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterator

import pytest

from tests.support.bundles import Bundle
from tests.support.runtime import Runtime

PROFILE, OTHER = "ocirt-e2e", "ocirt-e2e-other"
TEXT = """
profile {name} flags=(attach_disconnected, mediate_deleted) {{
    file, capability, signal, ptrace, mount, umount, network, dbus, unix, change_profile,
    {denies}
}}
"""
BOTH = TEXT.format(name=PROFILE, denies="deny /secret rwklm,") + TEXT.format(name=OTHER, denies="deny /other rwklm,")
CURRENT = "cat /proc/self/attr/apparmor/current"
NONESUCH = "ocirt-e2e-nonesuch"


def parser(*options: str) -> None:
    subprocess.run(["apparmor_parser", "--skip-cache", *options], input=BOTH.encode(), check=True, timeout=120)


@pytest.fixture(scope="module", autouse=True)
def _profiles() -> Iterator[None]:
    parser("--replace")
    yield
    parser("--remove")


@pytest.fixture
def bundle(bundle: Bundle) -> Bundle:
    bundle.process["apparmorProfile"] = PROFILE
    for name in ("secret", "other"):
        (bundle.root / name).write_text("readable\n")
    return bundle


def enforced(profile: str) -> str:
    return f"{profile} (enforce)\n"


@pytest.mark.parametrize("no_new_privileges", [True, False])
@pytest.mark.parametrize("uid", [0, 1000])
def test_profile_of_the_program(runtime: Runtime, bundle: Bundle, no_new_privileges: bool, uid: int) -> None:
    bundle.process.update(noNewPrivileges=no_new_privileges, user={"uid": uid, "gid": uid})
    assert runtime.inside(bundle, CURRENT) == enforced(PROFILE)


def test_it_denies(runtime: Runtime, bundle: Bundle) -> None:
    out = runtime.inside(bundle, "cat /other; cat /secret 2>&1 || true")
    assert out == "readable\ncat: can't open '/secret': Permission denied\n"


def test_in_a_user_namespace(runtime: Runtime, bundle: Bundle) -> None:
    out = runtime.inside(bundle.user_namespace(), f"{CURRENT}; cat /secret 2>&1 || true")
    assert out == f"{enforced(PROFILE)}cat: can't open '/secret': Permission denied\n"


def test_without_proc_in_the_container(runtime: Runtime, bundle: Bundle) -> None:
    """It is set through the host's /proc (CVE-2019-16884, CVE-2023-28642)."""
    bundle.without_mount("/proc").linux.update(maskedPaths=[], readonlyPaths=[])
    if runtime.name == "runc":
        pytest.skip("runc: takes the container's /proc")
    assert "Permission denied" in runtime.inside(bundle, "cat /secret 2>&1 || true")


def test_unconfined(runtime: Runtime, bundle: Bundle) -> None:
    bundle.process["apparmorProfile"] = "unconfined"
    assert runtime.inside(bundle, f"{CURRENT}; cat /secret") == "unconfined\nreadable\n"


@pytest.mark.parametrize("no_new_privileges", [True, False])
def test_exec(runtime: Runtime, bundle: Bundle, no_new_privileges: bool) -> None:
    """The container's profile, or the one of --apparmor or --process."""
    bundle.process["noNewPrivileges"] = no_new_privileges
    runtime.launch(bundle.args("/bin/probe", "pause"))
    assert runtime.sh(bundle, CURRENT) == enforced(PROFILE)
    out = runtime.ok("exec", "--apparmor", OTHER, bundle.id, "/bin/sh", "-c", f"{CURRENT}; cat /secret").out
    assert out == f"{enforced(OTHER)}readable\n"
    args = ["/bin/sh", "-c", CURRENT]
    file = bundle.process_file("process.json", args=args, apparmorProfile=OTHER)
    assert runtime.ok("exec", "--process", str(file), bundle.id).out == enforced(OTHER)
    runtime.stop(bundle)


def test_stack(runtime: Runtime, bundle: Bundle) -> None:
    """Two at once: what one of them denies is denied."""
    stack = f"{PROFILE}//&{OTHER}"
    bundle.process["apparmorProfile"] = stack
    out = runtime.inside(bundle, f"{CURRENT}; cat /secret /other 2>&1 || true")
    assert set(out.splitlines()[0].removesuffix(" (enforce)").split("//&")) == {PROFILE, OTHER}
    assert out.splitlines()[1:] == [f"cat: can't open '/{name}': Permission denied" for name in ("secret", "other")]


@pytest.mark.parametrize("profile", [NONESUCH, f"{PROFILE}//&{NONESUCH}", f"{NONESUCH}//&{PROFILE}"])
def test_profile_that_is_not_loaded(runtime: Runtime, bundle: Bundle, profile: str, host_unchanged: Callable) -> None:
    bundle.process["apparmorProfile"] = profile
    bundle.save()
    with host_unchanged():
        result = runtime.fails("create", "--bundle", str(bundle.path), bundle.id)
    if runtime.name == "ocirt":
        says = f"finish: use AppArmor profile {profile} from execve on: no such file or directory"
        assert f"{says} [/process/apparmorProfile] - the AppArmor profile is not loaded" in result.last_line


@pytest.mark.parametrize("profile", [NONESUCH, f"{PROFILE}//&{NONESUCH}"])
def test_exec_with_a_profile_that_is_not_loaded(
    runtime: Runtime, bundle: Bundle, profile: str, host_unchanged: Callable
) -> None:
    runtime.launch(bundle.args("/bin/probe", "pause"))
    with host_unchanged():
        result = runtime.fails("exec", "--apparmor", profile, bundle.id, "/bin/touch", "/ran", code=255)
    if runtime.name == "ocirt":
        says = f"finish: use AppArmor profile {profile} from execve on: no such file or directory"
        assert f"{says} [/apparmorProfile]" in result.last_line
    assert not (bundle.root / "ran").exists()
    runtime.stop(bundle)
