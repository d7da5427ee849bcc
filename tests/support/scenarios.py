"""What the tests of faults run: bundles that need most of the kinds of steps, and commands on them."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.support.bundles import Bundle
from tests.support.faults import ALL, Event, Faulty
from tests.support.host import Place
from tests.support.remains import Remains
from tests.support.runtime import Runtime, poll

HOOKS = ("prestart", "createRuntime", "createContainer", "startContainer", "poststart", "poststop")
SECCOMP = {
    "defaultAction": "SCMP_ACT_ALLOW",
    "syscalls": [{"names": ["swapon"], "action": "SCMP_ACT_ERRNO"}],
}
SLEEP = ("/bin/probe", "pause")


def rich(bundle: Bundle) -> None:
    """Hooks of all kinds, limits, a filter, a sysctl."""
    bundle.args(*SLEEP).resources(memory={"limit": 64 << 20}, pids={"limit": 50}, cpu={"shares": 512})
    for kind in HOOKS:
        bundle.hook(kind, "/bin/true")
    bundle.linux["seccomp"] = SECCOMP
    bundle.linux["sysctl"] = {"net.ipv4.ip_forward": "1"}
    bundle.process["oomScoreAdj"] = 100
    bundle.bind("/etc/hostname", "/etc/hostname", "bind", "ro")


def on_the_host(bundle: Bundle) -> None:
    """Without a mount namespace: what is mounted stays on the host until delete."""
    bundle.args(*SLEEP).without_namespace("mount")
    bundle.config["mounts"] = [entry for entry in bundle.mounts if entry["destination"] in ("/proc", "/dev", "/sys")]
    bundle.linux.pop("maskedPaths")
    bundle.linux.pop("readonlyPaths")


def in_a_user_namespace(bundle: Bundle) -> None:
    bundle.args(*SLEEP).user_namespace()


def joined(bundle: Bundle) -> None:
    """Into the namespaces of a process of the test's, by a joiner."""
    holder = subprocess.Popen(["unshare", "-p", "-u", "-i", "-f", "sleep", "1000"])
    bundle.holder = holder
    children = Path(f"/proc/{holder.pid}/task/{holder.pid}/children")
    pid = poll(lambda: children.read_text().split(), "unshare's child")[0]
    poll(lambda: Path(f"/proc/{pid}/comm").read_text() == "sleep\n", "the child's sleep")
    bundle.args(*SLEEP)
    for kind, name in (("pid", "pid"), ("uts", "uts"), ("ipc", "ipc")):
        bundle.namespace(kind, f"/proc/{pid}/ns/{name}")


class Scenario:
    """command: words, ID for the container's id.  shape: what the bundle is.  before: the status to begin with.

    creates: it makes the container, so that nothing may be left when it fails.
    """

    def __init__(self, words: str, shape: Callable[[Bundle], None], before: str = "") -> None:
        self.words = words
        self.shape = shape
        self.before = before

    def __repr__(self) -> str:
        return f"{self.words}, {self.shape.__name__}"

    @property
    def creates(self) -> bool:
        return self.words.startswith(("create", "run"))

    def command(self, runtime: Runtime, bundle: Bundle) -> Faulty:
        words = [bundle.id if word == "ID" else word for word in self.words.split()]
        if self.creates:
            words[1:1] = ["--bundle", str(bundle.path)]
        return Faulty(runtime, words)

    def prepare(self, runtime: Runtime, bundle: Bundle) -> None:
        """Bring the container into the status that the command wants."""
        if self.before:
            runtime.create(bundle)
        if self.before in ("running", "paused", "stopped"):
            runtime.start(bundle)
        if self.before == "paused":
            runtime.ok("pause", bundle.id)
        if self.before == "stopped":
            runtime.ok("kill", bundle.id, "KILL")
            runtime.wait(bundle)


SCENARIOS = (
    Scenario("create ID", rich),
    Scenario("create ID", on_the_host),
    Scenario("create ID", in_a_user_namespace),
    Scenario("create ID", joined),
    Scenario("create --seccomp-explain /dev/null ID", rich),
    Scenario("run --detach ID", rich),
    Scenario("start ID", rich, "created"),
    Scenario("exec ID true", rich, "running"),
    Scenario("exec --detach ID sleep 1000", in_a_user_namespace, "running"),
    Scenario("update --memory 32m --pids-limit 20 --cpu-share 100 ID", rich, "running"),
    Scenario("pause ID", rich, "running"),
    Scenario("resume ID", rich, "paused"),
    Scenario("kill ID KILL", rich, "running"),
    Scenario("delete ID", rich, "stopped"),
    Scenario("delete --force ID", rich, "running"),
    Scenario("delete --force ID", rich, "paused"),
    Scenario("delete --force ID", on_the_host, "running"),
)


@contextmanager
def rehearsed(
    scenario: Scenario, place: Place, runtime: Runtime, bundle: Bundle
) -> Iterator[tuple[Remains, list[Event]]]:
    """The scenario's bundle, saved: what tells what is left of it, and the events of a run without a fault."""
    scenario.shape(bundle)
    bundle.save()
    runtime.root.mkdir(exist_ok=True)  # as every run but the first finds it: the calls are counted
    try:
        remains = Remains(place, runtime, bundle)
        scenario.prepare(runtime, bundle)
        events = scenario.command(runtime, bundle).events()
        assert not remains.clean()
        yield remains, events
    finally:
        holder = getattr(bundle, "holder", None)
        if holder is not None:
            subprocess.run(["pkill", "-KILL", "-P", str(holder.pid)], check=True)
            holder.wait()


def sampled(events: list[Event], most: int) -> list[Event]:
    """All of them with OCIRT_TEST_FAULTS=all, else so many, evenly spread."""
    stride = max(1, len(events) // most)
    return events if ALL else events[stride // 2 :: stride][:most]
