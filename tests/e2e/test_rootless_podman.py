"""Rootless podman with the runtime under test, without rights over cgroups."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.podman import IMAGE, Podman
from tests.support.runtime import NAME
from tests.support.user import FIRST, GID, UID, User, UserRuntime, own_copy

pytestmark = pytest.mark.differs(crun="refuses the v2 hierarchy beside v1, and podman starts it itself")


@pytest.fixture(scope="module")
def podman(user: User, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Podman]:
    command = os.environ.get("OCIRT_RUNTIME") or str(own_copy(user)) if NAME == "ocirt" else f"/usr/sbin/{NAME}"
    podman = Podman(user.home, command, tuple(user.prefix()))
    podman.make_image(user.home / "root.tar")
    yield podman
    podman.close()


@pytest.fixture
def runtime(user: User, podman: Podman, tmp_path: Path) -> UserRuntime:
    return UserRuntime(tmp_path, user)


def test_ids(podman: Podman) -> None:
    assert podman.run(IMAGE, "cat", "/proc/self/uid_map").split()[:6] == ["0", str(UID), "1", "1", str(FIRST), "65536"]
    assert podman.run("--user", "1000:1000", IMAGE, "id", "-u") == "1000\n"


def test_keep_id(podman: Podman) -> None:
    """The container's user namespace is below podman's."""
    assert podman.run("--userns", "keep-id", IMAGE, "sh", "-c", "id -u; id -g").split() == [str(UID), str(GID)]


def test_an_id_without_a_mapping(podman: Podman) -> None:
    podman.run("--user", "99999", IMAGE, "true", code=126)


def test_exit_codes(podman: Podman) -> None:
    podman.run(IMAGE, "sh", "-c", "exit 7", code=7)
    podman.run(IMAGE, "nosuch", code=127)


def test_sysfs_of_the_hosts_network(podman: Podman) -> None:
    assert " - sysfs " in podman.run(IMAGE, "grep", " /sys ", "/proc/self/mountinfo", network="host")


def test_privileged(podman: Podman) -> None:
    assert "000001ffffffffff" in podman.run("--privileged", IMAGE, "grep", "CapEff", "/proc/self/status")


def test_read_only(podman: Podman) -> None:
    podman.run("--read-only", IMAGE, "sh", "-c", "touch /x && exit 1; touch /tmp/x")


def test_volumes(podman: Podman, user: User) -> None:
    """A named one is kept between containers; what the container's root writes to a bind is the user's."""
    podman.run("--volume", "kept:/v", IMAGE, "sh", "-c", "echo hello >/v/x")
    assert podman.run("--volume", "kept:/v", IMAGE, "cat", "/v/x") == "hello\n"
    podman("volume", "rm", "kept")
    shared = user.home / "shared"
    shared.mkdir()
    os.chown(shared, UID, GID)
    podman.run("--volume", f"{shared}:/v", IMAGE, "touch", "/v/new")
    assert (shared / "new").stat().st_uid == UID
    podman.run("--volume", f"{shared}:/v:ro", IMAGE, "touch", "/v/other", code=1)


def test_terminal(podman: Podman) -> None:
    said = podman.run("--tty", IMAGE, "sh", "-c", "tty; stat -c %F /dev/console")
    assert said.split() == ["/dev/pts/0", "character", "special", "file"]


def test_life(podman: Podman) -> None:
    podman.launch("one", IMAGE, "sh", "-c", "echo up; exec sleep 1000")
    assert podman.state("one")["Status"] == "running"
    assert podman("exec", "one", "id", "-u") == "0\n"
    podman("exec", "one", "sh", "-c", "exit 3", code=3)
    podman("exec", "one", "nosuch", code=127)
    assert podman("logs", "one") == "up\n"
    podman("stop", "--time", "1", "one")
    assert podman.state("one")["ExitCode"] == 137
    podman("start", "one")
    podman("kill", "one")
    podman("rm", "--force", "one")
    assert podman("ps", "--all", "--quiet") == ""
