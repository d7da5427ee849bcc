"""check on real bundles: what it says of the host is what create meets; who is not root may ask too."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.bundles import Bundle
from tests.support.runtime import Runtime
from tests.support.user import User, UserRuntime

pytestmark = pytest.mark.only_ocirt("others have no check")


def findings(runtime: Runtime, bundle: Bundle, *options: str, code: int = 0) -> list[tuple[str, str]]:
    """(level, pointer) of each."""
    bundle.save()
    result = runtime.call("check", "--format", "json", *options, str(bundle.path))
    assert (result.code, result.err) == (code, "")
    return [(one["level"], one["pointer"]) for one in json.loads(result.out)["findings"]]


def test_a_bundle_that_runs_has_no_errors(runtime: Runtime, bundle: Bundle) -> None:
    found = findings(runtime, bundle, "--host")
    assert [pointer for level, pointer in found if level == "error"] == []
    assert ("advice", "/linux") in found  # no seccomp
    assert findings(runtime, bundle, "--host", "--strict", code=1) == found
    assert runtime.inside(bundle, "echo ran") == "ran\n"


def no_root(bundle: Bundle) -> str:
    bundle.config["root"]["path"] = "nowhere"
    return "/root/path"


def no_source(bundle: Bundle) -> str:
    bundle.bind(bundle.path / "nowhere", "/mnt")
    return f"/mounts/{len(bundle.mounts) - 1}/source"


def no_namespace(bundle: Bundle) -> str:
    bundle.without_namespace("ipc").namespace("ipc", f"{bundle.path}/nowhere")
    return f"/linux/namespaces/{len(bundle.linux['namespaces']) - 1}/path"


def no_hook(bundle: Bundle) -> str:
    bundle.hook("createRuntime", bundle.path / "nowhere")
    return "/hooks/createRuntime/0/path"


def no_agent(bundle: Bundle) -> str:
    calls = [{"names": ["mkdir"], "action": "SCMP_ACT_NOTIFY"}]
    socket = str(bundle.path / "nowhere")
    bundle.process["noNewPrivileges"] = False  # else the filter is start's to load
    bundle.linux["seccomp"] = {"defaultAction": "SCMP_ACT_ALLOW", "listenerPath": socket, "syscalls": calls}
    return "/linux/seccomp/listenerPath"


@pytest.mark.parametrize("change", [no_root, no_source, no_namespace, no_hook, no_agent])
def test_what_is_not_there(runtime: Runtime, bundle: Bundle, change: Callable[[Bundle], str]) -> None:
    """Without --host nothing is said of it; create fails for the same property, or for the one that holds it."""
    pointer = change(bundle)
    assert [at for level, at in findings(runtime, bundle) if level == "error"] == []
    assert [at for level, at in findings(runtime, bundle, "--host", code=1) if level == "error"] == [pointer]
    met = runtime.refusal(bundle)["pointer"]
    assert met == pointer or pointer.startswith(f"{met}/")


def test_a_user(bundle: Bundle, user: User, tmp_path: Path) -> None:
    """What root may, a user may not; check says so before create does."""
    (tmp_path / "user").mkdir()
    found = findings(UserRuntime(tmp_path / "user", user), bundle, "--host", code=1)
    assert ("error", "/linux/namespaces") in found
    assert findings(UserRuntime(tmp_path / "user", user), bundle) == [("advice", "/linux")]
