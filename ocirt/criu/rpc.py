"""A conversation with `criu swrk`: one request, the notifications on the way, the answer.

 ocirt                                     criu swrk FD (SOCK_SEQPACKET, one message a packet)
 -------------------------------------     ------------------------------------------------------
 DUMP opts ---------------------------->   freezes the processes, writes the images
   may be undone        <------------------ NOTIFY pre-dump, network-lock, post-dump, ...
 NOTIFY success ----------------------->   goes on
                        <------------------ DUMP success, or DUMP cr_errno: the processes run again

 RESTORE opts ------------------------->   makes the processes
   network, hooks       <------------------ NOTIFY setup-namespaces pid
   console socket       <------------------ NOTIFY orphan-pts-master + the master (SCM_RIGHTS)
   record               <------------------ NOTIFY post-restore pid
                        <------------------ RESTORE pid; the processes run

When we close, criu takes back what is not complete.  It must be left to end by itself: killed, it would leave
processes with its own code injected into them.
"""

from __future__ import annotations

import _socket
import select
import sys

from ocirt import log
from ocirt import system as os
from ocirt.criu import wire
from ocirt.criu.criulog import error_lines
from ocirt.errors import OcirtError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

MAX_MESSAGE = 1 << 20  # bytes
OUTPUT_TAIL = 2048  # bytes
LOOK_FOR_SIGNALS = 500  # milliseconds
NAMES = {wire.DUMP: "dump", wire.PRE_DUMP: "pre-dump", wire.RESTORE: "restore"}


class CriuFailed(OcirtError):
    """CRIU says that it could not do it.  errno is what it gives as the reason, 0 when it gives none."""

    def __init__(self, request: str, errno: int, message: str = "") -> None:
        self.request = f"criu failed: {request}"
        said = "; ".join(error_lines(message)) or message.strip()
        super().__init__("criu", f"{self.request}: {said}" if said else self.request, errno=errno)


class Conversation:
    """sock: connected.  pid: of criu, our child.  output: memory file with what it prints, -1 for none."""

    def __init__(self, sock: _socket.socket, pid: int, output: int = -1) -> None:
        self._socket = sock
        self._pid = pid
        self._output = output

    def __enter__(self) -> Conversation:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Leave, and wait until criu has taken back what it had begun.  Repeatable.

        It may be stuck in a page server that does not answer: a signal ends the wait, and criu is left to itself.
        """
        self._socket.close()
        self.reap()
        if self._output >= 0:
            os.close(self._output)
            self._output = -1

    def reap(self) -> int:
        """Wait for criu's end; its wait status, 0 when it was reaped before."""
        if not self._pid:
            return 0
        status: int = os.waitpid(self._pid, 0)[1]
        self._pid = 0
        return status

    # -- requests --------------------------------------------------------------------------------

    def version(self) -> tuple[int, int]:
        found = self._ask(wire.VERSION)["version"]
        return found["major_number"], found["minor_number"]

    def features(self, *names: str) -> dict[str, bool]:
        """Which of "mem_track" and "lazy_pages" criu and this kernel have."""
        answer = self._ask(wire.FEATURE_CHECK, features=dict.fromkeys(names, True))
        return {name: bool(answer.get("features", {}).get(name)) for name in names}

    def perform(
        self, kind: int, opts: dict[str, Any], notified: Callable[[str, int, list[int]], None]
    ) -> dict[str, Any]:
        """DUMP, PRE_DUMP or RESTORE; the answer.  Raises CriuFailed, and what notified() raises.

        notified: called with the notification's name, a pid or 0, and the descriptors that came with it, which are
        closed afterwards.  When it raises, criu takes everything back.
        """
        self._send(wire.encode("criu_req", {"type": kind, "opts": opts}))
        while True:
            answer, fds = self._receive()
            try:
                if answer.get("type") != wire.NOTIFY or not answer.get("success"):
                    return self._checked(kind, answer)
                notify = answer.get("notify", {})
                log.debug(f"criu: {notify.get('script')}")
                notified(notify.get("script", ""), notify.get("pid", 0), fds)
            finally:
                for fd in fds:
                    os.close(fd)
            self._send(wire.encode("criu_req", {"type": wire.NOTIFY, "notify_success": True}))

    def _ask(self, kind: int, **fields: Any) -> dict[str, Any]:
        self._send(wire.encode("criu_req", {"type": kind, **fields}))
        return self._checked(kind, self._receive()[0])

    def _checked(self, kind: int, answer: dict[str, Any]) -> dict[str, Any]:
        request = NAMES.get(kind, str(kind))
        if not answer.get("success"):
            raise CriuFailed(request, answer.get("cr_errno", 0), answer.get("cr_errmsg", ""))
        if answer.get("type") != kind:
            raise OcirtError("criu", f"criu answered {answer.get('type')} to {request}")
        return answer

    # -- messages --------------------------------------------------------------------------------

    def _send(self, message: bytes) -> None:
        try:
            self._socket.send(message)
        except (BrokenPipeError, ConnectionResetError):
            raise self._ended() from None

    def _receive(self) -> tuple[dict[str, Any], list[int]]:
        """The next message and its descriptors, close-on-exec.

        A signal may come when Python has looked for signals and not begun to wait yet: so it looks again and again.
        """
        poll = select.poll()
        poll.register(self._socket.fileno(), select.POLLIN)
        while not poll.poll(LOOK_FOR_SIGNALS):
            pass
        try:
            data, ancillary, _, _ = self._socket.recvmsg(
                MAX_MESSAGE, _socket.CMSG_SPACE(4 * 4), _socket.MSG_CMSG_CLOEXEC
            )
        except ConnectionResetError:
            data, ancillary = b"", []
        fds = [
            int.from_bytes(packed[at : at + 4], sys.byteorder)
            for level, kind, packed in ancillary
            if (level, kind) == (_socket.SOL_SOCKET, _socket.SCM_RIGHTS)
            for at in range(0, len(packed), 4)
        ]
        if not data:
            raise self._ended()
        return wire.decode("criu_resp", data), fds

    def _ended(self) -> OcirtError:
        status = self.reap()
        how = f"signal {os.WTERMSIG(status)}" if os.WIFSIGNALED(status) else f"exit status {os.WEXITSTATUS(status)}"
        said = ""
        if self._output >= 0:
            size = os.fstat(self._output).st_size
            tail = os.pread(self._output, OUTPUT_TAIL, max(0, size - OUTPUT_TAIL))
            said = " ".join(tail.decode("utf-8", "replace").split())
        return OcirtError("criu", f"criu ended without an answer ({how})" + (f": {said}" if said else ""))
