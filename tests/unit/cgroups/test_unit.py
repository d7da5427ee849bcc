"""Names of units, and where their cgroups are."""

from __future__ import annotations

import pytest

from ocirt.cgroups.unit import slice_and_unit, slice_path, unit_path, unit_properties
from ocirt.errors import ConfigError


@pytest.mark.parametrize(
    ("path", "user", "expected"),
    [
        (None, False, ("system.slice", "ocirt-web1.scope")),
        ("", False, ("system.slice", "ocirt-web1.scope")),
        (None, True, ("user.slice", "ocirt-web1.scope")),
        ("machine.slice:libpod:12ab", False, ("machine.slice", "libpod-12ab.scope")),
        (":docker:12ab", False, ("system.slice", "docker-12ab.scope")),
        (":docker:12ab", True, ("user.slice", "docker-12ab.scope")),
        ("-.slice:a:b", False, ("-.slice", "a-b.scope")),
        ("kubepods.slice::kubepods-pod1.slice", False, ("kubepods.slice", "kubepods-pod1.slice")),
        ("a.slice:x:b@c.d_e", False, ("a.slice", "x-b@c.d_e.scope")),
    ],
)
def test_names(path: str | None, user: bool, expected: tuple[str, str]) -> None:
    assert slice_and_unit(path, "web1", user) == expected


@pytest.mark.parametrize("path", ["/default/web1", "a.slice:b", "a.slice:b:c:d", "web1"])
def test_the_form_of_the_path(path: str) -> None:
    with pytest.raises(ConfigError) as caught:
        slice_and_unit(path, "web1", False)
    assert caught.value.what == (
        f'expected cgroupsPath to be of format "slice:prefix:name" for systemd cgroups, got "{path}" instead'
    )
    assert (caught.value.code, caught.value.at) == ("rule", "/linux/cgroupsPath")


@pytest.mark.parametrize(
    ("path", "says"),
    [
        ("a:b:c", "invalid slice name: a"),
        (".slice:b:c", "invalid slice name: .slice"),
        ("a--b.slice:b:c", "invalid slice name: a--b.slice"),
        ("-a.slice:b:c", "invalid slice name: -a.slice"),
        ("a/b.slice:b:c", "invalid slice name: a/b.slice"),
        ("a b.slice:b:c", "invalid slice name: a b.slice"),
        ("a.slice:b:../../c", "invalid unit name: b-../../c.scope"),
        ("a.slice:b/x:c", "invalid unit name: b/x-c.scope"),
        ("a.slice:b:c d", "invalid unit name: b-c d.scope"),
        ("a.slice:b:" + "c" * 250, "invalid unit name: b-" + "c" * 250 + ".scope"),
    ],
)
def test_names_that_systemd_does_not_know(path: str, says: str) -> None:
    with pytest.raises(ConfigError) as caught:
        slice_and_unit(path, "web1", False)
    assert (caught.value.what, caught.value.at) == (says, "/linux/cgroupsPath")


def test_an_id_that_is_no_unit_name() -> None:
    with pytest.raises(ConfigError, match=r"invalid unit name: ocirt-a\+b\.scope") as caught:
        slice_and_unit(None, "a+b", False)
    assert caught.value.at == ""


@pytest.mark.parametrize(
    ("slice_", "path"),
    [
        ("-.slice", ""),
        ("a.slice", "/a.slice"),
        ("a-b.slice", "/a.slice/a-b.slice"),
        ("a-b-c.slice", "/a.slice/a-b.slice/a-b-c.slice"),
    ],
)
def test_a_slice_is_inside_of_those_it_is_named_after(slice_: str, path: str) -> None:
    assert slice_path(slice_) == path


def test_where_units_are() -> None:
    assert unit_path("machine.slice", "libpod-1.scope") == "/machine.slice/libpod-1.scope"
    assert unit_path("-.slice", "a-b.scope") == "/a-b.scope"
    assert unit_path("kubepods.slice", "kubepods-pod1.slice") == "/kubepods.slice/kubepods-pod1.slice"


def test_what_every_scope_has() -> None:
    found = [
        (item.name, item.signature, item.value) for item in unit_properties("a.slice", "x-1.scope", "1", unified=True)
    ]
    assert found == [
        ("Description", "s", "libcontainer container 1"),
        ("Slice", "s", "a.slice"),
        ("Delegate", "b", True),
        ("DefaultDependencies", "b", False),
        ("MemoryAccounting", "b", True),
        ("CPUAccounting", "b", True),
        ("IOAccounting", "b", True),
        ("TasksAccounting", "b", True),
    ]


def test_a_slice_is_neither_delegated_nor_in_a_slice() -> None:
    found = [
        (item.name, item.signature, item.value) for item in unit_properties("a.slice", "a-b.slice", "1", unified=False)
    ]
    assert found == [
        ("Description", "s", "libcontainer container 1"),
        ("Wants", "as", ["a.slice"]),
        ("DefaultDependencies", "b", False),
        ("MemoryAccounting", "b", True),
        ("CPUAccounting", "b", True),
        ("BlockIOAccounting", "b", True),
        ("TasksAccounting", "b", True),
    ]
