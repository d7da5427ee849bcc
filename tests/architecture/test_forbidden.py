"""Names that stand for a known danger, and file names that say nothing."""

from __future__ import annotations

import ast

import pytest

from tests.architecture.source import imports, is_type_checking, modules

MODULES = modules()
STAGES = [name for name in MODULES if name.startswith("ocirt.stages")]
MEANINGLESS = {"utils", "util", "helpers", "helper", "common", "manager", "misc", "tools"}


def keywords(tree: ast.AST) -> set[str | None]:
    """Names of arguments in calls."""
    return {keyword.arg for node in ast.walk(tree) if isinstance(node, ast.Call) for keyword in node.keywords}


@pytest.mark.parametrize("name", MODULES)
def test_no_shell_and_no_code_between_fork_and_exec(name: str) -> None:
    assert not keywords(MODULES[name]) & {"shell", "preexec_fn"}


def test_a_shell_is_seen() -> None:
    assert keywords(ast.parse("run('ls', shell=True)\nPopen(['ls'], preexec_fn=f)")) == {"shell", "preexec_fn"}


@pytest.mark.parametrize("name", MODULES)
def test_annotations_are_not_evaluated(name: str) -> None:
    """What is imported for mypy only does not exist when the interpreter meets an annotation."""
    tree = MODULES[name]
    if any(is_type_checking(node) for node in ast.walk(tree)):
        futures = [node for node in tree.body if isinstance(node, ast.ImportFrom) and node.module == "__future__"]
        assert [alias.name for node in futures for alias in node.names] == ["annotations"]


# A path below the root file system is a descriptor and a name: as text it means what an image makes of it (P17).
PATH_LIBRARIES = {"os", "os.path", "pathlib", "posixpath", "shutil", "glob", "tempfile", "fnmatch", "io", "stat"}
PATH_TEXT = {"join", "realpath", "exists", "isdir", "islink", "isfile", "lexists", "expanduser"}
BY_PATH = set(
    """
    access chdir chflags chmod chown chroot execve getxattr lchown link listdir lstat makedirs mkdir mkfifo mknod open
    pathconf read_text read_whole readlink remove rename replace rmdir scandir setxattr stat statvfs symlink truncate
    unlink utime
    """.split()  # noqa: SIM905  # sorted words read better
)
# Calls without dir_fd in stages, and what they open: nothing of these lies in an image.
HOST_PATHS = {
    "ocirt.stages.aside: os.stat(path)": "a mount's source",
    "ocirt.stages.cgroup_v1: os.open(f'{self.outside}/tasks', os.O_WRONLY | os.O_CLOEXEC)": "a cgroup",
    "ocirt.stages.cgroup_v2: os.open(directory, os.O_RDONLY | os.O_CLOEXEC)": "a cgroup",
    "ocirt.stages.cgroup_v2: os.open(f'{directory}/cgroup.procs', os.O_WRONLY | os.O_CLOEXEC)": "a cgroup",
    "ocirt.stages.copylink: os.readlink(path)": "a bind's source",
    "ocirt.stages.criu_images: os.listdir(directory)": "a descriptor",
    "ocirt.stages.criu_images: os.listdir(shown)": "a descriptor",
    "ocirt.stages.landlock: os.open(path, os.O_PATH | os.O_CLOEXEC)": "by init, whose root is the container's by then",
    "ocirt.stages.namespaces: os.open(self.path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)": "a namespace's file",
    "ocirt.stages.tmpcopyup: os.listdir(origin)": "a descriptor",
    "ocirt.stages.tmpcopyup: os.setxattr(copy, name, os.getxattr(source, name))": "two descriptors",
    "ocirt.stages.tmpcopyup: os.getxattr(source, name)": "a descriptor",
}


def is_root(node: ast.AST) -> bool:
    """Whether an expression is called what a root file system is called."""
    name = node.id if isinstance(node, ast.Name) else node.attr if isinstance(node, ast.Attribute) else ""
    return name in ("root", "rootfs", "root_path", "rootfs_path", "new_root")


def compared(tree: ast.AST) -> set[ast.AST]:
    """What is only compared with: arguments of startswith and its like."""
    return {
        argument
        for node in ast.walk(tree)
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)
        if node.func.attr in ("startswith", "removeprefix")
        for argument in node.args
    }


def joined_to_a_root(tree: ast.AST) -> list[ast.AST]:
    """f"{root}/...", root + ..., root / ..., "...".format(root)."""
    found: list[ast.AST] = []
    for node in ast.walk(tree):
        if isinstance(node, ast.JoinedStr):
            after = zip(node.values, node.values[1:], strict=False)
            pairs = [(part.value, rest) for part, rest in after if isinstance(part, ast.FormattedValue)]
            found += [
                node for part, rest in pairs if is_root(part) and ast.unparse(rest).strip("'\"f{").startswith("/")
            ]
        elif isinstance(node, ast.BinOp) and isinstance(node.op, (ast.Add, ast.Div, ast.Mod)) and is_root(node.left):
            found.append(node)
    return [node for node in found if node not in compared(tree)]


def path_arithmetic(name: str, tree: ast.Module) -> list[str]:
    """What the module does with paths as text, as "line: expression" in words of Python."""
    loaded = [f"import {target}" for _, target in imports(tree, MODULES) if target in PATH_LIBRARIES]
    found: list[ast.AST] = joined_to_a_root(tree)
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Attribute) and node.value.attr == "path":
            found += [node] if node.attr in PATH_TEXT else []
        if not isinstance(node, ast.Call):
            continue
        if isinstance(node.func, ast.Name) and node.func.id == "open":
            found.append(node)
        if isinstance(node.func, ast.Attribute) and isinstance(node.func.value, ast.Name):
            by_path = node.func.value.id == "os" and node.func.attr in BY_PATH
            if by_path and not any(keyword.arg == "dir_fd" for keyword in node.keywords):
                found.append(node)
    written = {f"{name}: {ast.unparse(node)}" for node in found}
    return [*loaded, *sorted(written - set(HOST_PATHS))]


@pytest.mark.parametrize("name", STAGES)
def test_paths_in_a_rootfs_are_not_text(name: str) -> None:
    assert path_arithmetic(name, MODULES[name]) == []


def test_what_the_rule_permits_is_still_there() -> None:
    calls = {f"{name}: {ast.unparse(node)}" for name in STAGES for node in ast.walk(MODULES[name])}
    assert set(HOST_PATHS) - calls == set()


@pytest.mark.parametrize(
    "line",
    [
        "os.path.join(box.root, name)",
        "x = f'{root}/{name}'",
        "x = f'{box.rootfs}/etc/passwd'",
        "x = rootfs + '/proc'",
        "x = root / 'proc'",
        "x = '%s/proc' and root_path % name",
        "open('/etc/passwd')",
        "os.mkdir(path, 0o755)",
        "os.stat(name)",
        "import pathlib",
        "from shutil import copy",
        "import os",
    ],
)
def test_the_rule_sees(line: str) -> None:
    assert path_arithmetic("x", ast.parse(line))


@pytest.mark.parametrize(
    "line",
    [
        "os.mkdir(name, 0o755, dir_fd=fd)",
        "path.startswith(f'{root}/')",
        "kernel.open_in_root(box.root, name, os.O_PATH)",
        "at = f'{root.at}/path'",
    ],
)
def test_the_rule_permits(line: str) -> None:
    assert path_arithmetic("x", ast.parse(line)) == []


def test_file_names_say_something() -> None:
    assert not [name for name in MODULES if name.rsplit(".", 1)[-1] in MEANINGLESS]
