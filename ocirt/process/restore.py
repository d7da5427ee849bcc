"""restore: a container from the images of a checkpoint.  A cgroup, a process that becomes criu, and what it asks."""

from __future__ import annotations

import _signal  # type: ignore[import-not-found]  # the public module imports enum: 4 ms
import _socket

from ocirt import log
from ocirt import system as os
from ocirt.cgroups.layout import parse_own_cgroups
from ocirt.config import jsontext
from ocirt.container import Container, process_start
from ocirt.criu import wire
from ocirt.criu.mounts import at_restore
from ocirt.criu.request import CGROUP_MODES, DESCRIPTORS
from ocirt.criu.rpc import Conversation
from ocirt.errors import ConfigError, OcirtError
from ocirt.pipeline import CRIU, ENDING_SIGNALS, Undo, run
from ocirt.process.criu import EXTERNAL, YARD, outside_mounts
from ocirt.process.launch import Notes, launch
from ocirt.process.lifecycle import STANDARD, destroy, first_record, hand_over, new_box, run_hooks
from ocirt.process.making import recorded
from ocirt.stages.cgroup import directories_to_make
from ocirt.stages.criu import SOCKET

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from ocirt.box import Box
    from ocirt.cgroups import Manager
    from ocirt.config.views import Config
    from ocirt.host import Host
    from ocirt.pipeline import Plan
    from ocirt.process.criu import Directories
    from ocirt.process.lifecycle import Wishes

PLACE = "criu-root"  # in the container's directory: where criu finds the root file system
JOINABLE = {"ipc": "ipc", "uts": "uts", "user": "user", "time": "time"}  # in config.json -> CRIU's name


class Restore:
    """One restore, decided.  fields: of criu_opts, what the command line says.

    Raises OcirtError for images that are none, and namespaces that CRIU cannot join.
    """

    def __init__(
        self, config: Config, text: bytes, bundle: str, host: Host, directories: Directories, fields: dict[str, Any]
    ) -> None:
        self.config = config
        self._text = text
        self._bundle = bundle
        self._host = host
        self._directories = directories
        self.fields = {
            **directories.fields,
            **fields,
            "rst_sibling": True,  # the restored init becomes our child, not criu's
            "evasive_devices": True,
        }
        in_userns = any(namespace.type == "user" for namespace in (config.linux.namespaces if config.linux else ()))
        if fields.get("auto_dedup") and in_userns:
            raise OcirtError(
                "unsupported",
                "--auto-dedup has no effect on the images of a container in a user namespace",
                remedy="leave --auto-dedup out",
            )
        self._strict = fields["manage_cgroups_mode"] == CGROUP_MODES["strict"]
        if self._strict:  # CRIU would refuse the container's own cgroup, which we make
            self.fields["manage_cgroups_mode"] = CGROUP_MODES["full"]
        self._streams = inherited_streams(directories.images)
        self._joined = joined_namespaces(config)

    def make_container(self, root: str, container_id: str, plan: Plan, place: str, wishes: Wishes) -> Container:
        """Bring the container to life; its lock is still held.  Raises OcirtError; then nothing of it is left."""
        # Held back until launch() lets them in, inside the block that takes everything back.
        _signal.pthread_sigmask(_signal.SIG_BLOCK, ENDING_SIGNALS)
        record = first_record(self.config, self._bundle) | {"cgroup_wanted": directories_to_make(plan)}
        container = Container.make(root, container_id, record, self._text)
        container.known_config = self.config
        with Undo() as undo:
            undo.push(container.remove)
            os.mkdir(place, 0o700)
            os.mkdir(YARD, 0o700, dir_fd=container.dirfd)
            box = new_box(wishes.console)
            ours, theirs = _socket.socketpair(_socket.AF_UNIX, _socket.SOCK_SEQPACKET | _socket.SOCK_CLOEXEC)
            box.fds[SOCKET] = theirs.fileno()

            launch(plan, box, MakingForCriu(container, box))
            undo.replace(lambda: destroy(container))
            theirs.close()
            with Conversation(ours, box.pid) as conversation:
                self._converse(container, conversation, plan, box)
            log.phase("hand over what the caller asked for")
            os.rmdir(place)
            os.rmdir(YARD, dir_fd=container.dirfd)
            if self.config.hooks is not None and self.config.hooks.poststart:
                run_hooks(container, "poststart", self.config.hooks.poststart, "running")
            hand_over(wishes, container.pid, STANDARD)
            undo.finish()
        return container

    def _converse(self, container: Container, conversation: Conversation, plan: Plan, box: Box) -> None:
        if box.manager is not None:
            try:
                if self._strict:
                    require_new(box.manager)
                box.manager.join(box.pid)
            finally:
                box.manager.release()  # who holds its lock keeps destroy() out as well
        directory = os.readlink(f"/proc/self/fd/{container.dirfd}")
        fields = {
            **self.fields,
            **_shown_images(box, self.fields),
            "cgroup_yard": f"{directory}/{YARD}",
            "root": f"{directory}/{PLACE}",
            "external": at_restore(self._outside(container, box)),
            "inherit_fd": [*self._streams, *_inherited_namespaces(box)],
            "join_ns": self._joined,
            "cg_root": _cgroup_roots(box.pid) if box.manager is not None else [],
        }

        def notified(script: str, pid: int, fds: list[int]) -> None:
            if script in ("setup-namespaces", "post-restore"):
                box.pid = pid
                run((stage for stage in plan.part(CRIU) if stage.name == script), box)
                log.phase("wait for CRIU, which has its answer")
            if script == "orphan-pts-master" and fds and "console-socket" in box.fds:
                name = f"/dev/pts/{box.kernel.pty_number(fds[0])}"
                box.kernel.send_fd(box.fds["console-socket"], name.encode(), fds[0])
            elif script == "post-restore":
                container.record["pid"] = pid
                container.record["start_time"] = process_start(pid) or 0
                container.record["cgroup"] = box.manager.record() if box.manager is not None else None
                container.save()

        log.phase("wait for CRIU to restore the processes")
        try:
            conversation.perform(wire.RESTORE, fields, notified)
        except OcirtError as error:
            raise self._directories.explained(error) if error.code == "criu" else error from None

    def _outside(self, container: Container, box: Box) -> Any:
        cgroups = box.manager.paths if box.manager is not None else {}
        return outside_mounts(self.config, self._bundle, container.record["rootfs"], self._host, cgroups)


class MakingForCriu(Notes):
    """What was made before there is an init, which is criu's work: the process that is born becomes criu."""

    def __init__(self, container: Container, box: Box) -> None:
        self.container = container
        self.box = box

    def born(self) -> None:
        self.container.record["cgroup"] = recorded(self.box.manager)
        self.container.record["cgroup_wanted"] = []
        self.container.save()


def _shown_images(box: Box, fields: dict[str, Any]) -> dict[str, Any]:
    """Where criu reads, when it is not the directory itself, see stages/criu_images.py; it writes where it would."""
    if "images" not in box.fds:
        return {}
    return {"images_dir_fd": box.fds["images"], "work_dir_fd": fields.get("work_dir_fd", fields["images_dir_fd"])}


def require_new(manager: Manager) -> None:
    """Raises OcirtError("criu") when the container's cgroup was there before: what strict mode is for."""
    for path in manager.paths.values():
        if path not in manager.made:
            raise OcirtError(
                "criu",
                f"the cgroup {path} is there already, which --manage-cgroups-mode strict does not allow",
                remedy="remove it, or give another mode",
            )


def inherited_streams(images: str) -> list[dict[str, Any]]:
    """Ours for the container's: what was a pipe, or a file from outside, at checkpoint.  Raises OcirtError("criu")."""
    path = os.path.join(images, DESCRIPTORS)
    try:
        names = jsontext.parse(os.read_whole(path), DESCRIPTORS)
    except FileNotFoundError:
        raise OcirtError(
            "criu", f"no checkpoint in {images}: no {DESCRIPTORS}", remedy="--image-path names the directory"
        ) from None
    except ConfigError as error:
        raise OcirtError("criu", f"{path} is damaged: {error.what}") from None
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise OcirtError("criu", f"{path} is damaged: not a list of names")
    found: dict[str, int] = {}
    for fd, name in enumerate(names):
        if name.startswith(("pipe:", "file[")):
            found.setdefault(name, fd)
    return [{"key": name, "fd": fd} for name, fd in found.items()]


def _inherited_namespaces(box: Box) -> list[dict[str, Any]]:
    return [
        {"key": key, "fd": box.fds[f"namespace/{kind}"]}
        for kind, key in EXTERNAL.items()
        if f"namespace/{kind}" in box.fds
    ]


def joined_namespaces(config: Config) -> list[dict[str, str]]:
    """Those that CRIU can put the processes into by itself.  Raises OcirtError("unsupported")."""
    found = []
    for namespace in config.linux.namespaces if config.linux else ():
        if namespace.path is None or namespace.type in EXTERNAL:
            continue
        if namespace.type not in JOINABLE:
            raise OcirtError(
                "unsupported", f"CRIU cannot restore into an existing {namespace.type} namespace", at=namespace.at
            )
        found.append({"ns": JOINABLE[namespace.type], "ns_file": namespace.path})
    return found


def _cgroup_roots(pid: int) -> list[dict[str, str]]:
    """Where criu is now: what was the container's cgroup becomes this one."""
    own = parse_own_cgroups(os.read_text(f"/proc/{pid}/cgroup"))
    return [{"ctrl": controller, "path": path} for controller, path in own.items()]
