"""What the payload is: user, directory, environment, limits, scheduling, signals, descriptors, keyring."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.bundles import PATH, Bundle
from tests.support.runtime import Runtime


def test_user_groups_and_umask(runtime: Runtime, bundle: Bundle) -> None:
    bundle.process["user"] = {"uid": 1234, "gid": 567, "additionalGids": [8, 9], "umask": 0o027}
    out = runtime.inside(bundle, "grep -E '^(Uid|Gid|Groups|Umask):' /proc/self/status")
    assert [line.split() for line in out.splitlines()] == [
        ["Umask:", "0027"],
        ["Uid:", "1234", "1234", "1234", "1234"],
        ["Gid:", "567", "567", "567", "567"],
        ["Groups:", "8", "9"],
    ]


def test_no_group_of_the_caller_is_kept(runtime: Runtime, bundle: Bundle) -> None:
    groups = os.getgroups()
    os.setgroups([*groups, 4711])
    try:
        out = runtime.inside(bundle, "grep ^Groups: /proc/self/status")
    finally:
        os.setgroups(groups)
    assert out.split() == ["Groups:"]


def test_umask_is_0022_by_default(runtime: Runtime, bundle: Bundle) -> None:
    before = os.umask(0o077)
    try:
        assert runtime.probe(bundle)["umask"] == 0o022
    finally:
        os.umask(before)


def test_cwd(runtime: Runtime, bundle: Bundle) -> None:
    bundle.process["cwd"] = "/var/empty"
    assert runtime.probe(bundle)["cwd"] == "/var/empty"


def test_missing_cwd_is_made(runtime: Runtime, bundle: Bundle) -> None:
    bundle.process["cwd"] = "/new/deep"
    assert runtime.probe(bundle)["cwd"] == "/new/deep"
    made = (bundle.root / "new/deep").stat()
    assert (made.st_mode & 0o7777, made.st_uid) == (0o755, 0)


def test_cwd_only_root_may_enter(runtime: Runtime, bundle: Bundle) -> None:
    """/root is 0700: entering it before the user changes is what docker images rely on."""
    bundle.process.update(cwd="/root", user={"uid": 1000, "gid": 1000})
    bundle.capabilities()
    assert runtime.inside(bundle, "echo $PWD; id -u") == "/root\n1000\n"


def test_cwd_only_the_user_may_enter(runtime: Runtime, bundle: Bundle) -> None:
    """The other way round: root without CAP_DAC_OVERRIDE in the bounding set still gets there."""
    (bundle.root / "home/user").chmod(0o700)
    bundle.process.update(cwd="/home/user", user={"uid": 1000, "gid": 1000})
    assert runtime.inside(bundle, "pwd") == "/home/user\n"


def test_cwd_is_a_file(runtime: Runtime, bundle: Bundle, host_unchanged: Callable) -> None:
    bundle.process["cwd"] = "/etc/passwd"
    bundle.save()
    with host_unchanged():
        runtime.fails("create", "--bundle", str(bundle.path), bundle.id, says="not a directory")


@pytest.mark.differs(crun="1.8 takes a relative one")
def test_cwd_must_be_absolute(runtime: Runtime, bundle: Bundle, host_unchanged: Callable) -> None:
    bundle.process["cwd"] = "var"
    bundle.save()
    with host_unchanged():
        runtime.fails("create", "--bundle", str(bundle.path), bundle.id, says="Cwd must be an absolute path")


def test_environment_is_the_configurations_and_home(runtime: Runtime, bundle: Bundle) -> None:
    bundle.process["env"] = [PATH, "A=x y", "EMPTY=", "LD_PRELOAD=/none.so"]
    env = {"SECRET": "of the caller", "PATH": os.environ["PATH"]}
    result = runtime.run(bundle.args("/bin/cat", "/proc/self/environ"), env=env)
    assert sorted(result.out.strip("\0").split("\0")) == sorted(
        [PATH, "A=x y", "EMPTY=", "LD_PRELOAD=/none.so", "HOME=/root"]
    )


@pytest.mark.parametrize(
    ("uid", "env", "home"),
    [
        (0, [], "/root"),
        (1000, [], "/home/user"),
        (4321, [], "/"),
        (0, ["HOME=/own"], "/own"),
        (1001, [], "/"),  # a user *named* 1001 has the uid 0: CVE-2016-3697
    ],
)
def test_home(runtime: Runtime, bundle: Bundle, uid: int, env: list[str], home: str) -> None:
    bundle.process.update(env=[PATH, *env], user={"uid": uid, "gid": 0})
    bundle.process["cwd"] = "/"
    assert f"HOME={home}\0" in runtime.run(bundle.args("/bin/cat", "/proc/self/environ")).out


def test_home_without_passwd(runtime: Runtime, bundle: Bundle) -> None:
    (bundle.root / "etc/passwd").unlink()
    assert "HOME=/\0" in runtime.run(bundle.args("/bin/cat", "/proc/self/environ")).out


@pytest.mark.differs(crun="keeps both", runc="1.1 keeps both")
def test_last_of_equal_variables_counts(runtime: Runtime, bundle: Bundle) -> None:
    bundle.process["env"] = [PATH, "A=1", "A=2"]
    assert runtime.run(bundle.args("/bin/cat", "/proc/self/environ")).out.count("A=") == 1
    assert runtime.inside(bundle, "echo $A") == "2\n"


def test_rlimits(runtime: Runtime, bundle: Bundle) -> None:
    limits = {
        "AS": ("Max address space", 1 << 40, 1 << 41),
        "CORE": ("Max core file size", 0, 0),
        "CPU": ("Max cpu time", 120, 3600),
        "DATA": ("Max data size", 1 << 33, 1 << 34),
        "FSIZE": ("Max file size", 1 << 20, 1 << 21),
        "LOCKS": ("Max file locks", 10, 20),
        "MEMLOCK": ("Max locked memory", 4096, 8192),
        "MSGQUEUE": ("Max msgqueue size", 1000, 2000),
        "NICE": ("Max nice priority", 0, 0),
        "NOFILE": ("Max open files", 500, 600),
        "NPROC": ("Max processes", 3000, 4000),
        "RSS": ("Max resident set", 1 << 30, 1 << 31),
        "RTPRIO": ("Max realtime priority", 0, 0),
        "RTTIME": ("Max realtime timeout", 1000, 2000),
        "SIGPENDING": ("Max pending signals", 100, 200),
        "STACK": ("Max stack size", 1 << 20, 1 << 24),
    }
    bundle.process["rlimits"] = [
        {"type": f"RLIMIT_{name}", "soft": soft, "hard": hard} for name, (_, soft, hard) in limits.items()
    ]
    out = runtime.inside(bundle, "cat /proc/self/limits")
    for name, (title, soft, hard) in limits.items():
        line = next(line for line in out.splitlines() if line.startswith(title))
        assert line[len(title) :].split()[:2] == [str(soft), str(hard)], name


def test_unlimited(runtime: Runtime, bundle: Bundle) -> None:
    bundle.process["rlimits"] = [{"type": "RLIMIT_CPU", "soft": 2**64 - 1, "hard": 2**64 - 1}]
    assert runtime.inside(bundle, "ulimit -t") == "unlimited\n"


def test_unknown_rlimit(runtime: Runtime, bundle: Bundle, host_unchanged: Callable) -> None:
    bundle.process["rlimits"] = [{"type": "RLIMIT_TEST", "soft": 1, "hard": 1}]
    bundle.save()
    with host_unchanged():
        runtime.fails("create", "--bundle", str(bundle.path), bundle.id, says="RLIMIT_TEST")


@pytest.mark.only_ocirt("runc 1.1 and crun 1.8 let the last one count")
def test_duplicate_rlimit(runtime: Runtime, bundle: Bundle, host_unchanged: Callable) -> None:
    bundle.process["rlimits"] = [{"type": "RLIMIT_CPU", "soft": 1, "hard": 1}] * 2
    bundle.save()
    with host_unchanged():
        runtime.fails("create", "--bundle", str(bundle.path), bundle.id, says="[/process/rlimits/1")


@pytest.mark.parametrize("value", [0, 500, 1000])
def test_oom_score_adj(runtime: Runtime, bundle: Bundle, value: int) -> None:
    bundle.process["oomScoreAdj"] = value
    assert runtime.inside(bundle, "cat /proc/self/oom_score_adj") == f"{value}\n"


def test_oom_score_adj_is_the_callers_by_default(runtime: Runtime, bundle: Bundle) -> None:
    path = Path("/proc/self/oom_score_adj")
    before = path.read_text()
    path.write_text("321")
    try:
        assert runtime.inside(bundle, "cat /proc/self/oom_score_adj") == "321\n"
    finally:
        path.write_text(before)


@pytest.mark.parametrize("wanted", [True, False])
def test_no_new_privileges(runtime: Runtime, bundle: Bundle, wanted: bool) -> None:
    bundle.process["noNewPrivileges"] = wanted
    out = runtime.inside(bundle, "grep NoNewPrivs: /proc/self/status")
    assert out.split() == ["NoNewPrivs:", str(int(wanted))]


@pytest.mark.parametrize("wanted", [True, False])
def test_set_user_id_programs(runtime: Runtime, bundle: Bundle, wanted: bool) -> None:
    (bundle.root / "bin/suid").write_bytes((bundle.root / "bin/probe").read_bytes())
    (bundle.root / "bin/suid").chmod(0o4755)
    bundle.process["user"] = {"uid": 1000, "gid": 1000}
    bundle.process["noNewPrivileges"] = wanted
    seen = json.loads(runtime.inside(bundle, "/bin/suid"))
    assert (seen["uid"], seen["euid"]) == (1000, 1000 if wanted else 0)


# --- scheduling


@pytest.mark.only_ocirt("runc 1.1 and crun 1.8 know no process.scheduler")
@pytest.mark.parametrize(
    ("setting", "seen"),
    [
        ({"policy": "SCHED_OTHER", "nice": 5}, {"policy": 0, "nice": 5}),
        ({"policy": "SCHED_BATCH", "nice": 3}, {"policy": 3, "nice": 3}),
        ({"policy": "SCHED_IDLE"}, {"policy": 5}),
        (
            {"policy": "SCHED_DEADLINE", "runtime": 1000000, "deadline": 20000000, "period": 20000000},
            {"policy": 6, "runtime": 1000000, "deadline": 20000000, "period": 20000000},
        ),
    ],
    ids=lambda value: value.get("policy", "") if isinstance(value, dict) and "policy" in value else None,
)
def test_scheduler(runtime: Runtime, bundle: Bundle, setting: dict, seen: dict) -> None:
    bundle.process["scheduler"] = setting
    scheduler = runtime.probe(bundle)["scheduler"]
    assert {name: scheduler[name] for name in seen} == seen


@pytest.mark.only_ocirt("runc 1.1 and crun 1.8 know no process.scheduler")
@pytest.mark.parametrize(
    ("setting", "seen"),
    [
        ({"policy": "SCHED_FIFO", "priority": 7}, {"policy": 1, "priority": 7}),
        ({"policy": "SCHED_RR", "priority": 1, "flags": ["SCHED_FLAG_RESET_ON_FORK"]}, {"policy": 2, "flags": 1}),
    ],
    ids=["FIFO", "RR"],
)
def test_realtime_scheduler(runtime: Runtime, bundle: Bundle, setting: dict, seen: dict, realtime_budget: None) -> None:
    bundle.resources(cpu={"realtimeRuntime": 5000, "realtimePeriod": 1000000})
    bundle.process["scheduler"] = setting
    scheduler = runtime.probe(bundle)["scheduler"]
    assert {name: scheduler[name] for name in seen} == seen


@pytest.mark.only_ocirt("runc 1.1 and crun 1.8 know no process.scheduler")
@pytest.mark.parametrize(
    "setting",
    [{"policy": "SCHED_FIFO", "priority": 1, "nice": 5}, {"policy": "SCHED_OTHER", "nice": 40}, {"policy": "SCHED_X"}],
)
def test_bad_scheduler(runtime: Runtime, bundle: Bundle, setting: dict, host_unchanged: Callable) -> None:
    bundle.process["scheduler"] = setting
    bundle.save()
    with host_unchanged():
        runtime.fails("create", "--bundle", str(bundle.path), bundle.id, says="[/process/scheduler")


@pytest.mark.only_ocirt("runc 1.1 and crun 1.8 know no process.ioPriority")
@pytest.mark.parametrize(
    ("name", "priority", "number"), [("IOPRIO_CLASS_BE", 3, 2 << 13 | 3), ("IOPRIO_CLASS_IDLE", 0, 3 << 13)]
)
def test_io_priority(runtime: Runtime, bundle: Bundle, name: str, priority: int, number: int) -> None:
    bundle.process["ioPriority"] = {"class": name, "priority": priority}
    assert runtime.probe(bundle)["ioprio"] == number


@pytest.mark.differs(runc="1.1 knows no linux.personality")
@pytest.mark.parametrize(("domain", "number"), [("LINUX", 0), ("LINUX32", 8)])
def test_personality(runtime: Runtime, bundle: Bundle, domain: str, number: int) -> None:
    bundle.linux["personality"] = {"domain": domain}
    assert runtime.probe(bundle)["personality"] == number


# --- what must not leak from the runtime


def test_signals_are_at_their_defaults(runtime: Runtime, bundle: Bundle) -> None:
    """Python ignores SIGPIPE and SIGXFSZ, and what is ignored stays so over execve."""
    seen = runtime.probe(bundle)
    assert (seen["ignored"], seen["blocked"], seen["pending"]) == ([], 0, 0)
    out = runtime.run(bundle.args("/bin/grep", "-E", "^Sig(Ign|Blk|Pnd|Cgt):", "/proc/self/status")).out
    assert [int(line.split()[1], 16) for line in out.splitlines()] == [0, 0, 0, 0]


@pytest.mark.differs(crun="keeps what the caller ignores", runc="1.1 keeps what the caller ignores")
def test_signals_the_caller_ignores_are_at_their_defaults(runtime: Runtime, bundle: Bundle) -> None:
    caller = runtime.after('trap "" HUP INT QUIT USR1 USR2 PIPE TERM')
    assert caller.probe(bundle)["ignored"] == []


LEAK = "\n".join(f"exec {number}</" for number in range(3, 21))  # the host's root directory


def test_only_three_descriptors(runtime: Runtime, bundle: Bundle) -> None:
    assert runtime.after(LEAK).probe(bundle)["fds"] == [0, 1, 2]


def test_preserved_descriptors(runtime: Runtime, bundle: Bundle) -> None:
    assert runtime.after(LEAK).probe(bundle, "--preserve-fds", "2")["fds"] == [0, 1, 2, 3, 4]


def test_preserved_descriptors_of_create(runtime: Runtime, bundle: Bundle) -> None:
    created = runtime.after(LEAK).create(bundle.args("/bin/probe"), "--preserve-fds", "1")
    runtime.start(bundle)
    runtime.wait(bundle)
    assert json.loads(created.out)["fds"] == [0, 1, 2, 3]
    runtime.ok("delete", bundle.id)


@pytest.mark.differs(crun="passes what there is")
def test_preserved_descriptor_is_not_open(runtime: Runtime, bundle: Bundle, host_unchanged: Callable) -> None:
    bundle.save()
    flags = ("--preserve-fds", "100", "--bundle", str(bundle.path), bundle.id)
    with host_unchanged():
        runtime.fails("create", *flags, says="unable to stat preserved-fd")


def test_listen_fds(runtime: Runtime, bundle: Bundle) -> None:
    """Socket activation: LISTEN_PID must be the runtime's own."""
    caller = runtime.after(f"{LEAK}\nexport LISTEN_PID=$$ LISTEN_FDS=2")
    out = caller.inside(bundle, "echo fds=$LISTEN_FDS pid=$LISTEN_PID; ls /proc/self/fd")
    first, *numbers = out.split("\n")
    assert first == "fds=2 pid=1"
    assert {"3", "4"} <= set(numbers)
    assert not {"6", "7", "8"} & set(numbers)  # 5 is the directory that ls reads


def test_listen_fds_and_preserved_ones(runtime: Runtime, bundle: Bundle) -> None:
    caller = runtime.after(f"{LEAK}\nexport LISTEN_PID=$$ LISTEN_FDS=2")
    assert caller.probe(bundle, "--preserve-fds", "3")["fds"] == [0, 1, 2, 3, 4, 5, 6, 7]


def test_listen_fds_of_another_process(runtime: Runtime, bundle: Bundle) -> None:
    caller = runtime.after(f"{LEAK}\nexport LISTEN_PID=1 LISTEN_FDS=2")
    assert caller.probe(bundle)["fds"] == [0, 1, 2]


def test_death_signal_and_dumpable_are_not_inherited(runtime: Runtime, bundle: Bundle) -> None:
    """The engine's shim starts runtimes with a parent death signal."""
    seen = runtime.probe(bundle)
    assert (seen["pdeathsig"], seen["dumpable"], seen["securebits"], seen["timerslack"]) == (0, 1, 0, 50000)


def test_session_keyring_is_the_containers(runtime: Runtime, bundle: Bundle) -> None:
    kind, uid, gid, mask, name = runtime.probe(bundle)["keyring"].split(";")
    assert (kind, uid, gid, name) == ("keyring", "0", "0", f"_ses.{bundle.id}")
    assert int(mask, 16) & 0x3F000000 == 0x3F000000


def test_no_new_keyring(runtime: Runtime, bundle: Bundle) -> None:
    assert not runtime.probe(bundle, "--no-new-keyring")["keyring"].endswith(f"_ses.{bundle.id}")


def test_stdio_belongs_to_the_user(runtime: Runtime, bundle: Bundle) -> None:
    """A payload that is not root opens /dev/stdout, which is our file."""
    bundle.process["user"] = {"uid": 1000, "gid": 1000}
    result = runtime.run(bundle.script("echo one > /proc/self/fd/1; echo two > /dev/stderr"))
    assert (result.code, result.out, result.err) == (0, "one\n", "two\n")


def test_null_device_keeps_its_owner(runtime: Runtime, bundle: Bundle) -> None:
    before = os.stat("/dev/null")
    bundle.process["user"] = {"uid": 1000, "gid": 1000}
    runtime.inside(bundle, "true")
    after = os.stat("/dev/null")
    assert (after.st_uid, after.st_gid, after.st_mode) == (before.st_uid, before.st_gid, before.st_mode)
