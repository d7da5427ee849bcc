"""Network links: only the loopback; for more see rtnetlink.py.  And a network namespace that another process
makes."""

from __future__ import annotations

import sys
from _socket import AF_UNIX, SOCK_CLOEXEC, SOCK_DGRAM, socket
from _struct import Struct  # built in; the public module is a file
from fcntl import ioctl

from ocirt.errors import KernelError
from ocirt.kernel import flags as f

if "_ocirt" in sys.builtin_module_names:
    from _ocirt import begin_network as _begin_network  # type: ignore[import-not-found]  # part of the native launcher
    from _ocirt import end_network as _end_network
else:
    _begin_network = _end_network = None

_IFREQ = Struct("=16sH22x")


def loopback_up() -> None:
    """netdevice(7) SIOCSIFFLAGS: IFF_UP on lo of the current network namespace; the kernel adds 127.0.0.1 and ::1."""
    any_socket = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC)  # of whatever family: INET may be compiled out
    try:
        answer = ioctl(any_socket.fileno(), f.SIOCGIFFLAGS, _IFREQ.pack(b"lo", 0))
        _, up = _IFREQ.unpack(answer)
        if not up & f.IFF_UP:
            ioctl(any_socket.fileno(), f.SIOCSIFFLAGS, _IFREQ.pack(b"lo", up | f.IFF_UP))
    except OSError as error:
        raise KernelError(error.errno or 0, error.strerror or "", "ioctl", "SIOCSIFFLAGS lo") from None
    finally:
        any_socket.close()


def begin_network() -> int:
    """Let a process of its own, which shares our memory, make a network namespace whose loopback is up.

    Its pid, for end_network(), which must follow; 0 where that cannot be had: in the portable launcher, on another
    processor than x86-64, and where the kernel refuses one more process.
    """
    return max(_begin_network(), 0) if _begin_network is not None else 0


def end_network(maker: int) -> int:
    """Wait for begin_network()'s process; the namespace's descriptor, close-on-exec, or -1 when it has none."""
    fd: int = _end_network(maker)
    return max(fd, -1)
