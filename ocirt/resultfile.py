"""A file that gets the result of a long command: known to be possible before, and whole when it is there."""

from __future__ import annotations

from ocirt import system as os


class ResultFile:
    """path: absolute."""

    def __init__(self, path: str) -> None:
        self.path = path

    def check(self) -> None:
        """Whether it can be written, before there is anything to write.  Raises OSError."""
        os.close(self._open())
        os.unlink(self._temporary())

    def write(self, text: str) -> None:
        """Raises OSError; then what was there before is there still."""
        fd = self._open()
        try:
            data = text.encode()
            while data:
                data = data[os.write(fd, data) :]
            os.rename(self._temporary(), self.path)
        except OSError:
            os.unlink(self._temporary())
            raise
        finally:
            os.close(fd)

    def _open(self) -> int:
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | os.O_NOFOLLOW
        return os.open(self._temporary(), flags, 0o644)

    def _temporary(self) -> str:
        directory, name = os.path.split(self.path)
        return os.path.join(directory, f".{name}.{os.getpid()}")
