"""The options of checkpoint and restore, and what CRIU is told of them."""

from __future__ import annotations

from pathlib import Path

import pytest

from ocirt.commands import checkpoint, restore
from ocirt.criu import request
from ocirt.criu.request import CLONE_NEWNET, SHARED, check_parent, config_file, options_of, page_server
from ocirt.criu.wire import MESSAGES, encode
from ocirt.errors import UsageError
from ocirt.options import parse

ALWAYS = {
    "log_level": 4,
    "manage_cgroups": True,
    "manage_cgroups_mode": 3,
    "empty_ns": CLONE_NEWNET,
    "orphan_pts_master": True,
    "notify_scripts": True,
}


def of_checkpoint(*words: str) -> dict[str, object]:
    return options_of(parse(checkpoint.OPTIONS, [*words, "web"]))


def of_restore(*words: str) -> dict[str, object]:
    return options_of(parse(restore.OPTIONS, [*words, "web"]))


def test_without_options() -> None:
    assert of_checkpoint() == of_restore() == ALWAYS


@pytest.mark.parametrize(
    ("word", "field"),
    [
        ("--tcp-established", "tcp_established"),
        ("-tcp-established", "tcp_established"),
        ("--ext-unix-sk", "ext_unix_sk"),
        ("--shell-job", "shell_job"),
        ("--file-locks", "file_locks"),
        ("--auto-dedup", "auto_dedup"),
        ("--lazy-pages", "lazy_pages"),
    ],
)
def test_flags_of_both(word: str, field: str) -> None:
    assert of_checkpoint(word) == of_restore(word) == ALWAYS | {field: True}
    assert of_checkpoint(f"{word}=false") == ALWAYS


@pytest.mark.parametrize("name", ["leave-running", "tcp-skip-in-flight", "link-remap"])
def test_flags_of_checkpoint(name: str) -> None:
    assert of_checkpoint(f"--{name}") == ALWAYS | {name.replace("-", "_"): True}


def test_what_only_restore_has() -> None:
    words = ("--tcp-close", "--lsm-profile", "apparmor:web", "--lsm-mount-context=system_u:object_r:x:s0:c1,c2")
    assert of_restore(*words) == ALWAYS | {
        "tcp_close": True,
        "lsm_profile": "apparmor:web",
        "lsm_mount_context": "system_u:object_r:x:s0:c1,c2",
    }


@pytest.mark.parametrize(("mode", "number"), [("soft", 3), ("full", 4), ("strict", 5), ("ignore", 0)])
def test_cgroup_modes(mode: str, number: int) -> None:
    assert of_checkpoint("--manage-cgroups-mode", mode) == ALWAYS | {"manage_cgroups_mode": number}


@pytest.mark.parametrize(("method", "number"), [("iptables", 1), ("nftables", 2), ("skip", 3)])
def test_network_locks(method: str, number: int) -> None:
    parsed = parse(checkpoint.OPTIONS, ["--network-lock", method, "web"])
    assert options_of(parsed, may_use_iptables=False) == ALWAYS | {"network_lock": number}


def test_without_iptables_connections_are_held_by_nftables() -> None:
    assert options_of(parse(SHARED, []), may_use_iptables=False) == ALWAYS | {"network_lock": 2}


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--manage-cgroups-mode", "hard"], "invalid manage-cgroups-mode value"),
        (["--empty-ns", "network", "--empty-ns", "pid"], 'namespace "pid" is not supported'),
        (["--network-lock", "wire"], "unknown network lock method wire"),
    ],
)
def test_what_is_refused(words: list[str], says: str) -> None:
    with pytest.raises(UsageError) as caught:
        of_checkpoint(*words)
    assert caught.value.what == says


def test_every_field_can_be_said() -> None:
    for name in (*ALWAYS, *request.FLAGS, "network_lock"):
        assert name in MESSAGES["criu_opts"]
    assert encode("criu_opts", {"empty_ns": CLONE_NEWNET}) == bytes.fromhex("b00280808080 04".replace(" ", ""))


@pytest.mark.parametrize(
    ("text", "server"),
    [("", None), ("10.0.0.1:27", ("10.0.0.1", 27)), ("[::1]:65535", ("::1", 65535)), ("host:0", ("host", 0))],
)
def test_page_server(text: str, server: tuple[str, int] | None) -> None:
    assert page_server(text) == server


@pytest.mark.parametrize("text", ["host", ":27", "host:", "::1:27", "[]:1"])
def test_no_page_server(text: str) -> None:
    with pytest.raises(UsageError, match=r"^Use --page-server ADDRESS:PORT to specify page server$"):
        page_server(text)


@pytest.mark.parametrize("text", ["host:web", "host:65536", "host:-1", "host:²"])
def test_no_port(text: str) -> None:
    with pytest.raises(UsageError, match=r"^Invalid port number$"):
        page_server(text)


def test_parent_path(tmp_path: Path) -> None:
    (tmp_path / "parent").mkdir()
    (tmp_path / "file").touch()
    images = str(tmp_path / "images")
    (tmp_path / "images").mkdir()
    check_parent(images, "../parent")
    check_parent(f"{images}-to-be", "../parent")
    for parent, says in {
        "/parent": "--parent-path must be relative",
        "../none": f"invalid --parent-path: stat {images}/../none: no such file or directory",
        "../file": f"invalid --parent-path: {images}/../file: not a directory",
    }.items():
        with pytest.raises(UsageError) as caught:
            check_parent(images, parent)
        assert caught.value.what == says


def test_configuration_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ours, runcs = tmp_path / "ocirt.conf", tmp_path / "runc.conf"
    monkeypatch.setattr(request, "CONFIG_FILES", (str(ours), str(runcs)))
    assert config_file({}) == ""
    runcs.touch()
    assert config_file({}) == str(runcs)
    ours.touch()
    assert config_file({"org.criu.config": "/x"}) == "/x"
    assert config_file({"org.criu.config": ""}) == ""
    assert config_file({"other": "/x"}) == str(ours)
