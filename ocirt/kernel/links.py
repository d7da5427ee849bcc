"""Network links: only the loopback; for more see rtnetlink.py."""

from __future__ import annotations

from _socket import AF_UNIX, SOCK_CLOEXEC, SOCK_DGRAM, socket
from _struct import Struct  # built in; the public module is a file
from fcntl import ioctl

from ocirt.errors import KernelError
from ocirt.kernel import flags as f

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
