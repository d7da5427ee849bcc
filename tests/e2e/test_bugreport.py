"""bugreport: what is in the archive, and that no secret is."""

from __future__ import annotations

import json
import tarfile
from pathlib import Path

import pytest

from tests.support.bundles import Bundle
from tests.support.runtime import Runtime

pytestmark = pytest.mark.only_ocirt("no other runtime has it")

SECRETS = ("correct-horse", "battery-staple", "hunter2hunter2", "tr0ub4dor-and-3", "gone-with-the-log")


@pytest.fixture
def secretive(bundle: Bundle) -> Bundle:
    """Secrets where engines and people put them."""
    bundle.process["env"] += [f"DATABASE={SECRETS[0]}"]
    bundle.config["annotations"] = {"io.example/api-token": SECRETS[1], "io.container.manager": "test"}
    bundle.hook("poststop", "/bin/true", f"--password={SECRETS[2]}", env=[f"X={SECRETS[3]}"])
    podmans = bundle.path / "overlay-containers" / bundle.id / "userdata"
    podmans.mkdir(parents=True)
    (podmans / "hostname").touch()
    (podmans / "oci-log").write_text("from podman\n")
    bundle.bind(podmans / "hostname", "/etc/hostname")
    (bundle.path / "log.json").write_text(
        f'{{"level":"error","msg":"could not say {SECRETS[0]}","token":"{SECRETS[4]}"}}\n'
    )
    return bundle


def parts(archive: Path, name: str) -> dict[str, str]:
    """Name below the archive's one directory -> text."""
    found = {}
    with tarfile.open(archive) as tar:
        for member in tar.getmembers():
            assert member.isfile()
            directory, _, path = member.name.partition("/")
            assert directory == f"ocirt-bugreport-{name}"
            assert ".." not in path
            file = tar.extractfile(member)
            assert file is not None
            found[path] = file.read().decode()
    return found


def test_a_running_container(runtime: Runtime, secretive: Bundle, tmp_path: Path) -> None:
    trace = tmp_path / "trace.json"
    secretive.args("sleep", "1000")
    runtime.ok("create", "--bundle", str(secretive.save().path), secretive.id, options=("--trace", str(trace)))
    runtime.ok("start", secretive.id)
    before = sorted(path.name for path in tmp_path.iterdir())
    said = runtime.ok("bugreport", "--add", str(trace), secretive.id, cwd=tmp_path)
    archive = tmp_path / f"ocirt-bugreport-{secretive.id}.tar.gz"
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted([*before, archive.name])
    found = parts(archive, secretive.id)
    config = json.loads(found["config.json"])
    assert config["process"]["args"] == ["sleep", "1000"]
    assert "DATABASE=[redacted]" in config["process"]["env"]
    assert any(entry.startswith("PATH=/") for entry in config["process"]["env"])
    assert config["annotations"] == {"io.example/api-token": "[redacted]", "io.container.manager": "test"}
    assert config["hooks"]["poststop"][0]["args"] == ["true", "--password=[redacted]"]
    # The plan is that of the container, the trace the one that was given.
    plan = runtime.ok("plan", "--bundle", str(secretive.path), secretive.id).out
    assert found["plan.txt"].replace(SECRETS[2], "") == plan.replace(SECRETS[2], "")
    assert json.loads(found["added/0-trace.json"])[0]["args"]["name"] == f"ocirt create {secretive.id}"
    assert json.loads(found["container/state.json"])["status"] == "running"
    assert json.loads(found["container/record.json"])["id"] == secretive.id
    assert json.loads(found["container/log.json"]) == {
        "level": "error",
        "msg": "could not say [redacted]",
        "token": "[redacted]",
    }
    assert found["container/oci-log"] == "from podman\n"
    init = json.loads(found["container/findings.json"])["processes"][0]
    assert (init["role"], init["command"]) == ("init", ["sleep", "1000"])
    assert json.loads(found["container/usage.json"])["usage"]["pids"]["current"] == 1
    assert "Seccomp:" in found["container/init/status"]
    assert " - proc proc " in found["container/init/mountinfo"]
    assert {check["name"] for check in json.loads(found["host/probe.json"])["checks"]} >= {"apparmor"}
    assert {one["subject"] for one in json.loads(found["host/findings.json"])} >= {"kernel", "cgroups"}
    assert "host/proc/self/mountinfo" in found
    assert "host/kernel.log" in found or "host/kernel.log" in found["README"]
    everything = "".join(found.values())
    assert [secret for secret in SECRETS if secret in everything] == []
    assert found["README"].startswith(f"ocirt-bugreport-{secretive.id}\n===")
    assert said.out.startswith(f"{archive.name}: {len(found) - 1} parts, ")
    runtime.fails("bugreport", secretive.id, cwd=tmp_path, says="exists")
    runtime.stop(secretive)


def test_a_container_that_does_not_come_to_life(runtime: Runtime, secretive: Bundle, tmp_path: Path) -> None:
    secretive.process["args"] = []
    path = str(secretive.save().path)
    runtime.fails("bugreport", secretive.id, says="container does not exist", cwd=tmp_path)
    runtime.ok("bugreport", "--bundle", path, "--output", "r.tar.gz", secretive.id, cwd=tmp_path)
    found = parts(tmp_path / "r.tar.gz", secretive.id)
    assert json.loads(found["config.json"])["process"]["args"] == []
    assert "plan.txt" not in found
    (line,) = (line for line in found["README"].splitlines() if line.startswith("plan.txt "))
    assert "not here: " in line
    assert "container/record.json" not in found
    assert [secret for secret in SECRETS if secret in "".join(found.values())] == []


def test_a_damaged_record(runtime: Runtime, bundle: Bundle, tmp_path: Path) -> None:
    runtime.create(bundle.args("true"))
    record = runtime.root / bundle.id / "state.json"
    record.write_text(record.read_text().replace('"owner":', '"owner of it":'))
    runtime.ok("bugreport", "--output", "r.tar.gz", bundle.id, cwd=tmp_path)
    found = parts(tmp_path / "r.tar.gz", bundle.id)
    assert json.loads(found["config.json"])["process"]["args"] == ["true"]
    assert json.loads(found["container/record.json"])["id"] == bundle.id
    assert "container/state.json" not in found
    (line,) = (line for line in found["README"].splitlines() if line.startswith("container/oci-log "))
    assert line.endswith("not here: the engine has written none, or elsewhere")
    runtime.ok("delete", "--force", bundle.id)


def test_standard_output(runtime: Runtime, bundle: Bundle, tmp_path: Path) -> None:
    runtime.create(bundle.args("true"))
    archive = runtime.ok("bugreport", "--output", "-", bundle.id, cwd=tmp_path)._out
    assert json.loads(parts(archive, bundle.id)["container/state.json"])["status"] == "created"
    assert list(tmp_path.glob("*.tar.gz")) == []
    runtime.ok("delete", "--force", bundle.id)
