"""The end of `run --cap-audit FILE`: what the container's processes have asked for, as JSON."""

from __future__ import annotations

from ocirt import log
from ocirt.config import jsontext
from ocirt.resultfile import ResultFile
from ocirt.stages.cap_audit import Audit


class AuditReport:
    """path: absolute.  audit: for the plan."""

    def __init__(self, path: str) -> None:
        """Raises OSError, OcirtError when nothing could be written there."""
        self.audit = Audit()
        self._file = ResultFile(path)
        self._file.check()

    def write(self) -> None:
        """What cannot be written is a warning: the program has run."""
        try:
            self._file.write(jsontext.dump(self.audit.result(), 2) + "\n")
        except OSError as error:
            log.warning(f"the capabilities that were asked for are not written: {error}")
        self.audit.close()
