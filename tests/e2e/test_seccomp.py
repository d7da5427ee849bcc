"""seccomp: what the filter does to the payload, and that the runtime itself gets through it."""

from __future__ import annotations

import signal
from collections.abc import Callable

import pytest

from tests.support.bundles import Bundle
from tests.support.runtime import Runtime


def profile(bundle: Bundle, default: str, *rules: dict, **more: object) -> Bundle:
    bundle.linux["seccomp"] = {"defaultAction": default, "architectures": ["SCMP_ARCH_X86_64"], **more}
    bundle.linux["seccomp"]["syscalls"] = list(rules)
    return bundle


@pytest.mark.parametrize("no_new_privileges", [True, False])
@pytest.mark.parametrize("uid", [0, 1000])
def test_mode(runtime: Runtime, bundle: Bundle, no_new_privileges: bool, uid: int) -> None:
    bundle.process.update(noNewPrivileges=no_new_privileges, user={"uid": uid, "gid": uid})
    profile(bundle, "SCMP_ACT_ALLOW", {"names": ["swapon"], "action": "SCMP_ACT_ERRNO"})
    assert runtime.inside(bundle, "grep ^Seccomp: /proc/self/status").split() == ["Seccomp:", "2"]


def test_errno_is_eperm_by_default(runtime: Runtime, bundle: Bundle) -> None:
    profile(bundle, "SCMP_ACT_ALLOW", {"names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO"})
    assert "Operation not permitted" in runtime.inside(bundle, "mkdir /x 2>&1 || true")


def test_errno_of_the_rule(runtime: Runtime, bundle: Bundle) -> None:
    profile(bundle, "SCMP_ACT_ALLOW", {"names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO", "errnoRet": 28})
    assert "No space left" in runtime.inside(bundle, "mkdir /x 2>&1 || true")


@pytest.mark.parametrize("action", ["SCMP_ACT_KILL", "SCMP_ACT_KILL_PROCESS", "SCMP_ACT_KILL_THREAD", "SCMP_ACT_TRAP"])
def test_kill(runtime: Runtime, bundle: Bundle, action: str) -> None:
    bundle.without_namespace("pid")  # the first process of a pid namespace ignores SIGSYS
    profile(bundle, "SCMP_ACT_ALLOW", {"names": ["mkdir", "mkdirat"], "action": action})
    assert runtime.run(bundle.args("/bin/mkdir", "/x")).code == 128 + signal.SIGSYS
    assert not (bundle.root / "x").exists()


@pytest.mark.parametrize(
    ("op", "value", "two", "hit", "missed"),
    [
        ("SCMP_CMP_EQ", 2, 0, [2], [1, 3]),
        ("SCMP_CMP_NE", 2, 0, [1, 3], [2]),
        ("SCMP_CMP_LT", 2, 0, [1], [2, 3]),
        ("SCMP_CMP_LE", 2, 0, [1, 2], [3]),
        ("SCMP_CMP_GE", 2, 0, [2, 3], [1]),
        ("SCMP_CMP_GT", 2, 0, [3], [1, 2]),
        ("SCMP_CMP_MASKED_EQ", 2, 2, [2, 3, 6], [1, 4]),
        ("SCMP_CMP_EQ", 1 << 32, 0, [1 << 32], [0, 1]),
        ("SCMP_CMP_GT", 1 << 32, 0, [(1 << 32) + 1, 1 << 33], [1, 1 << 32]),
    ],
)
def test_arguments(
    runtime: Runtime, bundle: Bundle, op: str, value: int, two: int, hit: list[int], missed: list[int]
) -> None:
    """By alarm(2), whose argument is harmless and whose result is 0."""
    alarm = 37
    condition = {"index": 0, "value": value, "valueTwo": two, "op": op}
    profile(
        bundle, "SCMP_ACT_ALLOW", {"names": ["alarm"], "action": "SCMP_ACT_ERRNO", "errnoRet": 95, "args": [condition]}
    )
    numbers = hit + missed
    out = runtime.inside(bundle, "; ".join(f"probe syscall {alarm} {number}" for number in numbers))
    assert out.split() == ["EOPNOTSUPP"] * len(hit) + ["ok"] * len(missed)


_ALLOWED = """
    accept4 access arch_prctl brk capget capset chdir clock_gettime clock_nanosleep clone clone3 close
    close_range connect dup dup2 dup3 epoll_create1 epoll_ctl epoll_pwait execve execveat exit exit_group
    faccessat faccessat2 fcntl fchown fork fstat fstatfs futex getcwd getdents64 getegid geteuid getgid getpid
    getppid getrandom getsockopt gettid getuid ioctl lseek lstat madvise mmap mprotect mremap munmap nanosleep
    newfstatat open openat pipe2 poll ppoll prctl pread64 prlimit64 read readlink readlinkat recvfrom recvmsg
    rseq rt_sigaction rt_sigprocmask rt_sigreturn rt_sigsuspend sched_getaffinity sched_yield seccomp select
    sendmsg sendto set_robust_list set_tid_address setgid setgroups setitimer setpgid setresgid setresuid setsid
    setuid shutdown sigaltstack socket socketpair stat statx sysinfo tgkill time umask uname unlink vfork wait4
    write writev
"""
ALLOWED = _ALLOWED.split()


@pytest.mark.parametrize("no_new_privileges", [True, False])
def test_list_of_what_is_allowed(runtime: Runtime, bundle: Bundle, no_new_privileges: bool) -> None:
    """As engines' profiles are: everything else is an error."""
    bundle.process["noNewPrivileges"] = no_new_privileges
    profile(bundle, "SCMP_ACT_ERRNO", {"names": ALLOWED, "action": "SCMP_ACT_ALLOW"})
    out = runtime.inside(bundle, "echo works; mkdir /x 2>&1 || true")
    assert out.startswith("works\n")
    assert "Operation not permitted" in out


@pytest.mark.only_ocirt("runc needs a dozen calls between the filter and execve")
def test_filter_that_allows_little_more_than_execve(runtime: Runtime, bundle: Bundle) -> None:
    names = ["execve", "exit_group", "write", "brk", "arch_prctl", "set_tid_address", "set_robust_list", "rseq"]
    names += ["prlimit64", "readlink", "readlinkat", "getrandom", "mprotect", "getuid", "prctl"]  # of busybox itself
    profile(bundle, "SCMP_ACT_KILL_PROCESS", {"names": names, "action": "SCMP_ACT_ALLOW"})
    bundle.args("/bin/busybox", "echo", "through")
    assert runtime.run(bundle).out == "through\n"


def test_unknown_names_are_ignored(runtime: Runtime, bundle: Bundle) -> None:
    profile(bundle, "SCMP_ACT_ALLOW", {"names": ["nonesuch_call", "mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO"})
    assert "not permitted" in runtime.inside(bundle, "mkdir /x 2>&1 || true")


@pytest.mark.only_ocirt("runc says so in its init's log, crun does not")
def test_unknown_names_are_told_to_the_debug_log(runtime: Runtime, bundle: Bundle) -> None:
    profile(bundle, "SCMP_ACT_ALLOW", {"names": ["nonesuch_call"], "action": "SCMP_ACT_ERRNO"}).script("true").save()
    result = runtime.ok("run", "--bundle", str(bundle.path), bundle.id, options=("--debug",))
    assert result.err.count('unknown seccomp syscall \\"nonesuch_call\\" ignored') == 1


def test_tests_of_one_argument_mean_either(runtime: Runtime, bundle: Bundle) -> None:
    """Of several arguments, all."""
    alarm, same = 37, [{"index": 0, "value": value, "op": "SCMP_CMP_EQ"} for value in (2, 4)]
    rule = {"names": ["alarm"], "action": "SCMP_ACT_ERRNO", "errnoRet": 95, "args": same}
    profile(bundle, "SCMP_ACT_ALLOW", rule)
    script = "; ".join(f"probe syscall {alarm} {number}" for number in (2, 3, 4))
    assert runtime.inside(bundle, script).split() == ["EOPNOTSUPP", "ok", "EOPNOTSUPP"]
    rule["args"] = [same[0], {"index": 1, "value": 7, "op": "SCMP_CMP_EQ"}]  # the probe passes 0 there
    assert runtime.inside(bundle, script).split() == ["ok", "ok", "ok"]


def test_exec_is_filtered_too(runtime: Runtime, bundle: Bundle) -> None:
    profile(bundle, "SCMP_ACT_ALLOW", {"names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO"})
    runtime.launch(bundle.args("/bin/probe", "pause"))
    assert "not permitted" in runtime.sh(bundle, "mkdir /x 2>&1 || true")
    runtime.stop(bundle)


def test_newer_calls_do_not_exist_for_an_older_profile(runtime: Runtime, bundle: Bundle) -> None:
    """Else glibc takes EPERM of a call it tries first for the answer."""
    profile(bundle, "SCMP_ACT_ERRNO", {"names": ALLOWED, "action": "SCMP_ACT_ALLOW"})
    newest = 470
    if runtime.name == "crun":
        pytest.skip("crun: has no such rule")
    assert runtime.inside(bundle, f"probe syscall {newest} 0; probe syscall 83 0").split() == ["ENOSYS", "EPERM"]


@pytest.mark.parametrize(
    "seccomp",
    [
        {"defaultAction": "SCMP_ACT_NONESUCH"},
        {"defaultAction": "SCMP_ACT_ALLOW", "architectures": ["SCMP_ARCH_NONESUCH"]},
        {"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{"names": ["mkdir"], "action": "SCMP_ACT_NONESUCH"}]},
        {
            "defaultAction": "SCMP_ACT_ALLOW",
            "syscalls": [
                {
                    "names": ["mkdir"],
                    "action": "SCMP_ACT_ERRNO",
                    "args": [{"index": 0, "value": 1, "op": "SCMP_CMP_NONESUCH"}],
                }
            ],
        },
        {"defaultAction": "SCMP_ACT_NOTIFY"},
    ],
    ids=["default action", "architecture", "action", "operator", "notify as default"],
)
@pytest.mark.differs(crun="1.8 checks less")
def test_bad_profile(runtime: Runtime, bundle: Bundle, seccomp: dict, host_unchanged: Callable) -> None:
    bundle.linux["seccomp"] = seccomp
    bundle.save()
    with host_unchanged():
        result = runtime.fails("create", "--bundle", str(bundle.path), bundle.id)
    if runtime.name == "ocirt":
        assert "[/linux/seccomp/" in result.last_line


@pytest.mark.parametrize("flag", ["SECCOMP_FILTER_FLAG_LOG", "SECCOMP_FILTER_FLAG_SPEC_ALLOW"])
def test_flags(runtime: Runtime, bundle: Bundle, flag: str) -> None:
    rule = {"names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO"}
    if runtime.name == "runc":
        pytest.skip("runc: 1.1 does not know all of them")
    profile(bundle, "SCMP_ACT_ALLOW", rule, flags=[flag])
    assert "not permitted" in runtime.inside(bundle, "mkdir /x 2>&1 || true")


@pytest.mark.only_ocirt("it is about the time between create and start")
@pytest.mark.parametrize("verb", ["run", "create"])
def test_filter_that_the_runtime_does_not_get_through(runtime: Runtime, bundle: Bundle, verb: str) -> None:
    """Without noNewPrivileges it is loaded while the interpreter still runs: an error, never a wait without end."""
    bundle.process["noNewPrivileges"] = False
    names = [name for name in ALLOWED if name not in ("accept4", "read", "write", "poll")]
    profile(bundle, "SCMP_ACT_ERRNO", {"names": names, "action": "SCMP_ACT_ALLOW"}).script("true").save()
    result = runtime.call(verb, "--bundle", str(bundle.path), bundle.id, bound=10)
    if result.code == 0:
        result = runtime.call("start", bundle.id, bound=10)
    assert result.code == 1
    assert result.last_line
