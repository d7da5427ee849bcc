"""A profile recorded of a server lets it serve, and denies what it never asked for: nginx, and a program in Python.

The root file system is Debian's, made by debootstrap once and kept in OCIRT_TEST_CACHE.  The figures in docs/seccomp.md
are what `pytest -s` prints here.
"""

from __future__ import annotations

import http.client
import itertools
import json
import socket
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ocirt.config import schema
from tests.support.bundles import PATH, Bundle
from tests.support.debian import root_with
from tests.support.runtime import Runtime, poll

pytestmark = pytest.mark.only_ocirt("an option of its own")

PAGE = "served through the filter\n"
NGINX = """daemon off; error_log /run/web/error.log; pid /tmp/nginx.pid; worker_processes 2;
events {} http { access_log off; client_body_temp_path /tmp/a; proxy_temp_path /tmp/b; fastcgi_temp_path /tmp/c;
uwsgi_temp_path /tmp/d; scgi_temp_path /tmp/e; server { listen unix:/run/web/socket; root /tmp/pages; } }"""
PYTHON = """
import http.server, os, signal, socketserver
signal.signal(signal.SIGTERM, lambda *_: os._exit(0))
class Server(socketserver.UnixStreamServer):
    def get_request(self):
        return super().get_request()[0], ("local", 0)
class Handler(http.server.SimpleHTTPRequestHandler):
    def do_GET(self):
        if self.path == "/mkdir":
            try:
                os.mkdir("/tmp/made")
            except OSError as error:
                self.send_error(500, error.strerror)
                return
        super().do_GET()
os.chdir("/tmp/pages")
Server("/run/web/socket", Handler).serve_forever()
"""
REQUESTS = 200


@pytest.fixture(scope="module")
def servers_root() -> Path:
    return root_with("servers", "python3,nginx-light")


@pytest.fixture
def server(bundle: Bundle, servers_root: Path) -> Bundle:
    """A root that stays as it is; pages and the socket are on the host."""
    bundle.config["root"] = {"path": str(servers_root), "readonly": True}
    bundle.mount("/tmp", "tmpfs", "tmpfs", "mode=1777")
    bundle.mount("/run", "tmpfs", "tmpfs", "mode=755")
    (bundle.path / "web").mkdir()
    bundle.bind(bundle.path / "web", "/run/web")
    (bundle.path / "index.html").write_text(PAGE)
    (bundle.path / "nginx.conf").write_text(NGINX)
    (bundle.path / "server.py").write_text(PYTHON)
    for name, place in (
        ("index.html", "/tmp/pages/index.html"),
        ("nginx.conf", "/tmp/nginx.conf"),
        ("server.py", "/tmp/server.py"),
    ):
        bundle.bind(bundle.path / name, place)
    bundle.process["env"] = [PATH, "LC_ALL=C.UTF-8", "PYTHONDONTWRITEBYTECODE=1"]
    bundle.process["noNewPrivileges"] = True
    bundle.capabilities("CAP_CHOWN", "CAP_DAC_OVERRIDE", "CAP_FOWNER", "CAP_SETUID", "CAP_SETGID", "CAP_KILL")
    bundle.linux.pop("seccomp", None)
    return bundle


def nginx(bundle: Bundle) -> Bundle:
    return bundle.args("nginx", "-c", "/tmp/nginx.conf")


def python(bundle: Bundle) -> Bundle:
    return bundle.args("python3", "-u", "/tmp/server.py")


def get(bundle: Bundle, page: str = "/") -> tuple[int, str]:
    connection = http.client.HTTPConnection("localhost", timeout=20)
    connection.sock = socket.socket(socket.AF_UNIX)
    connection.sock.settimeout(20)
    connection.sock.connect(str(bundle.path / "web/socket"))
    try:
        connection.request("GET", page)
        answer = connection.getresponse()
        return answer.status, f"{answer.reason} {answer.read().decode()}"
    finally:
        connection.close()


def serves(bundle: Bundle) -> bool:
    try:
        return get(bundle) == (200, f"OK {PAGE}")
    except OSError:
        return False


def begin(runtime: Runtime, bundle: Bundle, *flags: str) -> None:
    """Until it answers."""
    for name in ("socket", "error.log"):
        (bundle.path / "web" / name).unlink(missing_ok=True)
    runtime.run_detached(bundle, *flags)
    poll(lambda: serves(bundle), "an answer", 30)


def end(runtime: Runtime, bundle: Bundle) -> None:
    runtime.ok("kill", bundle.id, "TERM")
    assert runtime.wait(bundle) == 0
    runtime.ok("delete", bundle.id)


def serve(runtime: Runtime, bundle: Bundle, *flags: str) -> tuple[float, float]:
    """Run it for some requests, one of them wrong, and end it as one ends it.

    Without the wrong one nginx would write no log: what is to be allowed must happen while it is recorded.
    Seconds to the first answer, and of the quickest one after it.
    """
    begun = time.monotonic()
    begin(runtime, bundle, *flags)
    first = time.monotonic() - begun
    times = [time.monotonic()]
    for _ in range(REQUESTS):
        assert serves(bundle)
        times.append(time.monotonic())
    each = min(after - before for before, after in itertools.pairwise(times))  # others use this machine too
    assert get(bundle, "/nonesuch")[0] == 404
    end(runtime, bundle)
    return first, each


def nginx_with_priority(server: Bundle) -> str:
    """It is told to lower its workers' priority, which it was not while it was recorded; what it says of that."""
    assert serves(server)
    return (server.path / "web/error.log").read_text()


def python_making_a_directory(server: Bundle) -> str:
    """It is asked for a page for which it makes a directory; what it says of that."""
    status, reason = get(server, "/mkdir")
    assert status == 500
    return reason


@pytest.mark.parametrize(
    ("kind", "adds", "does", "call"),
    [
        (nginx, "worker_priority 5;", nginx_with_priority, "setpriority"),
        (python, "", python_making_a_directory, "mkdir"),
    ],
)
def test_recorded_server(
    runtime: Runtime,
    server: Bundle,
    tmp_path: Path,
    kind: Callable[[Bundle], Bundle],
    adds: str,
    does: Callable[[Bundle], str],
    call: str,
) -> None:
    kind(server)
    path, why = tmp_path / "profile.json", tmp_path / "why.jsonl"
    figures = {"no filter": serve(runtime, server)}
    figures["recording"] = serve(runtime, server, "--seccomp-record", str(path))
    poll(path.exists, "the profile")
    profile: dict[str, Any] = json.loads(path.read_text())
    schema.validate(profile, "seccomp")
    (allowed,) = profile["syscalls"]
    assert allowed["names"] == sorted(allowed["names"])
    assert call not in allowed["names"]
    server.linux["seccomp"] = profile
    figures["recorded profile"] = serve(runtime, server)
    for what, (first, each) in figures.items():
        print(f"\n{kind.__name__}, {what}: first answer {first * 1000:.0f} ms, quickest {each * 1e6:.0f} us", end="")
    print(f"\n{kind.__name__}: {len(allowed['names'])} calls, {path.stat().st_size} bytes")
    (server.path / "nginx.conf").write_text(adds + NGINX)
    for flags in ((), ("--seccomp-explain", str(why))):
        begin(runtime, server, *flags)
        assert "Operation not permitted" in does(server)
        end(runtime, server)
    lines = [json.loads(line) for line in why.read_text().splitlines()]
    assert {(line["syscall"], line["rule"]) for line in lines} == {(call, "/linux/seccomp/defaultAction")}
