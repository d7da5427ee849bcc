"""linux.intelRdt on the tests' own resctrl file system, which ocirt takes for the kernel's.

It is a FUSE file system (tests/support/resctrl.py).  In the runtime's mount namespace a file that says resctrl of it
lies over the runtime's own /proc/PID/mountinfo: who can do that is root there.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.support.bundles import Bundle
from tests.support.resctrl import GROUPS, MASK, FakeResctrl, mounted
from tests.support.runtime import Runtime, poll, wait_for

pytestmark = pytest.mark.only_ocirt("this file system is no resctrl to runc, which asks statfs")

PAUSE = ("/bin/probe", "pause")
ALL = f"MB:0=100;1=100 L3:0={MASK};1={MASK}"


@pytest.fixture
def fake(place: object, tmp_path: Path) -> Iterator[FakeResctrl]:
    if not os.path.exists("/dev/fuse"):
        pytest.skip("the file system of these tests needs FUSE")
    with mounted(tmp_path / "resctrl") as fake:
        yield fake


@pytest.fixture
def there(runtime: Runtime, fake: FakeResctrl, tmp_path: Path) -> Runtime:
    """The runtime where the file system is mounted as the kernel's."""
    return runtime.after(
        f'[ -n "$APART" ] || {{ export APART=1; exec unshare -m --propagation private $0 "$@"; }}\n'
        f"sed 's/ - fuse resctrl / - resctrl resctrl /' /proc/self/mountinfo > {tmp_path}/mountinfo.$$\n"
        f"mount --bind {tmp_path}/mountinfo.$$ /proc/$$/mountinfo\n"
    )


def rdt(bundle: Bundle, **members: object) -> Bundle:
    bundle.linux["intelRdt"] = members
    return bundle.args(*PAUSE)


def schemata(fake: FakeResctrl, path: str) -> str:
    return " ".join(fake.files[f"{path}/schemata" if path else "schemata"].split())


def refused(runtime: Runtime, bundle: Bundle, fake: FakeResctrl, unchanged: Callable, says: str, at: str) -> str:
    """create must fail and leave groups and schemata as they were; the error's line."""
    bundle.save()
    before = fake.groups(), {path: text for path, text in fake.files.items() if path.endswith("schemata")}
    with unchanged():
        line = runtime.fails("create", "--bundle", str(bundle.path), bundle.id, says=says).last_line
    assert (fake.groups(), {path: text for path, text in fake.files.items() if path.endswith("schemata")}) == before
    assert f"[{at}]" in line
    return line


# -- the group -----------------------------------------------------------------------------------


def test_a_group_of_its_own(there: Runtime, fake: FakeResctrl, bundle: Bundle) -> None:
    """It has the container's ID, nothing is written to schemata, and it goes with the container."""
    there.create(rdt(bundle))
    assert fake.groups() == {bundle.id}
    assert fake.tasks(bundle.id) == [bundle.pid]
    assert fake.writes == [(f"{bundle.id}/tasks", str(bundle.pid))]
    there.start(bundle)
    assert there.status(bundle) == "running"
    there.stop(bundle)
    assert fake.groups() == set()


@pytest.mark.parametrize(
    ("members", "writes"),
    [
        ({"l3CacheSchema": "L3:0=f"}, ["L3:0=f\n"]),
        ({"memBwSchema": "MB:0=20"}, ["MB:0=20\n"]),
        ({"memBwSchema": "MB:0=20;1=70", "l3CacheSchema": "L3:0=7f0;1=1f"}, ["L3:0=7f0;1=1f\nMB:0=20;1=70\n"]),
        ({"schemata": ["MB:1=50", "L3:1=3"]}, ["MB:1=50\nL3:1=3\n"]),
        (
            {"schemata": ["L3:0=3"], "memBwSchema": "MB:0=20", "l3CacheSchema": "L3:0=f"},
            ["L3:0=f\nMB:0=20\n", "L3:0=3\n"],
        ),
    ],
)
def test_what_is_written(
    there: Runtime, fake: FakeResctrl, bundle: Bundle, members: dict[str, object], writes: list[str]
) -> None:
    """The cache first, then the bandwidth, the rest last: what is said of a domain last counts."""
    there.create(rdt(bundle, **members))
    assert fake.writes == [
        *((f"{bundle.id}/schemata", text) for text in writes),
        (f"{bundle.id}/tasks", str(bundle.pid)),
    ]
    there.stop(bundle)
    assert fake.groups() == set()


def test_a_named_group_is_made_and_stays(there: Runtime, fake: FakeResctrl, bundle: Bundle) -> None:
    there.create(rdt(bundle, closID="gold", l3CacheSchema="L3:0=f"))
    assert fake.tasks("gold") == [bundle.pid]
    assert schemata(fake, "gold") == f"MB:0=100;1=100 L3:0=f;1={MASK}"
    there.stop(bundle)
    assert fake.groups() == {"gold"}


def test_a_named_group_that_has_what_is_wanted(there: Runtime, fake: FakeResctrl, bundle: Bundle) -> None:
    """Zeros in front, the order of domains and the kernel's rounding are no difference."""
    (fake.point / "gold").mkdir()
    (fake.point / "gold/schemata").write_text("L3:0=f;1=3\nMB:0=25\n")
    there.create(rdt(bundle, closID="gold", l3CacheSchema="L3:1=03;0=00F", memBwSchema="MB:0=21"))
    assert fake.tasks("gold") == [bundle.pid]
    there.stop(bundle)
    assert fake.groups() == {"gold"}


@pytest.mark.parametrize(
    ("members", "says"),
    [
        ({"l3CacheSchema": "L3:0=7"}, 'differs from "L3:0=7": it has L3:0=f'),
        ({"l3CacheSchema": "L3:5=7"}, 'differs from "L3:5=7": it has no L3:5'),
        ({"l3CacheSchema": "L3:0=f", "memBwSchema": "MB:0=30"}, 'differs from "MB:0=30": it has MB:0=100'),
    ],
)
def test_a_named_group_that_has_something_else(
    there: Runtime, fake: FakeResctrl, bundle: Bundle, host_unchanged: Callable, members: dict[str, str], says: str
) -> None:
    (fake.point / "gold").mkdir()
    (fake.point / "gold/schemata").write_text("L3:0=f\n")
    fake.writes.clear()
    refused(
        there, rdt(bundle, closID="gold", **members), fake, host_unchanged, says, f"/linux/intelRdt/{list(members)[-1]}"
    )
    assert fake.writes == []


def test_a_group_of_this_id_is_compared_and_stays(
    there: Runtime, fake: FakeResctrl, bundle: Bundle, host_unchanged: Callable
) -> None:
    (fake.point / bundle.id).mkdir()
    wanted = rdt(bundle, l3CacheSchema="L3:0=f")
    refused(there, wanted, fake, host_unchanged, f"it has L3:0={MASK}", "/linux/intelRdt/l3CacheSchema")
    (fake.point / bundle.id / "schemata").write_text("L3:0=f\n")
    there.create(wanted)
    there.stop(bundle)
    assert fake.groups() == {bundle.id}


def test_a_prepared_group(there: Runtime, fake: FakeResctrl, bundle: Bundle) -> None:
    (fake.point / "gold").mkdir()
    there.create(rdt(bundle, closID="gold"))
    assert fake.writes == [("gold/tasks", str(bundle.pid))]
    there.stop(bundle)
    assert fake.groups() == {"gold"}


def test_a_group_that_nobody_prepared(
    there: Runtime, fake: FakeResctrl, bundle: Bundle, host_unchanged: Callable
) -> None:
    refused(there, rdt(bundle, closID="gold"), fake, host_unchanged, "gold does not exist", "/linux/intelRdt/closID")


def test_the_root_group(there: Runtime, fake: FakeResctrl, bundle: Bundle) -> None:
    there.create(rdt(bundle, closID="/", enableMonitoring=True))
    assert fake.groups() == {f"mon_groups/{bundle.id}"}
    assert (fake.tasks(""), fake.tasks(f"mon_groups/{bundle.id}")) == ([bundle.pid], [bundle.pid])
    there.stop(bundle)
    assert fake.groups() == set()


# -- monitoring ----------------------------------------------------------------------------------


@pytest.mark.parametrize("members", [{}, {"closID": "gold", "l3CacheSchema": "L3:0=f"}])
def test_monitoring(there: Runtime, fake: FakeResctrl, bundle: Bundle, members: dict[str, str]) -> None:
    there.create(rdt(bundle, enableMonitoring=True, **members))
    group = members.get("closID", bundle.id)
    assert fake.groups() == {group, f"{group}/mon_groups/{bundle.id}"}
    assert fake.tasks(f"{group}/mon_groups/{bundle.id}") == [bundle.pid]
    there.stop(bundle)
    assert fake.groups() == ({"gold"} if members else set())


def test_a_monitoring_group_that_is_there(
    there: Runtime, fake: FakeResctrl, bundle: Bundle, host_unchanged: Callable
) -> None:
    (fake.point / "mon_groups" / bundle.id).mkdir()
    wanted = rdt(bundle, closID="/", enableMonitoring=True)
    refused(there, wanted, fake, host_unchanged, "is there already", "/linux/intelRdt/enableMonitoring")


def test_a_monitoring_group_that_the_kernel_refuses(
    there: Runtime, fake: FakeResctrl, bundle: Bundle, host_unchanged: Callable
) -> None:
    for number in range(8):
        (fake.point / "mon_groups" / str(number)).mkdir()
    wanted = rdt(bundle, enableMonitoring=True)
    line = refused(there, wanted, fake, host_unchanged, "no space left", "/linux/intelRdt/enableMonitoring")
    assert "Out of RMIDs" in line


# -- what fails is taken back --------------------------------------------------------------------


def test_no_group_is_left(there: Runtime, fake: FakeResctrl, bundle: Bundle, host_unchanged: Callable) -> None:
    for number in range(GROUPS - 1):
        (fake.point / str(number)).mkdir()
    line = refused(there, rdt(bundle), fake, host_unchanged, "no space left", "/linux/intelRdt")
    assert "Out of CLOSIDs" in line


@pytest.mark.parametrize(
    ("name", "value", "says", "at"),
    [
        ("l3CacheSchema", "L3:0=5", "The mask 5 has non-consecutive 1-bits", "l3CacheSchema"),
        ("memBwSchema", "MB:0=5", "MB value 5 out of range", "memBwSchema"),
        ("schemata", ["L2:0=f"], "Unknown or unsupported resource name 'L2'", "schemata"),
    ],
)
def test_a_schema_that_the_kernel_refuses(
    there: Runtime,
    fake: FakeResctrl,
    bundle: Bundle,
    host_unchanged: Callable,
    name: str,
    value: object,
    says: str,
    at: str,
) -> None:
    """Its own words say why."""
    line = refused(
        there, rdt(bundle, **{name: value}), fake, host_unchanged, "invalid argument", f"/linux/intelRdt/{at}"
    )
    assert says in line


@pytest.mark.parametrize(
    "members",
    [
        {"enableMonitoring": True},
        {"closID": "new", "l3CacheSchema": "L3:0=f", "enableMonitoring": True},
        {"closID": "gold", "schemata": ["L3:0=f", "MB:0=20"]},
    ],
)
def test_a_hook_that_fails(
    there: Runtime, fake: FakeResctrl, bundle: Bundle, host_unchanged: Callable, members: dict[str, object]
) -> None:
    (fake.point / "gold").mkdir()
    (fake.point / "gold/schemata").write_text("L3:0=3\nMB:1=50\n")
    wanted = rdt(bundle, **members).hook("createRuntime", "/bin/false").save()
    before = fake.groups(), schemata(fake, "gold")
    with host_unchanged():
        there.fails("create", "--bundle", str(bundle.path), wanted.id, says="createRuntime")
    assert (fake.groups(), schemata(fake, "gold")) == before


@pytest.mark.parametrize("members", [{}, {"closID": "new", "l3CacheSchema": "L3:0=f"}])
def test_a_create_that_is_killed(
    there: Runtime, fake: FakeResctrl, bundle: Bundle, tmp_path: Path, members: dict[str, str]
) -> None:
    """`delete` finds what it made."""
    script = tmp_path / "hook"
    script.write_text(f"#!/bin/sh\necho > {tmp_path}/here\nexec sleep 1000\n")
    script.chmod(0o755)
    rdt(bundle, enableMonitoring=True, **members).hook("createRuntime", script).save()
    command = there.arguments("create", "--bundle", str(bundle.path), bundle.id)
    with subprocess.Popen(command, stdin=subprocess.DEVNULL, start_new_session=True) as process:
        poll((tmp_path / "here").exists, "the hook")
        assert len(fake.groups()) == 2
        os.killpg(process.pid, signal.SIGKILL)
    there.ok("delete", "--force", bundle.id)
    assert fake.groups() == set()


# -- exec, update, events ------------------------------------------------------------------------


def executed(runtime: Runtime, bundle: Bundle) -> int:
    """The pid of a process of exec that stays."""
    file = bundle.path / "exec.pid"
    runtime.ok("exec", "--detach", "--pid-file", str(file), bundle.id, *PAUSE)
    return int(file.read_bytes())


@pytest.mark.parametrize("monitoring", [False, True])
def test_exec_joins(there: Runtime, fake: FakeResctrl, bundle: Bundle, monitoring: bool) -> None:
    there.launch(rdt(bundle, enableMonitoring=monitoring))
    pid = executed(there, bundle)
    assert fake.tasks(bundle.id) == [bundle.pid, pid]
    if monitoring:
        assert fake.tasks(f"{bundle.id}/mon_groups/{bundle.id}") == [bundle.pid, pid]
    os.kill(pid, signal.SIGKILL)
    wait_for(pid)
    there.stop(bundle)
    assert fake.groups() == set()


def test_exec_when_the_group_is_gone(there: Runtime, fake: FakeResctrl, bundle: Bundle) -> None:
    there.launch(rdt(bundle))
    (fake.point / bundle.id).rmdir()
    result = there.ok("exec", bundle.id, "/bin/true")
    assert f"the resctrl group {fake.point}/{bundle.id} is gone" in result.err
    assert json.loads(there.ok("events", "--stats", bundle.id).out)["data"]["intel_rdt"] == {}
    there.stop(bundle)


def test_exec_when_only_the_monitoring_group_is_gone(there: Runtime, fake: FakeResctrl, bundle: Bundle) -> None:
    there.launch(rdt(bundle, enableMonitoring=True))
    (fake.point / bundle.id / "mon_groups" / bundle.id).rmdir()
    pid = executed(there, bundle)
    assert fake.tasks(bundle.id) == [bundle.pid, pid]
    os.kill(pid, signal.SIGKILL)
    wait_for(pid)
    there.stop(bundle)


def test_update(there: Runtime, fake: FakeResctrl, bundle: Bundle) -> None:
    there.launch(rdt(bundle, schemata=["L3:1=1"]))
    fake.writes.clear()
    there.ok("update", "--mem-bw-schema", "MB:0=30", "--l3-cache-schema", "L3:0=ff", bundle.id)
    assert fake.writes == [(f"{bundle.id}/schemata", "L3:0=ff\nMB:0=30\n")]
    there.ok("update", "--l3-cache-schema", "L3:0=7", bundle.id)
    assert schemata(fake, bundle.id) == "MB:0=30;1=100 L3:0=7;1=1"
    there.stop(bundle)


def test_an_update_that_fails_changes_nothing(there: Runtime, fake: FakeResctrl, bundle: Bundle) -> None:
    there.launch(rdt(bundle))
    there.fails("update", "--l3-cache-schema", "L3:0=5", bundle.id, says="The mask 5 has non-consecutive 1-bits")
    there.fails("update", "--l3-cache-schema", "L3:0=1", "--cpu-period", "1", bundle.id, says="cpu")
    assert schemata(fake, bundle.id) == ALL
    for words in (["--mem-bw-schema", "L3:0=1"], ["--l3-cache-schema", "L3:0=1\nL3:1=1"]):
        there.fails("update", *words, bundle.id, says="is not one line of its resource")
    there.stop(bundle)


def test_update_without_a_group(there: Runtime, fake: FakeResctrl, bundle: Bundle) -> None:
    there.launch(bundle.args(*PAUSE))
    says = "updating a non-existent Intel RDT configuration is not supported"
    there.fails("update", "--l3-cache-schema", "L3:0=1", bundle.id, says=says)
    fake.directories -= {"info/L3", "info/MB"}
    says = "Intel RDT/CAT: l3 cache schema is not enabled"
    there.fails("update", "--l3-cache-schema", "L3:0=1", bundle.id, says=says)
    says = "Intel RDT/MBA: memory bandwidth schema is not enabled"
    there.fails("update", "--mem-bw-schema", "MB:0=10", bundle.id, says=says)
    there.stop(bundle)
    assert fake.writes == []


def test_events(there: Runtime, fake: FakeResctrl, bundle: Bundle) -> None:
    there.launch(rdt(bundle, l3CacheSchema="L3:0=f", enableMonitoring=True))
    found = json.loads(there.ok("events", "--stats", bundle.id).out)["data"]["intel_rdt"]
    there.stop(bundle)
    assert found == {
        "l3_cache_info": {"cbm_mask": MASK, "min_cbm_bits": 1, "num_closids": GROUPS},
        "l3_cache_schema_root": f"L3:0={MASK};1={MASK}",
        "l3_cache_schema": f"L3:0=f;1={MASK}",
        "mem_bw_info": {"bandwidth_gran": 10, "delay_linear": 1, "min_bandwidth": 10, "num_closids": GROUPS},
        "mem_bw_schema_root": "MB:0=100;1=100",
        "mem_bw_schema": "MB:0=100;1=100",
        "schemata": ["MB:0=100;1=100", f"L3:0=f;1={MASK}"],
        "mbm_stats": [
            {"mbm_total_bytes": 2000, "mbm_local_bytes": 3000},
            {"mbm_total_bytes": 2001, "mbm_local_bytes": 0},
        ],
        "cmt_stats": [{"llc_occupancy": 1000}, {"llc_occupancy": 1001}],
    }


# -- what is not there ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("directory", "name", "value", "says"),
    [
        (
            "info/L3",
            "l3CacheSchema",
            "L3:0=f",
            "intelRdt.l3CacheSchema is specified in config, but Intel RDT/CAT is not",
        ),
        ("info/MB", "memBwSchema", "MB:0=20", "intelRdt.memBwSchema is specified in config, but Intel RDT/MBA is not"),
    ],
)
def test_a_resource_that_is_not_controlled(
    there: Runtime,
    fake: FakeResctrl,
    bundle: Bundle,
    host_unchanged: Callable,
    directory: str,
    name: str,
    value: str,
    says: str,
) -> None:
    fake.directories.remove(directory)
    refused(there, rdt(bundle, **{name: value}), fake, host_unchanged, says, f"/linux/intelRdt/{name}")


def test_not_mounted(runtime: Runtime, fake: FakeResctrl, bundle: Bundle, host_unchanged: Callable) -> None:
    """Without the false mountinfo there is none."""
    says = "intelRdt is specified in config, but Intel RDT is not enabled"
    refused(runtime, rdt(bundle), fake, host_unchanged, says, "/linux/intelRdt")
    assert fake.writes == []


def test_a_container_without_it_touches_nothing(there: Runtime, fake: FakeResctrl, bundle: Bundle) -> None:
    there.launch(bundle.args(*PAUSE))
    there.ok("exec", bundle.id, "/bin/true")
    there.stop(bundle)
    assert (fake.writes, fake.groups()) == ([], set())
