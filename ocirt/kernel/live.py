"""The kernel as steps see it: every call of this package in one flat namespace, box.kernel.

In tests a recorder stands here instead (tests/support/recorder.py).
"""

# ruff: noqa: F403

from __future__ import annotations

from ocirt.kernel.creds import *
from ocirt.kernel.files import *
from ocirt.kernel.links import *
from ocirt.kernel.mounts import *
from ocirt.kernel.policy import *
from ocirt.kernel.processes import *
from ocirt.kernel.terminals import *
