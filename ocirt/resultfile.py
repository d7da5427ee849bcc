"""A file that gets the result of a long command: known to be possible before, and whole when it is there."""

from __future__ import annotations

from _stat import S_ISREG  # the public module is Python: 0.1 ms

from ocirt import system as os
from ocirt.errors import OcirtError


class ResultFile:
    """path: absolute.  It is written beside its place and renamed into it."""

    def __init__(self, path: str) -> None:
        self.path = path
        directory, name = os.path.split(path)
        # In /tmp others could have made a name that they can guess.
        self._temporary = os.path.join(directory, f".{name}.{os.urandom(6).hex()}")

    def exists(self) -> bool:
        """Raises OcirtError for what is no regular file: a device's name, or a link, must not become the result's."""
        try:
            status = os.lstat(self.path)
        except FileNotFoundError:
            return False
        if not S_ISREG(status.st_mode):
            raise OcirtError("usage", f"{self.path} is no regular file", remedy="name a file, or one that is to be")
        return True

    def check(self) -> None:
        """Whether it can be written, before there is anything to write.  Raises OSError, OcirtError."""
        self.exists()
        os.close(self._open())
        os.unlink(self._temporary)

    def write(self, text: str) -> None:
        """Raises OSError; then what was there before is there still."""
        fd = self._open()
        try:
            os.write_all(fd, text.encode())
            os.rename(self._temporary, self.path)
        except OSError:
            os.unlink(self._temporary)
            raise
        finally:
            os.close(fd)

    def _open(self) -> int:
        """O_EXCL: no file, link or FIFO of another's."""
        return os.open(self._temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644)
