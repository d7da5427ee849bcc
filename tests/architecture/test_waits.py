"""Every call that can wait, and what ends the wait (docs/faults.md): a new one has to say so here."""

from __future__ import annotations

import ast

from tests.architecture.source import modules

# Functions and methods that wait, whatever they are called on.
WAITING = {
    "accept", "_accept", "connect", "epoll", "flock", "lockf", "poll", "recv", "recvfrom", "recvmsg", "select",
    "send", "sendall", "sendmsg", "sendto", "sleep", "wait", "wait3", "wait4", "waitid", "waitpid",
}  # fmt: skip
OF_THE_LAUNCHER = {"_end_network"}  # functions in C: waitpid
# What ends the wait -> where: module.function: call
WAITS = {
    "a deadline of its own": """
        cgroups.dbus.Connection._read: recv
        cgroups.dbus.Connection._send: sendall
        cgroups.dbus._connect: connect
        cgroups.v2.V2Manager._try_freeze: poll
        channel.Channel.wait: poll
        commands.events._watch: poll
        container.Container.wait_gone: poll
        hooks._feed_and_wait: poll
        kernel.processes.reap: poll
        kernel.rtnetlink.Connection._receive: recvmsg
        kernel.rtnetlink.Connection._converse: send
        library._end: wait
        lockholder._released: poll
        process.checkpoint_check._reach: connect
        process.launch.hear_joiner: poll
        process.lifecycle.connect_console: connect
        process.lifecycle.execute: poll
        process.lifecycle.send_pidfd: sendmsg
        process.notify.tell: poll
        process.notify.tell: send
        process.notify.tell: sendmsg
        stages.listener.send: connect
        stages.listener.send: send
        stages.listener.send: sendmsg
        probe.attempt._read_until: select
        seccomp.watcher.Watch.finish: poll
        """,
    "a loop around it that has a deadline": """
        cgroups.claim.remove_left: sleep
        cgroups.claim.try_lock: sleep
        cgroups.files.remove_tree: sleep
        cgroups.v1._try_freeze: sleep
        filelock.lock_within: sleep
        probe.attempt._remove: sleep
        """,
    "the other process's end: it closes the socket, or is killed": """
        channel.accept: _accept
        criu.program.check: waitpid
        criu.rpc.Conversation._receive: poll
        criu.rpc.Conversation._receive: recvmsg
        criu.rpc.Conversation._send: send
        criu.rpc.Conversation.reap: waitpid
        stages.criu.MakeRootReadonly.apply: waitpid
        kernel.links.end_network: _end_network
        kernel.terminals.send_fd: send
        probe.attempt._end: waitpid
        probe.attempt._answer_of: waitpid
        probe.cgroups.birth: waitpid
        probe.namespaces.run: waitpid
        probe.places.Held.__exit__: waitpid
        process.notify.wait_ready: poll
        seccomp.watcher._receive: recvmsg
        seccomp.watcher._serve: poll
        stages.aside.enter_locked: waitpid
        stages.aside.in_a_child: waitpid
        stages.idmap.MakeUserNamespace.apply: waitpid
        """,
    "the user, whom it shows what it was asked for": """
        commands.stats.watch: sleep
        """,
    "the program's end, and the caller's signals before it": """
        process.foreground._serve: poll
        """,
    "nothing: it is told not to wait, or known to be ready": """
        cgroups.claim.lock: flock
        cgroups.claim.unlock: flock
        channel.Channel.receive_descriptor: recvmsg
        container.Container.connect: connect
        container.Container.unlock: flock
        filelock.lock_within: flock
        kernel.processes.reap: waitpid
        process.foreground._reap_others: waitid
        process.foreground._reap_others: waitpid
        process.foreground.stay: waitpid
        process.notify.tell: connect
        process.notify.wait_ready: recv
        process.terminal.Terminal.attach: recvmsg
        process.terminal.Terminal.drain: poll
        seccomp.explained.Explainer._tell: poll
        stages.watch.LoadWatchedFilter.apply: send
        """,
}
LISTED = [line.strip() for places in WAITS.values() for line in places.strip().splitlines()]
# Methods of ours by such a name: what they wait with is listed where it stands.
OURS = ("channel", "container", "conversation", "dbus", "rtnetlink", "self")


def called(node: ast.Call) -> str:
    """The waiting call's name, "" for any other call."""
    function = node.func
    if isinstance(function, ast.Name):
        return function.id if function.id in OF_THE_LAUNCHER else ""
    if not isinstance(function, ast.Attribute) or function.attr not in WAITING:
        return ""
    owner = ast.unparse(function.value).rpartition(".")[2]
    makes_an_object = owner == "select" and function.attr in ("poll", "epoll")
    return "" if makes_an_object or owner in OURS else function.attr


def waits() -> set[str]:
    """ "module.function: call", for every waiting call."""
    found = set()
    for name, tree in modules().items():
        owners = [node for node in ast.walk(tree) if isinstance(node, (ast.FunctionDef, ast.ClassDef))]
        for node in ast.walk(tree):
            if isinstance(node, ast.Call) and (call := called(node)):
                around = [owner.name for owner in owners if owner.lineno <= node.lineno <= (owner.end_lineno or 0)]
                found.add(f"{'.'.join([name.removeprefix('ocirt.'), *around])}: {call}")
    return found


def test_every_wait_has_a_bound() -> None:
    found = waits()
    assert sorted(found - set(LISTED)) == []
    assert sorted(set(LISTED) - found) == []
    assert len(LISTED) == len(set(LISTED))


def test_the_rule_sees_a_wait() -> None:
    call = ast.parse("self._socket.recv(1)").body[0].value  # type: ignore[attr-defined]
    assert called(call) == "recv"
    assert called(ast.parse("_end_network(1)").body[0].value) == "_end_network"  # type: ignore[attr-defined]
    assert called(ast.parse("select.poll()").body[0].value) == ""  # type: ignore[attr-defined]
    assert called(ast.parse("box.channel.send(GO)").body[0].value) == ""  # type: ignore[attr-defined]


# The wall clock may be set back or forth: it dates things, it does not bound anything.
DATES = {"log.utc_now", "commands.gc._look_at_remains", "bugreport.archive.pack"}


def test_deadlines_are_of_the_monotonic_clock() -> None:
    found = set()
    for name, tree in modules().items():
        for function in (node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)):
            for node in ast.walk(function):
                if isinstance(node, ast.Attribute) and ast.unparse(node) in ("time.time", "time.time_ns"):
                    found.add(f"{name.removeprefix('ocirt.')}.{function.name}")
    assert found == DATES
