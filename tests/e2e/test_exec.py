"""exec: into a running container, with every flag."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.bundles import Bundle
from tests.support.host import Place
from tests.support.runtime import Runtime, poll, wait_for


@pytest.fixture
def running(runtime: Runtime, bundle: Bundle) -> Iterator[Bundle]:
    """A container whose payload waits for ever."""
    runtime.launch(bundle.args("/bin/probe", "pause"))
    yield bundle
    runtime.stop(bundle)


def status_field(runtime: Runtime, bundle: Bundle, name: str, *flags: str) -> str:
    out = runtime.ok("exec", *flags, bundle.id, "grep", f"^{name}:", "/proc/self/status").out
    return " ".join(out.split()[1:])


def test_output_and_input(runtime: Runtime, running: Bundle) -> None:
    result = runtime.ok("exec", running.id, "/bin/sh", "-c", "cat; echo err >&2", stdin="in\n")
    assert (result.out, result.err) == ("in\n", "err\n")


def test_flags_after_the_id_are_the_commands(runtime: Runtime, running: Bundle) -> None:
    assert runtime.ok("exec", running.id, "echo", "-e", "--cwd", "x").out == "--cwd x\n"


@pytest.mark.parametrize("code", [0, 1, 42, 255])
def test_exit_code(runtime: Runtime, running: Bundle, code: int) -> None:
    assert runtime.call("exec", running.id, "/bin/sh", "-c", f"exit {code}").code == code


def test_exit_code_of_a_killed_process(runtime: Runtime, running: Bundle) -> None:
    assert runtime.call("exec", running.id, "/bin/sh", "-c", "kill -KILL $$").code == 137


@pytest.mark.parametrize(
    ("args", "text"),
    [
        (["no-such-program"], 'exec: "no-such-program": executable file not found in $PATH'),
        (["/no/such"], 'exec: "/no/such": stat /no/such: no such file or directory'),
        (["/etc/passwd"], 'exec: "/etc/passwd": permission denied'),
    ],
)
@pytest.mark.differs(crun="code 1 and other words")
def test_runtime_errors_have_code_255(runtime: Runtime, running: Bundle, args: list[str], text: str) -> None:
    result = runtime.fails("exec", running.id, *args, code=255, says=text)
    assert runtime.name != "runc" or "exec failed: " in result.last_line


@pytest.mark.differs(crun="code 1 and other words")
def test_no_command(runtime: Runtime, running: Bundle) -> None:
    runtime.fails("exec", running.id, code=255, says="args cannot be empty")


@pytest.mark.differs(crun="code 1 and other words")
def test_stopped_and_unknown(runtime: Runtime, bundle: Bundle) -> None:
    runtime.launch(bundle.script("exit 0"))
    runtime.wait(bundle)
    runtime.fails("exec", bundle.id, "true", code=255, says="cannot exec in a stopped container")
    runtime.ok("delete", bundle.id)
    runtime.fails("exec", "none", "true", code=255, says="container does not exist")


@pytest.mark.differs(crun="code 1 and other words")
def test_paused(runtime: Runtime, running: Bundle) -> None:
    runtime.ok("pause", running.id)
    runtime.fails("exec", running.id, "true", code=255, says="cannot exec in a paused container")
    runtime.ok("resume", running.id)


@pytest.mark.differs(crun="1.8 refuses")
def test_created(runtime: Runtime, bundle: Bundle) -> None:
    runtime.create(bundle)
    assert runtime.ok("exec", bundle.id, "cat", "/proc/1/comm").code == 0
    assert runtime.status(bundle) == "created"
    runtime.stop(bundle)


def test_namespaces_cgroups_and_root_are_the_containers(runtime: Runtime, running: Bundle) -> None:
    script = "readlink /proc/self/ns/{0}; readlink /proc/1/ns/{0}"
    for kind in ("mnt", "pid", "net", "ipc", "uts", "cgroup", "user"):
        ours, inits = runtime.sh(running, script.format(kind)).split()
        assert ours == inits, kind
    ours, inits = (runtime.sh(running, f"cat /proc/{pid}/cgroup") for pid in ("self", 1))
    assert ours == inits
    assert running.id in ours


def test_defaults_are_the_configurations(runtime: Runtime, bundle: Bundle) -> None:
    bundle.process.update(
        user={"uid": 1000, "gid": 1001, "additionalGids": [5, 6]},
        cwd="/home/user",
        env=["PATH=/bin", "A=1", "B=2"],
        rlimits=[{"type": "RLIMIT_NOFILE", "soft": 100, "hard": 200}],
    )
    bundle.capabilities("CAP_CHOWN", "CAP_KILL")
    runtime.launch(bundle.args("/bin/probe", "pause"))
    lines = runtime.sh(
        bundle,
        "id -u; id -g; id -G; pwd; env | sort; ulimit -Sn; ulimit -Hn; "
        "grep -E '^(CapBnd|NoNewPrivs):' /proc/self/status",
    ).splitlines()
    expected = [
        "1000",
        "1001",
        "1001 5 6",
        "/home/user",
        "A=1",
        "B=2",
        "HOME=/home/user",
        "PATH=/bin",
        "PWD=/home/user",
    ]
    shell = [line for line in lines if not line.startswith(("SHLVL=", "OLDPWD="))]
    assert shell[: len(expected)] == expected
    rest = shell[len(expected) :]
    assert rest[:2] == ["100", "200"]
    assert [line.split() for line in rest[2:4]] == [["CapBnd:", f"{1 << 0 | 1 << 5:016x}"], ["NoNewPrivs:", "1"]]
    runtime.stop(bundle)


def test_cwd(runtime: Runtime, running: Bundle) -> None:
    assert runtime.ok("exec", "--cwd", "/var/empty", running.id, "pwd").out == "/var/empty\n"


@pytest.mark.differs(crun="makes it")
def test_missing_cwd(runtime: Runtime, running: Bundle) -> None:
    """Only create makes it."""
    runtime.fails("exec", "--cwd", "/not/there", running.id, "pwd", code=255, says="no such file or directory")
    assert not (running.root / "not").exists()


def test_env(runtime: Runtime, running: Bundle) -> None:
    out = runtime.ok(
        "exec",
        "--env",
        "A=1",
        "--env",
        "B=2,3",
        "--env=A=4",
        "--env",
        "EMPTY=",
        running.id,
        "cat",
        "/proc/self/environ",
    ).out
    variables = [entry for entry in out.split("\0") if entry]
    assert dict(entry.split("=", 1) for entry in variables) == {
        "PATH": running.process["env"][0].removeprefix("PATH="),
        "TERM": "xterm",
        "A": "4",
        "B": "2,3",
        "EMPTY": "",
        "HOME": "/root",
    }
    names = [entry.split("=")[0] for entry in variables]
    assert runtime.name != "ocirt" or len(names) == len(set(names))


@pytest.mark.parametrize(
    ("text", "uid", "gid"),
    [("1", 1, 0), ("1:2", 1, 2), ("0001", 1, 0), ("0", 0, 0), ("1001", 1001, 0), ("2147483647:7", 2147483647, 7)],
)
def test_user(runtime: Runtime, running: Bundle, text: str, uid: int, gid: int) -> None:
    assert status_field(runtime, running, "Uid", "--user", text) == " ".join([str(uid)] * 4)
    assert status_field(runtime, running, "Gid", "-u", text) == " ".join([str(gid)] * 4)


def test_a_number_that_the_image_has_as_a_name(runtime: Runtime, running: Bundle) -> None:
    """CVE-2016-3697."""
    (running.root / "etc/passwd").write_text("1000:x:0:0::/:/bin/sh\n")
    assert runtime.ok("exec", "--user", "1000", running.id, "id", "-u").out == "1000\n"


REFUSED_NUMBERS = ["1.0", "1e3", "4294967295", "4294967296", "18446744073709551617", "-1", "0x1", "1_0", "١"]
REFUSED_FORMS = ["1:", ":2", ":", " 1", "1 ", "root", "1:root", "1:-1", "1:4294967295", "1:2:3"]


@pytest.mark.parametrize("text", [*REFUSED_NUMBERS, *REFUSED_FORMS])
@pytest.mark.differs(crun="CVE-2026-30892 and friends", runc="1.1 takes 1:2:3 and what does not fit")
def test_user_is_refused_rather_than_guessed(runtime: Runtime, running: Bundle, text: str) -> None:
    """Never 0 unless asked: CVE-2016-3697, CVE-2024-40635, CVE-2026-30892, CVE-2026-46680."""
    runtime.fails("exec", "--user", text, running.id, "id", code=255)


@pytest.mark.only_ocirt("a plus sign is Go's syntax for 1, crun's for nothing")
def test_user_with_a_plus_sign(runtime: Runtime, running: Bundle) -> None:
    result = runtime.call("exec", "--user", "+1", running.id, "id", "-u")
    assert (result.code, result.out) in [(255, ""), (0, "1\n")]


@pytest.mark.differs(crun="other words", runc="1.1 has other words")
def test_bad_user_text(runtime: Runtime, running: Bundle) -> None:
    runtime.fails("exec", "--user", "root", running.id, "id", code=255, says="bad uid: ")
    runtime.fails("exec", "--user", "1:root", running.id, "id", code=255, says="bad gid: ")


@pytest.mark.differs(runc="1.1 refuses two forms of a flag", crun="1.8 has no such option")
def test_both_forms_of_a_repeated_flag(runtime: Runtime, running: Bundle) -> None:
    assert status_field(runtime, running, "Groups", "--additional-gids", "7", "-g", "8") == "7 8"


@pytest.mark.differs(crun="1.8 has no such option")
def test_additional_gids(runtime: Runtime, running: Bundle) -> None:
    assert status_field(runtime, running, "Groups", "--additional-gids", "7", "--additional-gids=8") == "7 8"
    assert status_field(runtime, running, "Groups", "-g", "9") == "9"


@pytest.mark.differs(crun="another rule")
def test_cap_is_not_inheritable_nor_ambient(runtime: Runtime, running: Bundle) -> None:
    """CVE-2022-29162."""
    net_admin = 1 << 12
    before = int(status_field(runtime, running, "CapEff"), 16)
    assert before & net_admin == 0
    flags = ("--cap", "CAP_NET_ADMIN")
    for name in ("CapBnd", "CapPrm", "CapEff"):
        assert int(status_field(runtime, running, name, *flags), 16) == before | net_admin, name
    for name in ("CapInh", "CapAmb"):
        assert int(status_field(runtime, running, name, *flags), 16) == 0, name
    for name in ("CapPrm", "CapEff", "CapInh", "CapAmb"):
        assert int(status_field(runtime, running, name, *flags, "--user", "1000"), 16) == 0, name


@pytest.mark.differs(crun="another rule")
def test_cap_leaves_inheritable_alone(runtime: Runtime, bundle: Bundle) -> None:
    """runc asks for it in the ambient set too, which the kernel refuses for what is not inheritable."""
    bundle.process["capabilities"]["inheritable"] = ["CAP_KILL"]
    bundle.process["capabilities"]["ambient"] = ["CAP_KILL"]
    runtime.launch(bundle.args("/bin/probe", "pause"))
    flags = ("--cap", "CAP_NET_ADMIN", "--user", "1000")
    seen = {name: int(status_field(runtime, bundle, name, *flags), 16) for name in ("CapEff", "CapInh", "CapAmb")}
    runtime.stop(bundle)
    assert seen == {"CapEff": 1 << 5, "CapInh": 1 << 5, "CapAmb": 1 << 5}


def test_no_new_privs(runtime: Runtime, bundle: Bundle) -> None:
    bundle.process["noNewPrivileges"] = False
    runtime.launch(bundle.args("/bin/probe", "pause"))
    assert status_field(runtime, bundle, "NoNewPrivs") == "0"
    assert status_field(runtime, bundle, "NoNewPrivs", "--no-new-privs") == "1"
    runtime.stop(bundle)


def test_process_file(runtime: Runtime, running: Bundle) -> None:
    path = running.process_file(
        "process.json",
        args=["/bin/sh", "-c", "id -u; pwd; echo $A"],
        user={"uid": 1000, "gid": 1000},
        cwd="/home/user",
        env=["PATH=/bin", "A=verbatim"],
    )
    expected = ["1000", "/home/user", "verbatim"]
    assert runtime.ok("exec", "--process", str(path), running.id).out.split() == expected
    assert runtime.ok("exec", "-p", str(path), running.id).out.split() == expected


@pytest.mark.differs(runc="1.1 leaves it alone at exec", crun="1.8 leaves it alone at exec")
def test_oom_score_adj(runtime: Runtime, bundle: Bundle) -> None:
    bundle.process["oomScoreAdj"] = 123
    runtime.launch(bundle.args("/bin/probe", "pause"))
    assert runtime.sh(bundle, "cat /proc/self/oom_score_adj") == "123\n"
    path = bundle.process_file("process.json", args=["/bin/cat", "/proc/self/oom_score_adj"], oomScoreAdj=77)
    assert runtime.ok("exec", "--process", str(path), bundle.id).out == "77\n"
    runtime.stop(bundle)


@pytest.mark.differs(runc="1.1 has 0022 at exec", crun="1.8 has 0022 at exec")
def test_umask(runtime: Runtime, bundle: Bundle) -> None:
    bundle.process["user"]["umask"] = 0o027
    runtime.launch(bundle.args("/bin/probe", "pause"))
    assert runtime.sh(bundle, "umask") == "0027\n"
    runtime.stop(bundle)


@pytest.mark.differs(
    runc="1.1 takes the container's oomScoreAdj, never the file's", crun="1.8 leaves oom_score_adj alone"
)
def test_a_process_file_that_does_not_say_how_it_is_confined(runtime: Runtime, bundle: Bundle) -> None:
    """As the container, and not as the caller."""
    bundle.process["oomScoreAdj"] = 123
    bundle.capabilities("CAP_KILL", "CAP_CHOWN")
    runtime.launch(bundle.args("/bin/probe", "pause"))
    ask = "cat /proc/self/oom_score_adj; grep -E '^Cap(Prm|Eff|Bnd)' /proc/self/status"
    plain = {"cwd": "/", "args": ["/bin/sh", "-c", ask], "user": {"uid": 0, "gid": 0}}
    path = bundle.path / "plain.json"
    for more, score, capabilities in (({}, "123", "21"), ({"capabilities": {}, "oomScoreAdj": 77}, "77", "00")):
        path.write_text(json.dumps({**plain, **more}))
        seen = runtime.ok("exec", "--process", str(path), bundle.id).out.split()
        assert seen[0] == score
        assert {text[-2:] for text in seen[2::2]} == {capabilities}
    runtime.stop(bundle)


def test_process_file_inherits_no_environment_but_home(runtime: Runtime, running: Bundle) -> None:
    path = running.path / "minimal.json"
    path.write_text(json.dumps({"cwd": "/", "args": ["/bin/cat", "/proc/self/environ"], "user": {"uid": 0, "gid": 0}}))
    out = runtime.ok("exec", "--process", str(path), running.id).out
    assert out.strip("\0") == "HOME=/root"


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"args":[],"cwd":"/","user":{"uid":0,"gid":0}}'])
@pytest.mark.differs(crun="code 1; it crashes on some", runc="1.1 fills in what is missing")
def test_bad_process_file(runtime: Runtime, running: Bundle, text: str) -> None:
    path = running.path / "bad.json"
    path.write_text(text)
    runtime.fails("exec", "--process", str(path), running.id, code=255)


def test_detach_and_pid_file(runtime: Runtime, running: Bundle, tmp_path: Path) -> None:
    pid_file = tmp_path / "exec.pid"
    runtime.ok("exec", "--detach", "--pid-file", str(pid_file), running.id, "/bin/sh", "-c", "echo $$ > /p; exit 5")
    pid = pid_file.read_bytes()
    assert pid.isdigit()
    assert wait_for(int(pid)) == 5
    assert (running.root / "p").read_text().strip().isdigit()


@pytest.mark.differs(crun="code 1")
def test_no_pid_file_when_it_failed(runtime: Runtime, running: Bundle, tmp_path: Path) -> None:
    """conmon knows by its absence."""
    pid_file = tmp_path / "exec.pid"
    runtime.fails("exec", "--detach", "--pid-file", str(pid_file), running.id, "/none", code=255)
    assert not pid_file.exists()


def test_detached_process_is_not_waited_for(runtime: Runtime, running: Bundle, tmp_path: Path) -> None:
    runtime.ok("exec", "-d", "--pid-file", str(tmp_path / "p"), running.id, "/bin/sh", "-c", "sleep 1000")
    pid = int((tmp_path / "p").read_text())
    assert runtime.sh(running, "ps -o args").count("sleep 1000") >= 1
    os.kill(pid, 9)
    assert wait_for(pid) == 137


def test_processes_of_exec_end_with_the_container(runtime: Runtime, bundle: Bundle, tmp_path: Path) -> None:
    runtime.launch(bundle.args("/bin/probe", "pause"))
    runtime.ok("exec", "-d", "--pid-file", str(tmp_path / "p"), bundle.id, "/bin/sh", "-c", "exec sleep 1000")
    runtime.ok("kill", bundle.id, "KILL")
    assert wait_for(int((tmp_path / "p").read_text())) == 137  # first: its namespace's init waits for it
    assert runtime.wait(bundle) == 137
    runtime.ok("delete", bundle.id)


@pytest.mark.differs(crun="wants a v2 cgroup", runc="1.1 on v1 wants controllers before the path")
@pytest.mark.cgroup_v1("chooses controllers")
def test_sub_cgroup(runtime: Runtime, running: Bundle, place: Place) -> None:
    (place.cgroup("pids") / running.id / "sub").mkdir()
    out = runtime.ok("exec", "--cgroup", "pids:sub", running.id, "cat", "/proc/self/cgroup").out
    lines = {line.split(":")[1]: line.split(":")[2] for line in out.splitlines()}
    assert lines["pids"].endswith(f"{running.id}/sub")
    assert lines["freezer"].endswith(running.id)


@pytest.mark.differs(crun="other words")
@pytest.mark.cgroup_v1("chooses controllers")
def test_bad_sub_cgroup(runtime: Runtime, running: Bundle) -> None:
    runtime.fails("exec", "--cgroup", "nonesuch:sub", running.id, "true", code=255, says="unknown controller nonesuch")
    runtime.fails("exec", "--cgroup", "pids:../..", running.id, "true", code=255, says="sub cgroup path")


def test_inside_view(runtime: Runtime, running: Bundle) -> None:
    seen = json.loads(runtime.ok("exec", running.id, "/bin/probe").out)
    assert seen["fds"] == [0, 1, 2]
    assert (seen["ignored"], seen["blocked"], seen["pending"]) == ([], 0, 0)
    assert seen["umask"] == 0o022
    assert seen["dumpable"] == 1
    assert seen["pdeathsig"] == 0
    assert seen["cwd"] == "/"
    assert seen["keyring"].endswith(f"_ses.{running.id}")


LEAK = "\n".join(f"exec {number}</" for number in range(3, 21))  # the host's root directory


def test_leaked_descriptors_do_not_arrive(runtime: Runtime, running: Bundle) -> None:
    out = runtime.after(LEAK).ok("exec", running.id, "/bin/probe").out
    assert json.loads(out)["fds"] == [0, 1, 2]


def test_preserve_fds(runtime: Runtime, running: Bundle, tmp_path: Path) -> None:
    (tmp_path / "given").write_text("given\n")
    caller = runtime.after(f"{LEAK}\nexec 4<{tmp_path / 'given'}")
    assert caller.ok("exec", "--preserve-fds", "2", running.id, "/bin/sh", "-c", "cat <&4").out == "given\n"
    out = caller.ok("exec", "--preserve-fds", "2", running.id, "/bin/probe").out
    assert json.loads(out)["fds"] == [0, 1, 2, 3, 4]


def test_foreground_exec_sees_its_container_die(runtime: Runtime, bundle: Bundle) -> None:
    runtime.launch(bundle.args("/bin/probe", "pause"))
    out = bundle.path / "exec.out"
    with out.open("wb") as file:
        child = subprocess.Popen(
            runtime.arguments("exec", bundle.id, "/bin/sh", "-c", "echo in; sleep 1000"), stdout=file
        )
    poll(lambda: out.read_text() == "in\n", "the exec'd process")
    runtime.stop(bundle)
    assert child.wait(30) == 137
