"""The command line: help, version, spec, features, and what engines probe."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from tests.support.bundles import Bundle
from tests.support.runtime import Runtime

_VERBS = """
    create delete events exec features kill list pause ps resume run spec start state update
"""
VERBS = _VERBS.split()

pytestmark = pytest.mark.differs(crun="argp's forms")


@pytest.mark.parametrize("flag", ["--version", "-v"])
def test_version(runtime: Runtime, flag: str) -> None:
    lines = runtime.ok(options=(flag,)).out.splitlines()
    assert lines[0].startswith(f"{runtime.name} version ")
    fields = dict(line.split(": ", 1) for line in lines[1:])
    assert {"commit", "spec"} <= set(fields)
    if runtime.name == "ocirt":
        assert fields["spec"] == "1.3.0"


@pytest.mark.parametrize("flag", ["--help", "-h"])
def test_help_names_every_verb(runtime: Runtime, flag: str) -> None:
    out = runtime.ok(options=(flag,)).out
    for verb in VERBS:
        if runtime.name == "runc" and verb == "features":
            continue
        assert verb in out, verb


@pytest.mark.parametrize("verb", VERBS)
def test_help_of_a_verb(runtime: Runtime, verb: str) -> None:
    if runtime.name == "runc" and verb == "features":
        pytest.skip("runc: 1.1 of Debian hides it")
    assert runtime.ok(verb, "--help").out.strip()


def test_unknown_command(runtime: Runtime) -> None:
    result = runtime.call("nonesuch")
    assert result.code != 0
    assert "No help topic for 'nonesuch'" in result.err


def test_missing_value(runtime: Runtime) -> None:
    """podman probes for one of these two texts."""
    result = runtime.call("create", "--bundle")
    assert result.code == 1
    assert "flag needs an argument" in result.err or "requires an argument" in result.err


def test_unknown_option(runtime: Runtime) -> None:
    assert runtime.call("create", "--nonesuch", "x").code == 1


def test_spec(runtime: Runtime, tmp_path: Path) -> None:
    runtime.ok("spec", cwd=tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    assert config["process"]["args"] == ["sh"]
    assert config["process"]["terminal"] is True
    assert config["root"] == {"path": "rootfs", "readonly": True}
    assert {entry["type"] for entry in config["linux"]["namespaces"]} >= {"pid", "network", "ipc", "uts", "mount"}
    assert "inheritable" not in config["process"]["capabilities"]
    runtime.fails("spec", cwd=tmp_path, says="File config.json exists. Remove it first")


@pytest.mark.parametrize("flag", ["--bundle", "-b"])
def test_spec_elsewhere(runtime: Runtime, tmp_path: Path, flag: str) -> None:
    runtime.ok("spec", flag, str(tmp_path), cwd="/")
    assert (tmp_path / "config.json").exists()


def test_spec_runs(runtime: Runtime, bundle: Bundle) -> None:
    runtime.ok("spec", "--bundle", str(bundle.path))
    config = json.loads((bundle.path / "config.json").read_text())
    config["process"].update(terminal=False, args=["/bin/echo", "from spec"])
    bundle.config = config
    assert runtime.run(bundle).out == "from spec\n"


def test_rootless_spec(runtime: Runtime, tmp_path: Path) -> None:
    runtime.ok("spec", "--rootless", cwd=tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    kinds = {entry["type"] for entry in config["linux"]["namespaces"]}
    assert "user" in kinds
    assert "network" not in kinds
    mapping = {"containerID": 0, "hostID": os.geteuid(), "size": 1}
    assert config["linux"]["uidMappings"] == [mapping]
    assert config["linux"]["gidMappings"] == [mapping]


@pytest.mark.differs(runc="1.1 has an older document")
def test_features(runtime: Runtime) -> None:
    result = runtime.ok("features")
    assert result.err == ""  # cri-o reads both together
    document = json.loads(result.out)
    assert document["ociVersionMin"] == "1.0.0"
    assert document["ociVersionMax"] == "1.3.0"
    assert set(document["hooks"]) == {
        "prestart",
        "createRuntime",
        "createContainer",
        "startContainer",
        "poststart",
        "poststop",
    }
    assert "rro" in document["mountOptions"]
    assert set(document["linux"]["namespaces"]) >= {"cgroup", "ipc", "mount", "network", "pid", "time", "user", "uts"}
    assert document["linux"]["seccomp"]["enabled"] is True


def test_root_option_forms(runtime: Runtime, bundle: Bundle) -> None:
    runtime.create(bundle)
    assert bundle.id in runtime.ok("list", options=(f"--root={runtime.root}",)).out
    assert bundle.id in runtime.ok("list", "-q", options=("-root", str(runtime.root))).out
    runtime.stop(bundle)


def test_debug_says_more(runtime: Runtime, bundle: Bundle) -> None:
    bundle.script("true").save()
    result = runtime.call("run", "--bundle", str(bundle.path), bundle.id, options=("--debug",))
    assert result.code == 0
    assert "level=debug" in result.err


@pytest.mark.only_ocirt("the verb is ours")
def test_plan_changes_nothing(runtime: Runtime, bundle: Bundle) -> None:
    bundle.save()
    out = runtime.ok("plan", "--bundle", str(bundle.path)).out
    for stage in ("mounts", "devices", "pivot_root", "identity", "exec"):
        assert stage in out
    assert not runtime.root.exists()
