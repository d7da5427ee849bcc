"""Limits and the OOM score, from the runtime's side."""

from __future__ import annotations

from ocirt.config.checks_process import RLIMITS
from ocirt.config.views import Process
from ocirt.stages.ask import Ask
from ocirt.stages.limits import RESOURCES, oom_score_adj, rlimits, rlimits_when_asked
from tests.support.recorder import recorded_box


def test_every_type_the_rules_accept_has_a_number() -> None:
    assert sorted(RESOURCES) == sorted(RLIMITS)


def test_limits_are_set_on_init_by_number() -> None:
    limits = [
        {"type": "RLIMIT_NOFILE", "soft": 1024, "hard": 2**64 - 1},
        {"type": "RLIMIT_RTTIME", "soft": 0, "hard": 0},
    ]
    process = Process({"rlimits": limits}, "/process")
    steps = list(rlimits_when_asked(process, in_userns=True))
    assert [step.describe() for step in rlimits(process, in_userns=False)] == [step.describe() for step in steps]
    (ask,) = rlimits(process, in_userns=True)
    assert isinstance(ask, Ask)
    assert list(rlimits_when_asked(process, in_userns=False)) == []
    box, kernel = recorded_box()
    box.pid = 77
    for step in steps:
        step.apply(box)
    assert kernel.calls == [("prlimit", 77, 7, 1024, 2**64 - 1), ("prlimit", 77, 15, 0, 0)]
    assert [step.at for step in steps] == ["/process/rlimits/0", "/process/rlimits/1"]
    assert steps[0].describe() == "set RLIMIT_NOFILE to 1024, at most unlimited"


def test_the_score_is_written_through_the_hosts_proc() -> None:
    (step,) = oom_score_adj(Process({"oomScoreAdj": -5}, "/process"))
    box, kernel = recorded_box()
    box.pid = 77
    step.apply(box)
    assert (kernel.calls, step.at) == ([("write_file", 1001, "77/oom_score_adj", b"-5")], "/process/oomScoreAdj")


def test_the_score_of_the_parent_is_inherited() -> None:
    (step,) = oom_score_adj(Process({"oomScoreAdj": 5}, "/process"))
    box, kernel = recorded_box()
    step.apply(box)
    assert kernel.calls == [("write_file", 1001, "self/oom_score_adj", b"5")]


def test_zero_is_a_score_and_absent_is_none() -> None:
    assert len(list(oom_score_adj(Process({"oomScoreAdj": 0}, "/process")))) == 1
    assert list(oom_score_adj(Process({}, "/process"))) == []
    assert list(oom_score_adj(None)) == list(rlimits(None, in_userns=False)) == []
