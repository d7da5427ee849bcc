"""A kernel call that fails, one at a time: each command succeeds, or is refused with a code, and leaves nothing.

The calls are those of a real run, in the runtime, the joiner and init; see faulty.py.
"""

from __future__ import annotations

import errno
import os
import zlib

import pytest

from tests.support.bundles import Bundle
from tests.support.faults import Event, Faulty
from tests.support.host import Place
from tests.support.remains import Remains
from tests.support.runtime import Runtime
from tests.support.scenarios import SCENARIOS, Scenario, rehearsed, sampled

pytestmark = pytest.mark.only_ocirt("the faults are in ocirt's own calls")
SAMPLE = 3  # calls of each scenario; OCIRT_TEST_FAULTS=all takes all
EVERY = os.environ.get("OCIRT_TEST_ERRNOS", "") == "all"
ERRNOS = (errno.ENOSYS, errno.EPERM, errno.ENOSPC, errno.EMFILE, errno.ENOMEM)
# Calls that can wait.  Not flock(2): its EAGAIN says that somebody else has the lock, and is at work there.
AGAIN = ("clone3", "posix_spawn", "connect", "sendmsg", "recvmsg", "poll", "waitpid", "fork")


def wanted(event: Event) -> tuple[int, ...]:
    """One errno for each call, another one for the next, or all; those that say "again" for what can wait."""
    own = ERRNOS[(event.number + zlib.crc32(event.name.encode())) % len(ERRNOS)]
    return (*(ERRNOS if EVERY else (own,)), *((errno.EAGAIN,) if event.name in AGAIN else ()))


def fail(command: Faulty, event: Event, number: int, remains: Remains, scenario: Scenario) -> list[str]:
    came, ended = command.fail(event, number)
    if not came:
        return []
    found = []
    try:
        ended.check()
    except AssertionError as error:
        found.append(str(error))
    if ended.code == "internal":
        found.append(f"a fault of ocirt's own: {ended}")
    if ended.status and scenario.creates:
        found += [f"left by the command: {line}" for line in remains.check()]
    return found


@pytest.mark.parametrize("scenario", SCENARIOS, ids=repr)
def test_fails(scenario: Scenario, place: Place, runtime: Runtime, bundle: Bundle) -> None:
    wrong: list[str] = []
    done = 0
    with rehearsed(scenario, place, runtime, bundle) as (remains, events):
        calls = [event for event in events if event.kind == "call"]
        for event in sampled(calls, SAMPLE):
            for number in wanted(event):
                scenario.prepare(runtime, bundle)
                found = fail(scenario.command(runtime, bundle), event, number, remains, scenario)
                found += remains.clean(again=bool(found))
                wrong += [f"{errno.errorcode[number]} at {event}: {line}" for line in dict.fromkeys(found)]
                done += 1
    print(f"failed: {scenario}: {done} times; it has {len(calls)} calls")
    assert not wrong, f"{len(wrong)} of {done}:\n" + "\n".join(wrong)
