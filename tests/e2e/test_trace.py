"""--trace: what is in it, that it adds up, what hooks get of it, and that nothing else changes."""

from __future__ import annotations

import itertools
import json
import os
import time
from pathlib import Path
from typing import Any

import pytest

from tests.support.bundles import Bundle
from tests.support.runtime import Runtime

pytestmark = pytest.mark.only_ocirt("no other runtime has it")

TRACE, PARENT = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
CALLER = {"PATH": os.environ["PATH"], "TRACEPARENT": f"00-{TRACE}-{PARENT}-01"}
KINDS = ("createRuntime", "createContainer", "startContainer", "poststart", "poststop")
OF_THE_SHELL = ("PWD", "SHLVL", "PATH")  # what it adds by itself
LEAVES = ("phase", "step")


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "trace.json"


class Process:
    """One process of a trace: its whole, and its spans in order."""

    def __init__(self, whole: dict[str, Any]) -> None:
        self.name: str = whole["name"]
        self.whole = whole
        self.spans: list[dict[str, Any]] = []

    def leaves(self) -> list[dict[str, Any]]:
        return [span for span in self.spans if span["cat"] in LEAVES]

    def names(self, kind: str) -> list[str]:
        return [span["name"] for span in self.spans if span["cat"] == kind]

    def covered(self) -> float:
        return sum(span["args"]["wall_us"] for span in self.leaves()) / self.whole["args"]["wall_us"]


def read(file: Path) -> list[Process]:
    found: list[Process] = []
    for event in json.loads(file.read_text()):
        if event["ph"] == "X" and event["cat"] == "process":
            found.append(Process(event))
        elif event["ph"] == "X":
            found[-1].spans.append(event)
    return found


def traced(file: Path) -> tuple[str, ...]:
    return ("--trace", str(file))


def saved(bundle: Bundle) -> str:
    return str(bundle.save().path)


def planned(runtime: Runtime, bundle: Bundle, *places: str) -> list[str]:
    """What `plan` says that it does there."""
    lines = runtime.ok("plan", "--bundle", saved(bundle), bundle.id).out.splitlines()
    return [line[18:].partition("  [")[0] for line in lines if line.split()[0] in places]


def test_a_run_adds_up(runtime: Runtime, bundle: Bundle, file: Path) -> None:
    bundle.args("true")
    before = time.time()
    runtime.ok("run", "--bundle", saved(bundle), bundle.id, options=traced(file))
    after = time.time()
    ours, init = read(file)
    assert [ours.name, init.name] == [f"ocirt run {bundle.id}", f"init of ocirt run {bundle.id}"]
    for process in (ours, init):
        assert process.covered() >= 0.95
        leaves = process.leaves()
        assert all(one["ts"] + one["dur"] <= other["ts"] for one, other in itertools.pairwise(leaves))
        assert all(span["args"].get("cpu_us", 0) >= 0 for span in process.spans)
    # From the birth of the process to its end, and init inside of that.
    start, end = ours.whole["ts"], ours.whole["ts"] + ours.whole["dur"]
    assert before <= start / 1e6 <= end / 1e6 <= after
    assert start < init.whole["ts"] < init.whole["ts"] + init.whole["dur"] < end
    phases = ours.names("phase")
    assert phases[:3] == ["start the interpreter", "load the recorder", "load the command run"]
    assert phases[-1] == "write the trace"
    wanted = [
        "read the bundle",
        "look at the host",
        "decide on the plan",
        "give birth to init",
        "wait for the program to end",
    ]
    assert [name for name in phases if name in wanted] == wanted


def test_every_step_of_the_plan_is_there(runtime: Runtime, bundle: Bundle, file: Path) -> None:
    bundle.args("true")
    runtime.ok("run", "--bundle", saved(bundle), bundle.id, options=traced(file))
    ours, init = read(file)
    assert ours.names("step") == planned(runtime, bundle, "host", "beside", "answer")
    assert init.names("step") == planned(runtime, bundle, "init", "start")
    assert len(init.names("step")) > 30


def test_commands_share_a_file(runtime: Runtime, bundle: Bundle, file: Path) -> None:
    """What init does after `start` is in the trace of that."""
    bundle.args("sleep", "1000")
    runtime.ok("create", "--bundle", saved(bundle), bundle.id, options=traced(file))
    runtime.ok("start", bundle.id, options=traced(file))
    runtime.ok("state", bundle.id, options=traced(file))
    runtime.ok("exec", bundle.id, "true", options=traced(file))
    runtime.ok("delete", "--force", bundle.id, options=traced(file))
    processes = read(file)
    assert [process.name.replace(bundle.id, "ID") for process in processes] == [
        "ocirt create ID",
        "init of ocirt create ID",
        "ocirt start ID",
        "init of ocirt start ID",
        "ocirt state ID",
        "ocirt exec ID",
        "joiner of ocirt exec ID",
        "init of ocirt exec ID",
        "ocirt delete ID",
    ]
    assert all(process.covered() >= 0.95 for process in processes)
    assert processes[1].names("phase")[-1] in ("say READY, and wait for the record", "wait for start")
    assert processes[3].names("step") == planned(runtime, bundle, "start")
    assert processes[1].whole["pid"] == processes[3].whole["pid"]
    starts = [process.whole["ts"] for process in processes if not process.name.startswith(("init", "joiner"))]
    assert starts == sorted(starts)
    assert "remove its cgroup and what else was made on the host" in processes[-1].names("phase")


def test_only_start_is_traced(runtime: Runtime, bundle: Bundle, file: Path) -> None:
    runtime.create(bundle.args("true"))
    runtime.ok("start", bundle.id, options=traced(file))
    assert [process.name for process in read(file)] == [f"ocirt start {bundle.id}"]
    runtime.wait(bundle)
    runtime.ok("delete", bundle.id)


@pytest.mark.parametrize("offset", [0, 86400])
def test_a_joiner_and_another_clock(runtime: Runtime, bundle: Bundle, file: Path, offset: int) -> None:
    """A time namespace moves init's monotonic clock by a day, and not its place in the trace."""
    bundle.args("true")
    bundle.config["linux"]["namespaces"] += [{"type": "time"}]
    bundle.config["linux"]["timeOffsets"] = {"monotonic": {"secs": offset, "nanosecs": 0}}
    runtime.ok("run", "--bundle", saved(bundle), bundle.id, options=traced(file))
    ours, init = read(file)[0], read(file)[-1]
    assert init.names("step") == planned(runtime, bundle, "init", "start")
    assert ours.whole["ts"] < init.whole["ts"] < ours.whole["ts"] + ours.whole["dur"]


def test_otlp_of_a_callers_trace(runtime: Runtime, bundle: Bundle, tmp_path: Path) -> None:
    file = tmp_path / "trace.otlp.json"
    bundle.args("true")
    runtime.ok("run", "--bundle", saved(bundle), bundle.id, options=traced(file), env=CALLER)
    ours, init = json.loads(file.read_text())["resourceSpans"]
    spans = [span for resource in (ours, init) for span in resource["scopeSpans"][0]["spans"]]
    assert {span["traceId"] for span in spans} == {TRACE}
    assert [span["parentSpanId"] for span in spans if span["name"].startswith("ocirt run")] == [PARENT]
    ids = {span["spanId"] for span in spans}
    assert len(ids) == len(spans)
    assert {span["parentSpanId"] for span in spans} <= ids | {PARENT}


@pytest.fixture
def hooked(bundle: Bundle) -> Bundle:
    """Hooks that say what their environment is; the script is at the same place inside."""
    script = bundle.path / "hook"
    script.write_text(f"#!/bin/sh\ncat > /dev/null\ncat /proc/self/environ > {bundle.path}/env-$1\n")
    script.chmod(0o755)
    bundle.bind(bundle.path, str(bundle.path), "rbind")
    for kind in KINDS:
        bundle.hook(kind, script, kind)
    return bundle


def environments(bundle: Bundle) -> dict[str, list[str]]:
    found = {}
    for path in bundle.path.glob("env-*"):
        variables = path.read_text().split("\0")[:-1]
        kind = path.name.removeprefix("env-")
        found[kind] = [one for one in variables if one.partition("=")[0] not in OF_THE_SHELL]
    return found


def test_hooks_get_the_trace(runtime: Runtime, hooked: Bundle, file: Path) -> None:
    """Each the id of its own span, on either side; one that sets the variable itself keeps it."""
    hooked.config["hooks"]["poststop"][0]["env"] = ["TRACEPARENT=mine"]
    hooked.args("true")
    runtime.ok("run", "--bundle", saved(hooked), hooked.id, options=traced(file), env=CALLER)
    found = environments(hooked)
    assert found.pop("poststop") == ["TRACEPARENT=mine"]
    ids = {
        span["args"]["span_id"]: span["name"]
        for process in read(file)
        for span in process.spans
        if " hook #" in span["name"]
    }
    assert len(ids) == len(found) + 1 == 5
    for kind, (variable,) in found.items():
        name, _, value = variable.partition("=")
        version, trace, span, flags = value.split("-")
        assert (name, version, trace, flags) == ("TRACEPARENT", "00", TRACE, "01")
        assert ids[span].startswith(f"run {kind} hook #0: ")


def test_without_trace_hooks_get_nothing(runtime: Runtime, hooked: Bundle) -> None:
    runtime.ok("run", "--bundle", saved(hooked.args("true")), hooked.id, env=CALLER)
    assert sorted(environments(hooked).items()) == [(kind, []) for kind in sorted(KINDS)]


def test_the_program_gets_nothing(runtime: Runtime, bundle: Bundle, file: Path) -> None:
    """Neither the variable nor a descriptor."""
    bundle.script("echo ${TRACEPARENT-unset}; ls /proc/self/fd | wc -l; ls -l /proc/self/fd")
    plain = runtime.ok("run", "--bundle", saved(bundle), bundle.id, env=CALLER).out.splitlines()
    with_trace = runtime.ok("run", "--bundle", saved(bundle), bundle.id, options=traced(file), env=CALLER).out
    assert with_trace.splitlines()[:2] == plain[:2] == ["unset", plain[1]]
    assert "trace" not in with_trace


def test_a_failure_is_in_it(runtime: Runtime, bundle: Bundle, file: Path) -> None:
    bundle.args("true")
    bundle.config["mounts"] += [{"destination": "/x", "type": "nofs", "source": "none"}]
    result = runtime.call("run", "--bundle", saved(bundle), bundle.id, options=traced(file))
    assert result.code == 1
    ours, init = read(file)
    assert result.last_line.startswith(ours.whole["args"]["error"])
    assert [span["name"] for span in init.spans if "error" in span["args"]] == ["mount nofs on /x"]
    assert init.leaves()[-1]["name"] == "mount nofs on /x"
    phases = ours.names("phase")
    assert 0 < phases.index("look for the cause") < phases.index("take back what was done")


def test_a_filter_that_allows_next_to_nothing(runtime: Runtime, bundle: Bundle, file: Path) -> None:
    """Loaded before the last steps: whoever asks for the CPU time then is killed."""
    bundle.args("true")
    bundle.config["process"]["noNewPrivileges"] = False
    killed = ["clock_gettime", "clock_getres", "gettimeofday", "time", "times", "getrusage"]
    bundle.config["linux"]["seccomp"] = {
        "defaultAction": "SCMP_ACT_ALLOW",
        "syscalls": [{"names": killed, "action": "SCMP_ACT_KILL_PROCESS"}],
    }
    runtime.ok("run", "--bundle", saved(bundle), bundle.id, options=traced(file))
    _, init = read(file)
    steps = [span for span in init.spans if span["cat"] == "step"]
    number = next(i for i, span in enumerate(steps) if span["name"].startswith("load a seccomp filter"))
    assert 0 < number < len(steps) - 1
    assert all("cpu_us" in span["args"] for span in steps[:number])
    assert not any("cpu_us" in span["args"] for span in steps[number:])


def test_a_file_that_holds_something_else(runtime: Runtime, bundle: Bundle) -> None:
    """Refused before anything is done."""
    path = bundle.args("true").save().path / "config.json"
    before = path.read_bytes()
    runtime.fails(
        "run",
        "--bundle",
        str(bundle.path),
        bundle.id,
        options=traced(path),
        says="no file of the format chrome to add to",
    )
    assert path.read_bytes() == before
    runtime.fails("list", options=traced(bundle.path / "missing/trace.json"), says="no such file or directory")


def test_a_trace_that_cannot_be_written_is_a_warning(runtime: Runtime, bundle: Bundle, tmp_path: Path) -> None:
    directory = tmp_path / "gone"
    directory.mkdir()
    bundle.hook("createRuntime", Path("/bin/busybox"), "rm", "-r", str(directory))
    bundle.args("true")
    result = runtime.ok("run", "--bundle", saved(bundle), bundle.id, options=traced(directory / "trace.json"))
    assert "the trace cannot be written: " in result.err


def test_view(runtime: Runtime, bundle: Bundle, file: Path) -> None:
    bundle.args("true")
    runtime.ok("run", "--bundle", saved(bundle), bundle.id, options=traced(file))
    lines = runtime.ok("trace", "view", str(file)).out.splitlines()
    assert lines[0].split() == ["at", "ms", "wall", "cpu", "blocked"]
    assert lines[1].startswith(f"ocirt run {bundle.id} (process ")
    assert lines[1].endswith("% in named steps")
    assert any(
        line.split()[4:] == ["start", "the", "interpreter"] for line in (one.rstrip("█▏▎▍▌▋▊▉ ") for one in lines)
    )
    assert any(line.startswith(f"init of ocirt run {bundle.id} (process ") for line in lines)
    less = runtime.ok("trace", "view", "--min", "1h", str(file)).out.splitlines()
    assert [line.split()[0] for line in less] == ["at", "ocirt", "and", "init", "and"]
    runtime.fails("trace", "view", str(bundle.path / "config.json"), says="no trace of ocirt's")
    os.mkfifo(bundle.path / "fifo")
    runtime.fails("trace", "view", str(bundle.path / "fifo"), says="is no file of at most 64 MiB")
    runtime.fails("trace", "draw", str(file), says="no such thing to do with a trace: draw")
