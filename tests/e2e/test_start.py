"""start: only from `created`; errors say which status it was."""

from __future__ import annotations

import pytest

from tests.support.bundles import Bundle
from tests.support.runtime import Runtime


def test_runs_the_payload_once(runtime: Runtime, bundle: Bundle) -> None:
    created = runtime.launch(bundle.script("echo once; sleep 1000"))
    assert runtime.status(bundle) == "running"
    runtime.fails("start", bundle.id, says="cannot start an already running container")
    assert runtime.status(bundle) == "running"
    runtime.stop(bundle)
    assert created.out == "once\n"


def test_stopped(runtime: Runtime, bundle: Bundle) -> None:
    created = runtime.launch(bundle.script("echo once"))
    runtime.wait(bundle)
    runtime.fails("start", bundle.id, says="cannot start a container that has stopped")
    assert created.out == "once\n"
    runtime.ok("delete", bundle.id)


def test_unknown(runtime: Runtime) -> None:
    runtime.fails("start", "none", says="container does not exist")


@pytest.mark.parametrize("args", [(), ("one", "two")])
@pytest.mark.differs(crun="argp's words and code")
def test_number_of_arguments(runtime: Runtime, args: tuple[str, ...]) -> None:
    runtime.fails("start", *args, says='"start" requires exactly 1 argument(s)')


def test_paused(runtime: Runtime, bundle: Bundle) -> None:
    runtime.launch(bundle.script("sleep 1000"))
    runtime.ok("pause", bundle.id)
    runtime.fails("start", bundle.id, says="cannot start a")
    runtime.ok("resume", bundle.id)
    runtime.stop(bundle)


@pytest.mark.only_ocirt("runc and crun report success: they do not wait for execve")
def test_execve_error_is_the_errors_of_start(runtime: Runtime, bundle: Bundle) -> None:
    (bundle.root / "bin/rubbish").write_bytes(b"\x7fELF rubbish")
    (bundle.root / "bin/rubbish").chmod(0o755)
    runtime.create(bundle.args("/bin/rubbish"))
    runtime.fails("start", bundle.id, says="exec format error")
    runtime.ok("delete", "--force", bundle.id)


def test_missing_interpreter(runtime: Runtime, bundle: Bundle) -> None:
    (bundle.root / "bin/script").write_text("#!/no/such/interpreter\n")
    (bundle.root / "bin/script").chmod(0o755)
    result = runtime.run(bundle.args("/bin/script"))
    assert result.code in ((1,) if runtime.name != "runc" else (1, 2, 255)), result
    assert "no such file or directory" in result.err.lower()
