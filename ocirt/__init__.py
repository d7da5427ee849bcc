"""ocirt: an OCI low-level container runtime.  Imports nothing: every command pays for it.

As a library (docs/library.md) it is Bundle, Container, Finding, OcirtError and PlannedStep, loaded when asked for.
"""

from __future__ import annotations

__version__ = "0.1.0"
OCI_VERSION = "1.3.0"

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ocirt.library import Bundle as Bundle
    from ocirt.library import Container as Container
    from ocirt.library import Finding as Finding
    from ocirt.library import OcirtError as OcirtError
    from ocirt.library import PlannedStep as PlannedStep
else:

    def __getattr__(name):
        if name in ("Bundle", "Container", "Finding", "OcirtError", "PlannedStep"):
            return getattr(__import__("ocirt.library", fromlist=("library",)), name)
        raise AttributeError(f"module 'ocirt' has no attribute {name!r}")
