"""SIGKILL for a command, or for the process it makes, at each of its steps and calls: nothing is lost, nothing is left.

After it `delete --force` succeeds, the host is as before the container, and its id can be used again.
"""

from __future__ import annotations

import pytest

from tests.support.bundles import Bundle
from tests.support.faults import Event, Faulty
from tests.support.host import Place
from tests.support.remains import Remains
from tests.support.runtime import Runtime
from tests.support.scenarios import SCENARIOS, Scenario, rehearsed, sampled

pytestmark = pytest.mark.only_ocirt("the faults are in ocirt's own steps")
SAMPLE = 2  # events of each scenario; OCIRT_TEST_FAULTS=all takes all


def wanted(events: list[Event]) -> list[Event]:
    """The steps and the few calls of a joiner; the calls of a command that has no steps."""
    steps = [event for event in events if event.kind == "step"]
    return [event for event in events if event in steps or event.role == "joiner"] if steps else events


def kill_command(command: Faulty, event: Event) -> list[str]:
    with command.paused(event) as paused:
        if paused is not None:
            paused.kill_command()
        elif event.kind == "step":  # how often a loop looks is not always the same
            return ["it did not come to this step"]
    return []


def kill_waiting(command: Faulty, event: Event, remains: Remains, creates: bool) -> list[str]:
    """Kill the joiner or init: the command says so, with a code, and leaves nothing if it was to make something."""
    with command.paused(event) as paused:
        if paused is None:
            return ["it did not come to this step"]
        ended = paused.kill_waiting()
    found = []
    if ended.status <= 0 or not ended.code or ended.code == "internal" or "Traceback" in ended.err:
        found.append(f"the command ended so: {ended}")
    if creates:
        found += [f"left by the command: {line}" for line in remains.check()]
    return found


@pytest.mark.parametrize("scenario", SCENARIOS, ids=repr)
def test_killed(scenario: Scenario, place: Place, runtime: Runtime, bundle: Bundle) -> None:
    wrong: list[str] = []
    done = 0
    with rehearsed(scenario, place, runtime, bundle) as (remains, events):
        chosen = wanted(events)
        for event in sampled(chosen, SAMPLE):
            for victim in dict.fromkeys(("command", event.role)):
                if victim == "runtime":
                    continue
                scenario.prepare(runtime, bundle)
                command = scenario.command(runtime, bundle)
                if victim == "command":
                    found = kill_command(command, event)
                else:
                    found = kill_waiting(command, event, remains, scenario.creates)
                found += remains.clean()
                wrong += [f"{victim} killed at {event}: {line}" for line in dict.fromkeys(found)]
                done += 1
    print(f"killed: {scenario}: {done} times; it has {len(chosen)} {chosen[0].kind}s")
    assert not wrong, f"{len(wrong)} of {done}:\n" + "\n".join(wrong)
