"""Every rule is found by an error like the one it was written for, and says nothing that misleads an engine."""

from __future__ import annotations

import errno

import pytest

from ocirt import remedies
from ocirt.errors import OcirtError
from ocirt.remedies import RULES, Rule, find

# What conmon, podman, containerd, moby and CRI-O look for in the line that the remedy is part of.
ENGINE_PHRASES = (
    "permission denied",
    "operation not permitted",
    "no such file or directory",
    "executable file not found",
    "open executable",
    "is a directory",
    "not a directory",
    "does not exist",
    "no such process",
    "container not running",
    "already finished",
    "invalid process",
    "/attr",
)


def error(stage: str, call: str, number: int, step: str = "", detail: str = "") -> OcirtError:
    return OcirtError("step-failed", step or "a step", stage=stage, step=step, call=call, errno=number, detail=detail)


def example(rule: Rule, number: int) -> OcirtError:
    """An error of the kind the rule names."""
    stage = rule.stages[0] if rule.stages else "anything"
    call = rule.calls[0] if rule.calls else "anything"
    return error(stage, "" if call == remedies.OS else call, number, f"step of {rule.word}")


@pytest.mark.parametrize(
    "rule", RULES, ids=lambda rule: f"{'-'.join(rule.stages)} {rule.calls} {rule.errnos} {rule.word}"
)
def test_no_rule_hides_another(rule: Rule) -> None:
    """Each of its errnos leads to this rule: an earlier one does not answer first."""
    for number in rule.errnos or [0]:
        assert find(example(rule, number)) == rule.says


def test_texts() -> None:
    for rule in RULES:
        assert not rule.says.endswith(".")
        assert rule.says.isprintable()
        assert not [phrase for phrase in ENGINE_PHRASES if phrase in rule.says.lower()]


@pytest.mark.parametrize(
    ("failure", "word"),
    [
        (error("mounts", "mount", errno.EPERM, "mount proc on /proc (nosuid)"), '"type": "pid"'),
        (error("mounts", "fsconfig", errno.EPERM, "mount sysfs on /sys"), '"type": "network"'),
        (error("mounts", "mount", errno.EPERM, "bind /a on /b"), "locked"),
        (error("mounts", "fsopen", errno.ENODEV, "mount nofs on /x"), "/proc/filesystems"),
        (error("mounts", "mount", errno.ENOTDIR, "bind /a on /b"), "both be files"),
        (error("sources", "open", errno.ENOENT, "open the source /a"), "mounts[].source"),
        (error("pivot_root", "pivot_root", errno.EINVAL), "--no-pivot"),
        (error("cgroup", "write", errno.ENOSPC), "cpuset"),
        (error("cgroup", "write", errno.EBUSY), "no processes of its own"),
        (error("cgroup", "", errno.ENOENT), "subtree_control"),
        (OcirtError("cgroup", "write memory.max", errno=errno.EACCES), "delegated"),
        (error("namespaces", "clone3", errno.EPERM), "unprivileged_userns"),
        (error("namespaces", "", 0, "error running newuidmap: exit status 1, output: not allowed"), "usermod"),
        (error("namespaces", "", 0, "error running newuidmap: exit status 1, output: failed"), "cap_setuid"),
        (error("namespaces", "", 0, "error running newgidmap: exit status 1, output: failed"), "cap_setgid"),
        (error("namespaces", "write", errno.EPERM, "write uid_map: '0 1 2'"), "apparmor_restrict"),
        (error("namespaces", "", errno.EACCES, "find the namespaces of init, process 3"), "start the container"),
        (error("devices", "open_tree", errno.ENOENT, "make /dev/x"), "from the host"),
        (error("clone", "clone3", errno.ENOSPC), "user.max_*_namespaces"),
        (error("clone", "clone3", errno.ENOSYS), "Linux 5.3"),
        (error("prepare", "keyctl", errno.EDQUOT), "--no-new-keyring"),
        (error("limits", "prlimit", errno.EPERM), "CAP_SYS_RESOURCE"),
        (error("limits", "", errno.EACCES, "write -500 to oom_score_adj"), "process.oomScoreAdj"),
        (error("identity", "setgroups", errno.EPERM), "additionalGids"),
        (error("identity", "setresuid", errno.EINVAL), "uidMappings"),
        (error("exec", "execve", errno.ENOENT), "readelf -l"),
        (error("exec", "execve", errno.ENOEXEC), "#!"),
        (error("exec", "execve", errno.EACCES), "noexec"),
        (error("seccomp", "seccomp", errno.EINVAL), "ocirt features"),
        (error("seccomp", "seccomp", errno.EACCES), "noNewPrivileges"),
        (OcirtError("step-failed", "set", stage="finish", at="/linux/sysctl/a", errno=errno.EROFS), "sysctl"),
        (OcirtError("step-failed", "clone3", call="clone3", errno=errno.ENOSPC), "user.max_*_namespaces"),
        (error("console", "connect", errno.ECONNREFUSED), "listens"),
        (error("identity", "chdir", errno.ENOENT), "process.cwd"),
    ],
    ids=lambda value: value if isinstance(value, str) else f"{value.stage} {value.call}",
)
def test_remedy(failure: OcirtError, word: str) -> None:
    assert word in find(failure)


def test_none() -> None:
    assert find(error("mounts", "mount", errno.EIO)) == ""
    assert find(OcirtError("not-found", "container does not exist")) == ""
