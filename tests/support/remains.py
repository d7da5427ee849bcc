"""What a command left behind that was killed or failed, and whether delete takes it away."""

from __future__ import annotations

from tests.support.bundles import Bundle
from tests.support.faults import delete
from tests.support.host import Place, Snapshot, settled_differences
from tests.support.runtime import Runtime


class Remains:
    """What must not be there after a command was killed, or failed."""

    def __init__(self, place: Place, runtime: Runtime, bundle: Bundle) -> None:
        self.place = place
        self.runtime = runtime
        self.bundle = bundle
        self.before = self.snapshot()

    def snapshot(self) -> Snapshot:
        files = frozenset(path.name for path in self.bundle.path.iterdir() if not path.name.endswith(".pid"))
        return {**self.place.snapshot(self.runtime.root), "bundle": files}

    def check(self) -> list[str]:
        return settled_differences(self.before, self.snapshot)

    def clean(self, again: bool = True) -> list[str]:
        """What is wrong after `delete --force`, and, if again, after a second container of the same id."""
        found = []
        for attempt in ("the first one", "the next one")[: 1 + again]:
            said = delete(self.runtime, self.bundle.id)
            if said:
                found.append(f"{attempt}: {said}")
            found += [f"{attempt}: {line}" for line in self.check()]
            if again and attempt == "the first one":
                created = self.runtime.call("create", "--bundle", str(self.bundle.path), self.bundle.id)
                if created.code:
                    found.append(f"create again: {created}")
        return found
