"""A running `events`, read line by line."""

from __future__ import annotations

import json
import subprocess
from typing import Any

from tests.support.runtime import BOUND, Runtime


class Events:
    """A running `events`."""

    def __init__(self, runtime: Runtime, *args: str) -> None:
        self._process = subprocess.Popen(runtime.arguments("events", *args), stdout=subprocess.PIPE, text=True)

    def next(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        return json.loads(self._process.stdout.readline())  # type: ignore[no-any-return]

    def end(self) -> int:
        """It must end by itself."""
        try:
            self._process.communicate(timeout=BOUND)
        finally:
            self._process.kill()
        return self._process.returncode
