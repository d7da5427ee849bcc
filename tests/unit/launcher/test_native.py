"""The native launcher: what its image holds, what every start renews, and why a machine cannot build it."""

from __future__ import annotations

import json
import marshal
import shutil
import signal
import struct
import subprocess
import sys
from pathlib import Path

import pytest

from ocirt.config import jsontext
from ocirt.launcher import native, placement
from tests.support.jsontexts import texts

TREE = Path(__file__).resolve().parents[3]


def built(tmp_path: Path, source: str, places: bytes = placement.places({}, {}, {})) -> Path:
    """A native launcher whose image has executed this, with memory as placed; a start calls its main()."""
    try:
        native.require_toolchain()
    except native.NotHere as error:
        pytest.skip(f"{error}: `make test` installs it")
    boot = marshal.dumps((compile(source, "boot.py", "exec", dont_inherit=True), {}))
    native.build(places + boot, tmp_path / "launcher")
    return tmp_path / "launcher"


RENEWED = """
import _signal, _thread, posix, sys
made = sys.modules.copy(), {'at': posix.environ.copy()}
def main():
    ident = _thread.get_ident()
    lock = _thread.RLock()
    with lock:
        ours = '_thread.RLock object owner=%d count=1' % ident in repr(lock)
    ignored = [number for number in range(1, 65) if number != 9 and number != 19 and number not in (32, 33)
               and _signal.getsignal(number) == _signal.SIG_IGN]
    found = [made[1]['at'], {a.decode(): b.decode() for a, b in posix.environ.items()}, sys.argv[1:], ignored,
             _signal.getsignal(2) is _signal.default_int_handler, ours, made[0].keys() == sys.modules.keys()]
    posix.write(1, ascii(found).encode())
    posix._exit(0)
"""


def ignoring(*signals: int) -> None:
    """Before the execution of a program that a test starts."""
    for number in range(1, signal.NSIG):
        if number not in (signal.SIGKILL, signal.SIGSTOP, 32, 33):
            signal.signal(number, signal.SIG_IGN if number in signals else signal.SIG_DFL)


@pytest.mark.parametrize("ignored", [(), (signal.SIGHUP, signal.SIGINT, 64)])
def test_a_start_has_its_own_process_and_not_that_of_the_image(tmp_path: Path, ignored: tuple[int, ...]) -> None:
    command = [built(tmp_path, RENEWED), "a\udc80"]
    environment = {"HOME": "/x=y", "EMPTY": ""}
    ran = subprocess.run(
        command,
        env=environment,
        preexec_fn=lambda: ignoring(*ignored),
        check=True,
        capture_output=True,
        timeout=30,
    )
    always = {signal.SIGPIPE, signal.SIGXFSZ}  # by Python
    assert (
        ran.stdout.decode()
        == f"[{{}}, {environment!r}, ['a\\udc80'], {sorted(map(int, {*ignored, *always}))}, {not ignored}, True, True]"
    )


def test_an_image_has_nothing_of_the_signals_that_its_builder_ignores(tmp_path: Path) -> None:
    before = built(tmp_path, RENEWED).read_bytes()
    kept = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        assert built(tmp_path, RENEWED).read_bytes() == before
    finally:
        signal.signal(signal.SIGHUP, kept)


def test_a_start_raises_keyboard_interrupt(tmp_path: Path) -> None:
    source = """
import posix
def main():
    try:
        posix.kill(posix.getpid(), 2)
        while True: pass
    except KeyboardInterrupt:
        posix._exit(7)
"""
    command = [built(tmp_path, source)]
    assert subprocess.run(command, preexec_fn=ignoring, check=False, timeout=30).returncode == 7


def test_memory_of_the_image_grows_and_is_given_back(tmp_path: Path) -> None:
    source = """
import posix
kept = [bytes([number % 256]) * 1000 for number in range(5000)]
grows = bytearray(b'x' * 100000)
def main():
    global kept
    kept = kept * 2
    assert kept == [bytes([number % 256]) * 1000 for number in range(5000)] * 2
    kept = None
    grows.extend(b'y' * 3000000)
    more = [str(number) * 100 for number in range(20000)]
    assert grows[:100000] == b'x' * 100000 and grows[100000:] == b'y' * 3000000
    posix._exit(3 if more[12345] == '12345' * 100 else 4)
"""
    assert subprocess.run([built(tmp_path, source)], check=False, timeout=30).returncode == 3


def test_what_has_a_place_lies_there(tmp_path: Path) -> None:
    """The blocks 0 to 19 of owner 7, but for two: one is larger than its place, one has none."""
    source = """
import posix
from _ocirt import allocate_for
allocate_for(7)
kept = [bytes(size) for size in (1000,) * 20]
last = bytes(3000)
more = [bytes(1000) for _ in range(3)]
allocate_for(0)
def main():
    posix.write(1, ascii([*map(id, kept), id(last), *map(id, more)]).encode())
    posix._exit(0)
"""
    blocks = tuple(placement.Block(index, 1200, 1, 0) for index in range(100) if index != 7)
    places = placement.places({"x": placement.Owner("d", blocks)}, {"x": "d"}, {"x": 7})
    ran = subprocess.run([built(tmp_path, source, places)], check=True, capture_output=True, timeout=30)
    at = json.loads(ran.stdout)
    near = [address for address in at if 0 <= address - min(at) < 99 * (1200 + placement.HEADER)]
    assert {(address - min(near)) % (1200 + placement.HEADER) for address in near} == {0}
    assert len(near) == len(set(near)) == len(at) - 2
    assert at[20] not in near  # 3000 bytes


@pytest.mark.parametrize("sizes", [(1 << 20, 1 << 40, 0), (1 << 40, 0, 0), (1 << 20, 0, 1 << 21)])
def test_an_image_without_its_places_is_refused(tmp_path: Path, sizes: tuple[int, ...]) -> None:
    with pytest.raises(native.Fault):
        built(tmp_path, "", struct.pack("QQQ", *sizes))


def test_a_start_s_small_objects_lie_behind_the_image(tmp_path: Path) -> None:
    """Not in an arena that it has to ask the kernel for: until the first is full."""
    source = """
import posix
made = object()
def main():
    many = [object() for _ in range(100000)]
    posix.write(1, ascii([id(made), id(many[0]), id(many[-1])]).encode())
    posix._exit(0)
"""
    ran = subprocess.run([built(tmp_path, source)], check=True, capture_output=True, timeout=30)
    made, first, last = json.loads(ran.stdout)
    assert made < first < made + (8 << 20)
    assert last > 1 << 40


def test_objects_of_all_sizes_lie_together(tmp_path: Path) -> None:
    source = """
import posix
def main():
    many = [bytes(size) for size in range(8, 480, 8) for _ in range(2)]
    posix.write(1, ascii([*map(id, many)]).encode())
    posix._exit(0)
"""
    ran = subprocess.run([built(tmp_path, source)], check=True, capture_output=True, timeout=30)
    at = json.loads(ran.stdout)
    assert len(set(at)) == 118
    assert {address % 16 for address in at} == {0}
    assert max(at) - min(at) < 64 << 10  # Python's own: 16 KiB for each of 30 sizes


def test_small_objects_are_made_change_their_size_and_end(tmp_path: Path) -> None:
    """Of the image, of the start, and beyond the first MiB."""
    source = """
import posix
made = [bytearray(b'i') * (number % 600) for number in range(2000)]
def fill(number, size):
    return bytearray([number % 256]) * size
def main():
    seed, kept = 1, {}
    for number in range(200000):
        seed = seed * 1103515245 + 12345 & 0x7fffffff
        place, size, what = seed >> 8 & 0xfff, seed >> 12 & 0x3ff, seed >> 28
        if what < 3 or place not in kept:
            kept[place] = fill(place, size)
        elif what < 5:
            del kept[place][size:]
            kept[place] += fill(place, size // 2)
        else:
            del kept[place]
    for number, content in enumerate(made):
        content += fill(105, number % 700)  # b'i'
        del content[number % 300:]
    posix._exit(3 if len(kept) > 1000 and all(content == fill(place, len(content)) for place, content in kept.items())
                and all(content == fill(105, len(content)) for content in made) else 4)
"""
    assert subprocess.run([built(tmp_path, source)], check=False, timeout=30).returncode == 3


def test_an_image_that_holds_something_of_its_process_is_refused(tmp_path: Path) -> None:
    with pytest.raises(native.NotHere) as refused:
        built(tmp_path, "import posix\nprocess = posix.getpid()")
    assert str(refused.value) == "no two images of the interpreter are the same"
    assert not (tmp_path / "launcher").exists()


def test_an_image_that_fails_is_a_fault_of_ours(tmp_path: Path) -> None:
    """And no reason for another launcher, which would hide it."""
    with pytest.raises(native.Fault):
        built(tmp_path, "1 / 0")


def test_so_is_one_that_does_not_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(native, "IMAGE_DEADLINE", 0.5)
    with pytest.raises(native.Fault) as refused:
        built(tmp_path, "while True: pass")
    assert str(refused.value) == "what is executed before the image is kept has not ended in 0.5 s"


def test_the_core_is_completed_when_the_library_is_needed(tmp_path: Path) -> None:
    source = """
import _ocirt, posix, sys
def main():
    before = 'json' in sys.modules
    _ocirt.complete()
    import json
    posix.write(1, json.dumps([before, len(sys.path)]).encode())
    posix._exit(0)
"""
    ran = subprocess.run([built(tmp_path, source)], check=True, capture_output=True, timeout=30)
    assert json.loads(ran.stdout) == [False, 2]


@pytest.mark.parametrize("completed", [False, True])
def test_a_look_up_loads_no_library_of_the_machine(tmp_path: Path, completed: bool) -> None:
    """Which one there is (nsswitch.conf(5): systemd, resolve, mdns4) is the machine's; it would end the process."""
    source = f"""
import _io, _ocirt, _socket, grp, posix, pwd
def nobody(look_up, *what):
    try:
        look_up(*what)
    except (KeyError, OSError):
        return True
def main():
    found = [_socket.getaddrinfo(b'localhost', 80)[0][4][1], nobody(_socket.getaddrinfo, b'a..b', 80)]
    if {completed}:
        _ocirt.complete()
        found += [pwd.getpwuid(0).pw_name, nobody(pwd.getpwnam, 'no-user'), nobody(grp.getgrgid, 2**31)]
    mapped = _io.FileIO('/proc/self/maps').readall()
    posix._exit(3 if found == [80, True, 'root', True, True][:len(found)] and b'.so' not in mapped else 4)
"""
    assert subprocess.run([built(tmp_path, source)], check=False, timeout=30).returncode == 3


def test_its_core_reads_and_writes_json_as_a_whole_interpreter_does(tmp_path: Path) -> None:
    source = """
import _io, marshal, posix
from _ocirt import dump_json, scan_json
SPACE = ' \\t\\n\\r'
def read(text):
    try:
        value, end = scan_json(text, len(text) - len(text.lstrip(SPACE)), 384, lambda members: None)
    except ValueError:
        return 'refused'
    if text[end:].strip(SPACE):
        return 'refused'
    try:
        return repr((value, dump_json(value, -1), dump_json(value, 2)))
    except TypeError as error:
        return repr((value, str(error)))
def main():
    texts = marshal.loads(_io.FileIO(0).readall())
    _io.FileIO(1, 'w').write(marshal.dumps([*map(read, texts)]))
    posix._exit(0)
"""
    some = [*texts(10, 3000), f"[{'9' * 4300}]", f"[{'9' * 4301}]", "1e400"]
    ran = subprocess.run(
        [built(tmp_path, source)], input=marshal.dumps(some), check=True, capture_output=True, timeout=30
    )
    for text, found in zip(some, marshal.loads(ran.stdout), strict=True):
        assert found == read_by_json(text), text


def read_by_json(text: str) -> str:
    """Without what the standard library accepts beyond RFC 8259, and names given twice; and written again."""

    def members(pairs: list[tuple[str, object]]) -> dict[str, object]:
        if len(dict(pairs)) != len(pairs):
            raise ValueError
        return dict(pairs)

    def refuse(constant: str) -> None:
        raise ValueError

    try:
        value = json.loads(text, object_pairs_hook=members, parse_constant=refuse)
    except ValueError:
        return "refused"
    try:
        return repr((value, jsontext.portable_write(value, -1), jsontext.portable_write(value, 2)))
    except TypeError as error:  # 1e400 is infinite
        return repr((value, str(error)))


@pytest.mark.parametrize(
    ("compiler", "reason"),
    [
        ("/nowhere/cc", "no C compiler"),
        ("/bin/false", "the C compiler failed"),
        ("/bin/false -m64", "the C compiler failed"),
    ],
)
def test_without_a_compiler_that_works(tmp_path: Path, compiler: str, reason: str) -> None:
    """Status 3 has `make install` keep the portable launcher.  CC may hold options, as make has it."""
    shutil.copytree(TREE / "ocirt", tmp_path / "lib/ocirt")
    script = TREE / "ocirt/launcher/native.py"
    command = [sys.executable, "-I", script, tmp_path / "lib", tmp_path / "ocirt"]
    result = subprocess.run(command, env={"CC": compiler}, check=False, capture_output=True, text=True, timeout=30)
    assert (result.returncode, result.stderr) == (native.NOT_HERE, f"no native launcher: {reason}\n")
    assert not (tmp_path / "ocirt").exists()


@pytest.mark.parametrize("compiler", ["/nowhere/cc", "/bin/false"])
def test_an_install_that_must_have_it_writes_nothing_without(tmp_path: Path, compiler: str) -> None:
    command = ["make", "-s", "install", "NATIVE=yes", f"CC={compiler}", f"PREFIX={tmp_path}/made", "DESTDIR="]
    result = subprocess.run(command, cwd=TREE, check=False, capture_output=True, text=True, timeout=60)
    assert result.returncode == 2
    assert result.stderr.startswith("no native launcher: ")
    assert not (tmp_path / "made").exists()


# What the interpreter's beginning asks for, and memory.
HARMLESS = {
    "arch_prctl", "brk", "close", "execve", "exit_group", "getrandom", "gettid", "mmap", "mprotect", "prlimit64",
    "read", "readlink", "rseq", "rt_sigaction", "set_robust_list", "set_tid_address", "sysinfo", "write",
}  # fmt: skip
# Of the rehearsal: sockets that nothing is done with.
OF_THE_REHEARSAL = {"poll", "socket", "socketpair"}


def test_to_make_the_image_asks_nothing_of_the_machine(tmp_path: Path) -> None:
    """All commands are executed for it, on a kernel that does nothing: the real one is not asked, whoever builds."""
    interpreter, calls = tmp_path / "interpreter", tmp_path / "calls"
    native.compile_c(interpreter)
    boot = native.boot(TREE / "ocirt", "/usr/lib/ocirt", placement.PROFILE.read_text())
    traced = ["strace", "-f", "-o", calls, interpreter]
    made = subprocess.run(traced, env={"PATH": "/usr/bin"}, input=boot, stdout=subprocess.PIPE, check=True, timeout=120)
    assert len(made.stdout) > 1 << 20
    lines = [line.partition(" ")[2].strip() for line in calls.read_text().splitlines()]
    asked = [line for line in lines if line.partition("(")[0] not in HARMLESS | {"+++ exited with 0 +++"}]
    opened = [line for line in asked if line.startswith("openat(")]
    assert [line.split('"')[1] for line in opened] == ["/usr/share/zoneinfo/UTC0"]  # not this machine's zone
    assert {line.partition("(")[0] for line in asked if line not in opened} == OF_THE_REHEARSAL
    assert all("AF_UNIX" in line for line in asked if line.startswith("socket"))
