"""The images of a container in a user namespace."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from ocirt.config.views import Config
from ocirt.errors import OcirtError
from ocirt.kernel import flags as f
from ocirt.restore_plan import require_restorable, shown_images
from ocirt.stages import criu_images
from ocirt.stages.criu_images import ShowImages
from tests.support.recorder import recorded_box


def config(*namespaces: dict[str, str], **members: object) -> Config:
    return Config({"ociVersion": "1.3.0", "linux": {"namespaces": list(namespaces)}, **members})


def test_for_user_namespaces_only() -> None:
    assert list(shown_images(config({"type": "mount"}), "/i")) == []
    for namespace in ({"type": "user"}, {"type": "user", "path": "/proc/7/ns/user"}):
        (step,) = shown_images(config(namespace), "/i")
        assert step.describe() == "open the images in /i for the container's root"


def test_other_modes_by_an_overlay(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is mounted is seen by the recorder; what has its modes changed is what lies there."""
    images, merged = tmp_path / "images", tmp_path / "merged"
    for directory in (images, merged):
        directory.mkdir(mode=0o700)
    (merged / "core-1.img").touch(0o600)
    (merged / "link").symlink_to("/no/such")
    monkeypatch.setattr(criu_images, "MERGED", str(merged))
    monkeypatch.setattr(criu_images, "in_a_child", lambda box, work: work())
    fds = [os.open(directory, os.O_RDONLY) for directory in (images, merged)]
    box, kernel = recorded_box(open_tree=9, openat=list(fds), close=os.close)
    step = ShowImages(str(images))
    step.apply(box)
    assert [call for call in kernel.calls if call[0] in ("mount", "open_tree", "fchdir", "close")] == [
        ("fchdir", fds[0]),
        ("mount", "", "/", "", f.MS_PRIVATE | f.MS_REC),
        ("mount", "tmpfs", "/proc", "tmpfs", 0, "mode=700"),
        (
            "mount",
            "overlay",
            str(merged),
            "overlay",
            0,
            "lowerdir=.,upperdir=/proc/upper,workdir=/proc/work,metacopy=on",
        ),
        ("close", fds[1]),
        ("open_tree", f.AT_FDCWD, str(merged), f.OPEN_TREE_CLONE),
        ("close", fds[0]),
    ]
    assert (merged.stat().st_mode & 0o777, (merged / "core-1.img").stat().st_mode & 0o777) == (0o755, 0o644)
    assert box.fds == {"images": 9}
    box.fds["images"] = os.open("/", os.O_PATH)
    step.undo(box)
    assert (box.fds, kernel.names()[-1]) == ({}, "close")


def test_a_parent_is_refused(tmp_path: Path) -> None:
    """Its link leads out of the overlay."""
    (tmp_path / "parent").symlink_to("../before")
    box, kernel = recorded_box(openat=os.open(tmp_path, os.O_RDONLY), close=os.close)
    with pytest.raises(OcirtError, match="images with a parent") as caught:
        ShowImages(str(tmp_path)).apply(box)
    assert (caught.value.code, caught.value.at) == ("unsupported", "/linux/namespaces")
    assert kernel.names() == ["openat", "close"]


def test_rules_of_landlock_cannot_be_restored() -> None:
    annotations = {"ocirt.landlock.ro": "/usr"}
    with pytest.raises(OcirtError, match="with Landlock rules cannot be checkpointed") as caught:
        require_restorable(config({"type": "mount"}, annotations=annotations))
    assert (caught.value.code, caught.value.at) == ("unsupported", "/annotations/ocirt.landlock.ro")


@pytest.mark.parametrize("word", ["src-nofollow", "dest-nofollow"])
def test_links_that_are_bound_cannot_be_restored(word: str) -> None:
    mount = {"destination": "/a", "source": "/b", "options": ["bind"]}
    require_restorable(config({"type": "mount"}, mounts=[mount]))
    mount["options"] = ["bind", word]
    with pytest.raises(OcirtError, match=f"^a container with {word} cannot be checkpointed$") as caught:
        require_restorable(config({"type": "mount"}, mounts=[mount]))
    assert (caught.value.code, caught.value.at) == ("unsupported", "/mounts/0")
