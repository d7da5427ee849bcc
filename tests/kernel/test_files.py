"""ocirt.kernel.files against the real kernel: nothing leaves the root, whatever lies on the way."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from ocirt.errors import KernelError
from ocirt.kernel import files

pytestmark = pytest.mark.root


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A directory with `root` (the root file system) and `outside` (the host)."""
    (tmp_path / "root").mkdir()
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside/mark").write_text("host")
    return tmp_path


@pytest.fixture
def root(tree: Path) -> Iterator[int]:
    fd = os.open(tree / "root", os.O_PATH | os.O_DIRECTORY)
    yield fd
    os.close(fd)


@pytest.fixture
def proc() -> Iterator[int]:
    fd = os.open("/proc", os.O_RDONLY | os.O_DIRECTORY)
    yield fd
    os.close(fd)


def refused(call: str, number: int, function: object) -> KernelError:
    """Call function, which must raise KernelError of that call and errno."""
    with pytest.raises(KernelError) as caught:
        function()  # type: ignore[operator]
    assert (caught.value.call, errno.errorcode[caught.value.errno or 0]) == (call, errno.errorcode[number])
    return caught.value


def made(fd: int) -> str:
    """Close fd, say what it was."""
    kind = stat.S_IFMT(os.fstat(fd).st_mode)
    os.close(fd)
    return {stat.S_IFDIR: "directory", stat.S_IFREG: "file"}[kind]


class TestOpenInRoot:
    @pytest.mark.parametrize("target", ["/mark", "../outside/mark", "../../../../../../mark"])
    def test_links_stay_inside(self, tree: Path, root: int, target: str) -> None:
        (tree / "root/mark").write_text("inside")
        (tree / "root/outside").mkdir()
        (tree / "root/outside/mark").write_text("inside")
        (tree / "root/link").symlink_to(target)
        fd = files.open_in_root(root, "/link", os.O_RDONLY)
        assert os.read(fd, 10) == b"inside"
        os.close(fd)

    def test_link_refused_when_asked(self, tree: Path, root: int) -> None:
        (tree / "root/dir").mkdir()
        (tree / "root/link").symlink_to("dir")
        refused("openat2", errno.ELOOP, lambda: files.open_in_root(root, "link", os.O_PATH, symlinks=False))

    def test_magic_link(self) -> None:
        slash = os.open("/", os.O_PATH)
        name = f"proc/self/fd/{slash}"
        refused("openat2", errno.ELOOP, lambda: files.open_in_root(slash, name, os.O_PATH))
        os.close(slash)

    def test_close_on_exec(self, root: int) -> None:
        fd = files.open_in_root(root, ".", os.O_PATH)
        assert not os.get_inheritable(fd)
        os.close(fd)

    def test_nul(self, root: int) -> None:
        refused("", errno.EINVAL, lambda: files.open_in_root(root, "a\0b", os.O_PATH))


class TestMakeInRoot:
    def test_missing_parents(self, tree: Path, root: int) -> None:
        fd, new = files.make_in_root(root, "/a/b/c", 0o700)
        assert (made(fd), new) == ("directory", True)
        assert stat.S_IMODE((tree / "root/a/b").stat().st_mode) == 0o755
        assert stat.S_IMODE((tree / "root/a/b/c").stat().st_mode) == 0o700

    def test_existing_is_left(self, tree: Path, root: int) -> None:
        (tree / "root/a").mkdir(mode=0o711)
        fd, new = files.make_in_root(root, "a", 0o700)
        assert (made(fd), new) == ("directory", False)
        assert stat.S_IMODE((tree / "root/a").stat().st_mode) == 0o711

    def test_file(self, tree: Path, root: int) -> None:
        fd, new = files.make_in_root(root, "/etc/hosts", 0o644, directory=False)
        assert (made(fd), new) == ("file", True)
        assert (tree / "root/etc/hosts").read_bytes() == b""

    def test_directory_for_a_file_target(self, tree: Path, root: int) -> None:
        (tree / "root/etc").mkdir()
        fd, new = files.make_in_root(root, "/etc", directory=False)
        assert (made(fd), new) == ("directory", False)

    @pytest.mark.parametrize(
        ("target", "lands"),
        [
            ("/far/away", "far/away"),
            ("../../../../far", "far"),
            ("near/../near2", "near2"),
            ("/", "."),
            ("//far//away/.", "far/away"),
        ],
    )
    def test_dangling_link(self, tree: Path, root: int, target: str, lands: str) -> None:
        (tree / "root/link").symlink_to(target)
        made(files.make_in_root(root, "/link/end")[0])
        assert (tree / "root" / lands / "end").is_dir()
        assert sorted(os.listdir(tree)) == ["outside", "root"]

    def test_dangling_link_at_the_end_of_a_file_path(self, tree: Path, root: int) -> None:
        outside = tree / "outside/new"
        (tree / "root/link").symlink_to(outside)
        made(files.make_in_root(root, "link", directory=False)[0])
        assert not outside.exists()
        assert (tree / "root" / outside.relative_to("/")).is_file()

    def test_link_to_the_host(self, tree: Path, root: int) -> None:
        (tree / "root/link").symlink_to(tree / "outside")
        made(files.make_in_root(root, "/link/sub")[0])
        assert os.listdir(tree / "outside") == ["mark"]

    def test_too_many_links(self, tree: Path, root: int) -> None:
        (tree / "root/a").symlink_to("b/x")
        (tree / "root/b").symlink_to("a/x")
        refused("openat2", errno.ELOOP, lambda: files.make_in_root(root, "a"))

    def test_many_links_and_a_missing_end(self, tree: Path, root: int) -> None:
        for number in range(60):
            (tree / f"root/{number}").symlink_to(f"{number + 1}")
        refused("openat2", errno.ELOOP, lambda: files.make_in_root(root, "0"))

    def test_link_that_grows_with_what_is_made(self, tree: Path, root: int) -> None:
        (tree / "root/loop").symlink_to("missing/../loop")
        refused("openat", errno.ELOOP, lambda: files.make_in_root(root, "loop"))

    def test_link_refused_when_asked(self, tree: Path, root: int) -> None:
        (tree / "root/dev").symlink_to(tree / "outside")
        refused("openat2", errno.ELOOP, lambda: files.make_in_root(root, "dev/x", symlinks=False))
        (tree / "root/dangling").symlink_to("nothing")
        refused("openat2", errno.ELOOP, lambda: files.make_in_root(root, "dangling", symlinks=False))

    def test_file_in_the_way(self, tree: Path, root: int) -> None:
        (tree / "root/file").write_text("")
        refused("openat2", errno.ENOTDIR, lambda: files.make_in_root(root, "file/x"))
        refused("openat2", errno.ENOTDIR, lambda: files.make_in_root(root, "file"))

    def test_fifo_does_not_block(self, tree: Path, root: int) -> None:
        os.mkfifo(tree / "root/fifo")
        fd, new = files.make_in_root(root, "fifo", directory=False)
        assert stat.S_ISFIFO(os.fstat(fd).st_mode)
        assert not new
        os.close(fd)

    def test_set_group_id_directory(self, tree: Path, root: int) -> None:
        os.chmod(tree / "root", 0o2755)
        assert made(files.make_in_root(root, "a/b")[0]) == "directory"

    def test_no_descriptor_is_left(self, tree: Path, root: int) -> None:
        before = len(os.listdir("/proc/self/fd"))
        (tree / "root/link").symlink_to("/x/../y")
        for path in ("a/b/c", "link/z", "../../.."):
            os.close(files.make_in_root(root, path)[0])
        assert len(os.listdir("/proc/self/fd")) == before


def test_exchange(tree: Path, root: int) -> None:
    (tree / "root/one").write_text("1")
    (tree / "root/other").write_text("2")
    files.exchange(root, "one", "other")
    assert ((tree / "root/one").read_text(), (tree / "root/other").read_text()) == ("2", "1")
    error = refused("renameat2", errno.ENOENT, lambda: files.exchange(root, "one", "none"))
    assert error.detail == "one <-> none"


def test_mknodat(tree: Path, root: int) -> None:
    files.mknodat(root, "null", stat.S_IFCHR | 0o600, os.makedev(1, 3))
    assert (tree / "root/null").stat().st_rdev == os.makedev(1, 3)
    error = refused("mknodat", errno.EEXIST, lambda: files.mknodat(root, "null", stat.S_IFREG))
    assert error.detail.startswith("null, ")


def test_symlinkat_readlinkat_unlinkat(tree: Path, root: int) -> None:
    files.symlinkat("/to", root, "link")
    assert files.readlinkat(root, "link") == "/to"
    fd = os.open(tree / "root/link", os.O_PATH | os.O_NOFOLLOW)
    assert files.readlinkat(fd, "") == "/to"
    os.close(fd)
    files.unlinkat(root, "link")
    refused("unlinkat", errno.ENOENT, lambda: files.unlinkat(root, "link"))


def test_fchownat_changes_the_link_itself(tree: Path, root: int) -> None:
    (tree / "root/link").symlink_to(tree / "outside/mark")
    files.fchownat(root, "link", 1000, 1001)
    status = (tree / "root/link").lstat()
    assert (status.st_uid, status.st_gid) == (1000, 1001)
    assert (tree / "outside/mark").stat().st_uid == 0


def test_fchmod_and_reopen_of_a_path_descriptor(tree: Path, root: int, proc: int) -> None:
    (tree / "root/file").write_text("content")
    fd = files.open_in_root(root, "file", os.O_PATH)
    files.fchmod(proc, fd, 0o4711)
    assert stat.S_IMODE((tree / "root/file").stat().st_mode) == 0o4711
    opened = files.reopen(proc, fd, os.O_RDONLY)
    assert os.read(opened, 10) == b"content"
    assert files.path_of(proc, fd) == str(tree / "root/file")
    os.close(opened)
    os.close(fd)


def test_read_and_write_file(tree: Path, root: int, proc: int) -> None:
    (tree / "root/file").write_text("")
    files.write_file(root, "file", b"data")
    assert files.read_file(root, "file") == b"data"
    assert b"Name:" in files.read_file(proc, "self/status")
    refused("openat", errno.ENOENT, lambda: files.write_file(root, "missing", b""))


def test_statfs_type(proc: int) -> None:
    assert files.statfs_type(proc) == 0x9FA0


def test_mount_id(tree: Path, root: int, proc: int) -> None:
    assert files.mount_id(proc)[1]
    identity, is_root = files.mount_id(root)
    assert not is_root
    assert identity != files.mount_id(proc)[0]


def test_unique_mount_id(root: int, proc: int) -> None:
    first, second = files.unique_mount_id(root), files.unique_mount_id(proc)
    if tuple(int(part) for part in os.uname().release.split(".")[:2]) < (6, 8):
        assert (first, second) == (0, 0)
    else:
        assert first != second
        assert min(first, second) > 1 << 31  # the reusable ones stay small
