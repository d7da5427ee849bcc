"""sd_notify(3) for containers: the program says READY=1 to a socket of ours, and we say it to the caller's.

With NOTIFY_SOCKET in its environment create binds <root>/<id>/notify into the container (stages/notify.py); start
listens in it, waits for READY=1 and hands it on with MAINPID: the caller is told a process id that it knows.
"""

from __future__ import annotations

import _socket
import select
import time

from ocirt import log
from ocirt import system as os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ocirt.container import Container

TELL_DEADLINE = 30.0  # seconds for the caller to have read what it was sent, as systemd's sd_notify_barrier() has it
LARGEST = 4096  # bytes of a message, as systemd takes them


def listen(container: Container) -> _socket.socket:
    """The socket that the container's program will write to.  Raises OSError."""
    sock = _socket.socket(_socket.AF_UNIX, _socket.SOCK_DGRAM | _socket.SOCK_CLOEXEC)
    path = container.notify_socket()
    sock.bind(path)
    os.chmod(path, 0o777)  # whoever the program runs as
    return sock


def forward(container: Container, sock: _socket.socket) -> None:
    """Wait for READY=1, or for init's end, and tell the caller.  What cannot be told is a warning."""
    message = wait_ready(container, sock)
    if not message:
        return
    try:
        tell(os.getenv("NOTIFY_SOCKET"), f"{message}\nMAINPID={container.pid}\n".encode())
    except OSError as error:
        log.warning(f"the caller could not be told that the container is ready: {error}")


def forward_beside(container: Container, sock: _socket.socket) -> None:
    """As forward(), in a child: who stays in the foreground has signals to pass on meanwhile."""
    if os.fork() == 0:
        try:
            forward(container, sock)
        finally:
            os._exit(0)


def wait_ready(container: Container, sock: _socket.socket) -> str:
    """The line READY=... of the first message that has one; "" when init ends before."""
    pidfd = container.open_pidfd()
    poll = select.poll()
    poll.register(sock.fileno(), select.POLLIN)
    if pidfd is not None:
        poll.register(pidfd, select.POLLIN)
    while True:
        ready = dict(poll.poll(0 if pidfd is None else None))
        if sock.fileno() not in ready:
            return ""
        text = sock.recv(LARGEST).decode("utf-8", "replace")
        line = next((line for line in text.split("\n") if line.startswith("READY=")), "")
        if line:
            return line


def tell(address: str, message: bytes) -> None:
    """Send to the caller's socket, and wait until it has read it: it may look for us by our process id.

    Who does not read has TELL_DEADLINE in all: sending waits too, while the socket's queue is full.  Raises OSError.
    """
    deadline = time.monotonic() + TELL_DEADLINE
    sock = _socket.socket(_socket.AF_UNIX, _socket.SOCK_DGRAM | _socket.SOCK_CLOEXEC)
    reading, writing = os.pipe()
    try:
        sock.connect(f"\0{address[1:]}" if address.startswith("@") else address)
        sock.settimeout(TELL_DEADLINE)
        sock.send(message)
        barrier = (_socket.SOL_SOCKET, _socket.SCM_RIGHTS, writing.to_bytes(4, "little"))
        sock.settimeout(_left(deadline))
        sock.sendmsg([b"BARRIER=1"], [barrier])
        os.close(writing)
        writing = -1
        poll = select.poll()
        poll.register(reading, select.POLLHUP)
        if not poll.poll(_left(deadline) * 1000):
            log.warning(f"the caller has not read NOTIFY_SOCKET within {TELL_DEADLINE:.0f} s")
    finally:
        for fd in (reading, writing):
            if fd >= 0:
                os.close(fd)
        sock.close()


def _left(deadline: float) -> float:
    """Seconds; never 0, which to a socket means "do not wait at all", with another error."""
    return max(deadline - time.monotonic(), 0.001)
