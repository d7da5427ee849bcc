"""The profile of what a container was seen to call: `run --seccomp-record`."""

from __future__ import annotations

from ocirt.config import jsontext
from ocirt.config.bundle import read_file
from ocirt.errors import OcirtError
from ocirt.kernel.notifications import CONTINUE
from ocirt.resultfile import ResultFile
from ocirt.seccomp.documents import read_profile
from ocirt.seccomp.reasons import abi_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from ocirt.kernel.notifications import Notification
    from ocirt.seccomp.architectures import Abi

ALLOWED = "SCMP_ACT_ALLOW"
MOST = 4096  # different calls; a machine has some 1300 in all its ABIs, and a program could make up 2**32 numbers


class Recorder:
    """Lets every call go on, and knows in the end which there were.

    path: the profile's; one that was recorded there before is added to.  Raises OcirtError for anything else there.
    """

    def __init__(self, path: str, native: Abi) -> None:
        self.path = path
        self._file = ResultFile(path)
        self.native = native
        self.architectures: set[str] = {native.name}
        self.names: set[str] = set()
        self._seen: set[tuple[int, int]] = set()
        if self._file.exists():
            self._add_to(path)

    def describe(self) -> str:
        return f"hear of every system call, and write the profile to {self.path}"

    def prepare(self) -> None:
        """What can fail, fails before there is a container.  Raises OSError, OcirtError."""
        self._file.check()

    def undo(self) -> None:
        """prepare() leaves nothing."""

    def descriptors(self) -> tuple[int, ...]:
        """Those that the watcher needs."""
        return ()

    def answer(self, call: Notification, listener: int) -> tuple[int, int]:
        """(errno, flags) for the call: it goes on."""
        if len(self._seen) < MOST:
            self._seen.add((call.token, call.number))
        return 0, CONTINUE

    def end(self) -> None:
        """Write the profile.  Raises OSError."""
        self._name_calls()
        self._file.write(jsontext.dump(self.profile(), 2) + "\n")

    def profile(self) -> dict[str, Any]:
        """linux.seccomp: these calls and no others, names sorted."""
        return {
            "defaultAction": "SCMP_ACT_ERRNO",
            "architectures": sorted(self.architectures, key=lambda name: (name != self.native.name, name)),
            "syscalls": [{"names": sorted(self.names), "action": ALLOWED}] if self.names else [],
        }

    def _name_calls(self) -> None:
        """A number without a name cannot be written: such a call does not exist, and has failed."""
        for token, number in self._seen:
            abi = abi_of(token, number)
            if abi is not None:
                named = [name for name, known in abi.numbers().items() if known == number]
                self.names.update(named[:1])
                self.architectures.add(abi.name)

    def _add_to(self, path: str) -> None:
        profile = read_profile(read_file(path, path), path)
        plain = profile.default_action == "SCMP_ACT_ERRNO" and profile.default_errno_ret in (None, 1)
        if not plain or any(rule.action != ALLOWED or rule.args for rule in profile.syscalls):
            raise OcirtError(
                "usage",
                f"{path} is no profile that was recorded: it says more than which calls are allowed",
                remedy="record into another file, and join the two by `ocirt seccomp merge`",
            )
        self.architectures.update(profile.architectures)
        self.names.update(name for rule in profile.syscalls for name in rule.names)
