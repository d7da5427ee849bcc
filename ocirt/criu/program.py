"""The program criu: where it is, how it is started as a server for one conversation, which version it has."""

from __future__ import annotations

import _socket

from ocirt import system as os
from ocirt.criu.criulog import error_lines
from ocirt.criu.rpc import OUTPUT_TAIL, Conversation
from ocirt.errors import OcirtError

# PATH is the caller's word: only directories that are root's are searched, and only these are handed on, because CRIU
# runs tar and iptables-restore by name.
DIRECTORIES = ("/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin")
ENVIRONMENT = {"PATH": ":".join(DIRECTORIES)}
SOCKET = 3  # criu's descriptor
IGNORED_BY_PYTHON = (13, 25)  # SIGPIPE SIGXFSZ

Version = tuple[int, int]
OLDEST: Version = (3, 15)  # external pid namespaces, status-ready; of July 2020


def find_program(name: str) -> str:
    """Absolute path, "" when there is none."""
    for directory in DIRECTORIES:
        if os.access(f"{directory}/{name}", os.X_OK):
            return f"{directory}/{name}"
    return ""


def find_criu() -> str:
    """Absolute path.  Raises OcirtError("criu")."""
    found = find_program("criu")
    if not found:
        raise OcirtError(
            "criu", "CRIU is not installed", detail=ENVIRONMENT["PATH"], remedy="install the package criu (criu.org)"
        )
    return found


def start(criu: str) -> Conversation:
    """A criu of our own, at the other end of a socket; it ends with the conversation.

    What it says before it has its log is kept in a memory file for the error.  Raises OcirtError("criu").
    """
    ours, theirs = _socket.socketpair(_socket.AF_UNIX, _socket.SOCK_SEQPACKET | _socket.SOCK_CLOEXEC)
    output = os.memfd_create("criu", os.MFD_CLOEXEC)
    try:
        pid = _spawn((criu, "swrk", str(SOCKET)), output, theirs.fileno())
    except OcirtError:
        ours.close()
        raise
    finally:
        theirs.close()
    return Conversation(ours, pid, output)


def check(criu: str) -> None:
    """`criu check`: what every checkpoint needs of the kernel.  Raises OcirtError("criu") with what it says."""
    output = os.memfd_create("criu", os.MFD_CLOEXEC)
    try:
        if os.waitpid(_spawn((criu, "check"), output), 0)[1]:
            said = os.pread(output, OUTPUT_TAIL, 0).decode("utf-8", "replace")
            raise OcirtError("criu", f"criu check failed: {'; '.join(error_lines(said)) or ' '.join(said.split())}")
    finally:
        os.close(output)


def _spawn(words: tuple[str, ...], output: int, socket: int = -1) -> int:
    """criu with our environment, nothing to read, its output in a file, and the socket as SOCKET; its pid."""
    null = os.open("/dev/null", os.O_RDWR | os.O_CLOEXEC)
    actions = [(os.POSIX_SPAWN_DUP2, null, 0), (os.POSIX_SPAWN_DUP2, output, 1), (os.POSIX_SPAWN_DUP2, output, 2)]
    if socket >= 0:
        actions.append((os.POSIX_SPAWN_DUP2, socket, SOCKET))
    if socket == SOCKET:  # dup2 onto itself would leave it close-on-exec
        os.set_inheritable(SOCKET, True)
    try:
        return os.posix_spawn(
            words[0], words, ENVIRONMENT, file_actions=actions, setsigmask=[], setsigdef=IGNORED_BY_PYTHON
        )
    except OSError as error:
        raise OcirtError("criu", f"execute {words[0]}", call="execve", errno=error.errno or 0) from None
    finally:
        os.close(null)


def version(criu: str) -> Version:
    """(major, minor).  Raises OcirtError("criu") when it cannot be asked, or is too old."""
    with start(criu) as conversation:
        found = conversation.version()
    if found < OLDEST:
        raise OcirtError(
            "criu",
            f"CRIU {found[0]}.{found[1]} is too old",
            detail=criu,
            remedy=f"install CRIU {OLDEST[0]}.{OLDEST[1]} or newer",
        )
    return found
