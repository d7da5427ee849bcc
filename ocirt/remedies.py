"""What to do about a failure: one sentence, looked up by stage, system call and errno.  Loaded only on failure.

A sentence says what to change, in the words of config.json or of the shell.  It must not contain a phrase
by which an engine tells errors apart ("permission denied", "no such file or directory" and their like):
it ends up in the same line.  docs/errors.md is generated from RULES.
"""

from __future__ import annotations

import errno

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ocirt.errors import OcirtError

OS = "os"  # as a call: one of Python's os.*, which do not say which call failed
MOUNT = "mount fsopen fsconfig fsmount move_mount"
EXEC = "execve execveat"
RANGES = "give yourself ranges: usermod --add-subuids 100000-165535 --add-subgids 100000-165535 USER, as root"


class Rule:
    """stages, calls: names with a blank between, "" for any; as a stage also the error's code.  errnos: "" for none.

    word: must occur in what, step, detail or at.  says: the remedy.  Of the rules that fit the first one counts.
    """

    __slots__ = ("stages", "calls", "errnos", "word", "says")

    def __init__(self, stages: str, calls: str, errnos: str, word: str, says: str) -> None:
        self.stages = stages.split()
        self.calls = calls.split()
        self.errnos = [getattr(errno, name) for name in errnos.split()]
        self.word = word
        self.says = says

    def fits(self, error: OcirtError) -> bool:
        return (
            error.errno in (self.errnos or (0,))
            and (not self.stages or error.stage in self.stages or error.code in self.stages)
            and (not self.calls or (error.call or OS) in self.calls)
            and any(self.word in text for text in (error.what, error.step, error.detail, error.at))
        )


# A table: where and what on one line, then the sentence.
# fmt: off
RULES = (
    # namespaces and id maps
    Rule("", "clone3 unshare", "ENOSPC", "",
         "a namespace limit is reached: raise the user.max_*_namespaces sysctls, or nest fewer user namespaces"),
    Rule("", "clone3 unshare", "EPERM", "",
         "run as root, or add a user namespace to linux.namespaces and see that the host allows it to users"
         " (kernel.unprivileged_userns_clone=1, kernel.apparmor_restrict_unprivileged_userns=0)"),
    Rule("", "clone3", "ENOSYS", "",
         "needs Linux 5.3; inside another container its seccomp profile may hide clone3: update that engine"),
    Rule("", "clone3 fork", "EAGAIN", "",
         "a limit on processes is reached: see ulimit -u and pids.max of the cgroup"),
    Rule("", "clone3", "EBUSY", "",
         "the cgroup delegates controllers to children (v2): choose a leaf in cgroupsPath"),
    Rule("", "clone3", "EOPNOTSUPP", "",
         "the cgroup is of the threaded or an invalid type: choose another cgroupsPath"),
    Rule("", "clone3 unshare", "EINVAL", "",
         "this kernel lacks one of the namespaces: see CONFIG_*_NS and ls /proc/self/ns"),
    Rule("", "setns", "EINVAL", "",
         "linux.namespaces[].path must be a namespace of the type the entry names"),
    Rule("", "setns", "EPERM", "",
         "joining a namespace needs CAP_SYS_ADMIN in the user namespace that owns it"),
    Rule("", "setns", "ESRCH", "",
         "the process whose namespace was to be joined has ended"),
    Rule("namespaces", "os open openat", "ENOENT", "/ns/",
         "the process or file that held the namespace is gone: correct linux.namespaces[].path"),
    Rule("namespaces", "os open write", "EPERM", "id_map",
         "the ids must be mapped here, or your own: see /proc/self/uid_map, and whether the host lets users have user"
         " namespaces (kernel.apparmor_restrict_unprivileged_userns=0)"),
    Rule("namespaces", "os", "EACCES", "find the namespaces of init",
         "init hides from all but the host's root until it executes the program: start the container first"),
    Rule("namespaces", "os open write", "EINVAL", "id_map",
         "linux.uidMappings and gidMappings must have at most 340 entries that do not overlap"),
    Rule("namespaces", "", "", "not allowed",
         f"a host id is not in your ranges of /etc/subuid or /etc/subgid: correct the mapping, or {RANGES}"),
    Rule("namespaces", "", "", "error running newuidmap",
         "newuidmap must be setuid root or have cap_setuid, and no file system on the way nosuid"),
    Rule("namespaces", "", "", "error running newgidmap",
         "newgidmap must be setuid root or have cap_setgid, and no file system on the way nosuid"),
    # rootfs and mounts
    Rule("mounts", MOUNT, "EPERM EACCES", "mount proc",
         'a new proc needs a pid namespace of the same user namespace: add {"type": "pid"} to linux.namespaces'
         " and see that the host's /proc has nothing mounted over parts of it"),
    Rule("mounts", MOUNT, "EPERM EACCES", "mount sysfs",
         'a new sysfs needs a network namespace of the same user namespace: add {"type": "network"}, or bind /sys'),
    Rule("mounts", MOUNT, "EPERM EACCES", "mount mqueue",
         'a new mqueue needs an ipc namespace of the same user namespace: add {"type": "ipc"} to linux.namespaces'),
    Rule("mounts", MOUNT, "EPERM EACCES", "mount cgroup",
         'a new cgroup2 mount needs a cgroup namespace of the same user namespace: add {"type": "cgroup"}'),
    Rule("mounts", MOUNT, "ENODEV", "",
         "this kernel does not know the mount's type: see /proc/filesystems"),
    Rule("mounts", MOUNT, "ENOTBLK", "",
         "this type of mount needs a block device as its source"),
    Rule("mounts", "mount move_mount", "ENOTDIR", "",
         "source and destination must both be directories or both be files"),
    Rule("mounts", "mount fsconfig", "EINVAL", "",
         "the file system refuses an option: see its man page for those it takes, and dmesg for the one it means"),
    Rule("mounts finish rootfs", "mount mount_setattr", "EPERM", "",
         "the mount's flags are locked by the user namespace it came from: keep nosuid, nodev, noexec, ro as they"
         " are (findmnt shows them)"),
    Rule("sources", "mount_setattr", "EINVAL", "cannot map the ids",
         "use a source on ext4, xfs, btrfs or, since Linux 6.3, tmpfs (mount_setattr(2) lists more; findmnt -R shows"
         " what it is on), or idmap in place of ridmap"),
    Rule("sources", "mount_setattr", "EPERM", "cannot map the ids",
         "name a source that is not id-mapped, and run ocirt with CAP_SYS_ADMIN in the user namespace that its file"
         " system was mounted in; a user namespace that is joined must not be the host's"),
    Rule("sources", "open_tree", "EPERM", "map its owners",
         "id-mapped mounts need CAP_SYS_ADMIN on the host"),
    Rule("", "mount_setattr open_tree move_mount", "ENOSYS", "",
         "needs Linux 5.12, or 5.2 without id-mapping"),
    Rule("sources", "os open open_tree openat", "ENOENT", "",
         "a bind mount's source must exist on the host: create it or correct mounts[].source"),
    Rule("sources rootfs", "os open openat open_tree", "EACCES", "",
         "each directory on the way must be searchable (x) for who runs ocirt: see namei -l on the path"),
    Rule("rootfs", "", "ENOENT ENOTDIR", "",
         "root.path must name a directory, relative to the bundle"),
    Rule("mounts devices rootfs finish", "openat openat2", "ELOOP", "",
         "a symbolic link of the image stands in the way: remove it from the rootfs or name its target"),
    Rule("", "openat2", "ENOSYS", "",
         "needs Linux 5.6; inside another container its seccomp profile may hide openat2"),
    Rule("mounts devices rootfs", "mkdirat mknodat openat openat2 symlinkat", "EROFS", "",
         "the mount point is missing and the file system is read-only: create it in the image"),
    Rule("devices", "mknodat mknod", "EPERM", "",
         "making device nodes needs CAP_MKNOD on the host: without it leave out linux.devices, the defaults are"
         " bound"),
    Rule("devices", "open_tree", "ENOENT", "",
         "in a user namespace nodes are bound from the host: it must have a node of this path"),
    Rule("pivot_root", "pivot_root", "EINVAL", "",
         "the root of the mount tree is an initramfs or the rootfs is no mount of its own: use --no-pivot"),
    Rule("pivot_root", "pivot_root", "EBUSY", "",
         "root.path must not be the host's own root directory"),
    # network devices
    Rule("network", "RTM_NEWADDR", "EACCES", "",
         "IPv6 is off in the container's network namespace (net.ipv6.conf.default.disable_ipv6): switch it on, or take"
         " the device's IPv6 addresses away first"),
    Rule("network", "RTM_NEWLINK", "EINVAL", "",
         "the kernel keeps this device in its namespace (ip -details link shows netns-immutable), or it is older than"
         " Linux 5.13"),
    # cgroups and limits
    Rule("cgroup", "", "EACCES EPERM EROFS", "",
         "the cgroup is not yours to write: run as root, or have it delegated (systemd-run --user --scope -p"
         " Delegate=yes)"),
    Rule("cgroup", "", "ENOSPC", "",
         "cpuset.cpus or cpuset.mems of a parent is empty, or no more cgroups are allowed (cgroup.max.descendants)"),
    Rule("cgroup", "", "EBUSY", "",
         "a cgroup has processes or children: a v2 parent of cgroupsPath must have no processes of its own"),
    Rule("cgroup", "", "EOPNOTSUPP", "",
         "the cgroup is threaded: choose a cgroupsPath outside the threaded subtree"),
    Rule("cgroup", "", "ENOENT", "",
         "the controller is not enabled: add it to cgroup.subtree_control of each parent (v2), or mount it (v1)"),
    Rule("cgroup", "", "ENODEV", "",
         "a device number of linux.resources.blockIO is not a whole disk: see lsblk"),
    Rule("cgroup", "write os", "EINVAL", "",
         "the kernel refuses the value: its range may depend on the parent's"),
    Rule("", "bpf", "EPERM", "",
         "device rules on cgroup v2 need CAP_BPF or CAP_SYS_ADMIN on the host"),
    Rule("", "prlimit setrlimit", "EPERM", "",
         "raising a hard limit needs CAP_SYS_RESOURCE: lower process.rlimits[].hard to the one ocirt runs under"),
    Rule("limits", "", "EACCES EPERM", "oom_score_adj",
         "lowering oom_score_adj needs CAP_SYS_RESOURCE: raise process.oomScoreAdj to the one ocirt runs under"),
    # identity and the kernel's policies
    Rule("", "setgroups", "EPERM", "",
         "setgroups is denied in a user namespace mapped without privileges: leave out"
         " process.user.additionalGids or use newgidmap"),
    Rule("", "setresuid setresgid setgroups", "EINVAL", "",
         "process.user holds an id without a mapping: add it to linux.uidMappings or gidMappings"),
    Rule("", "capset", "EPERM", "",
         "a capability that ocirt itself lacks cannot be given: compare with grep Cap /proc/self/status"),
    Rule("", "keyctl", "EDQUOT", "",
         "the user's kernel keyrings are used up, no disk is: raise kernel.keys.maxkeys, or use --no-new-keyring"),
    Rule("", "keyctl", "ENOSYS EPERM", "",
         "an outer seccomp profile forbids keyctl: use --no-new-keyring"),
    Rule("", "seccomp", "EACCES", "",
         "a filter needs process.noNewPrivileges or CAP_SYS_ADMIN: set one of them"),
    Rule("", "seccomp", "EINVAL", "",
         "this kernel lacks a flag or action of linux.seccomp: see ocirt features"),
    Rule("", "seccomp", "EBUSY", "",
         "only one filter with SCMP_ACT_NOTIFY may be loaded: an outer one has a listener"),
    Rule("", "seccomp", "ENOMEM E2BIG", "",
         "the filters together exceed the kernel's 32768 instructions: shorten the profile"),
    Rule("", "sched_setattr", "EPERM", "",
         "real-time and deadline scheduling need CAP_SYS_NICE, and a cpu.rt_runtime_us above 0 on cgroup v1"),
    Rule("", "sched_setattr", "EBUSY", "",
         "too little bandwidth is left for this deadline: lower process.scheduler.runtime"),
    Rule("", "ioprio_set", "EPERM", "",
         "the class IOPRIO_CLASS_RT needs CAP_SYS_NICE or CAP_SYS_ADMIN"),
    Rule("", "sched_setaffinity", "EINVAL", "",
         "none of these processors is online and in the container's cpuset"),
    Rule("", "set_mempolicy", "EINVAL", "",
         "none of these nodes is online and in the container's cpuset: see numactl -H"),
    Rule("", "sethostname setdomainname", "EPERM", "",
         'add {"type": "uts"} to linux.namespaces'),
    Rule("finish", "", "ENOENT", "sysctl",
         "this kernel has no such sysctl, or its namespace is not the container's: see sysctl -a"),
    Rule("finish", "", "EACCES EPERM EROFS", "sysctl",
         "the sysctl is not the container's to write: it belongs to the host, or to a namespace that is not new"),
    Rule("finish", "", "EINVAL", "sysctl",
         "the kernel refuses the sysctl's value: see its documentation"),
    Rule("", "os open write", "ENOENT EINVAL", "AppArmor",
         "the AppArmor profile is not loaded or AppArmor is off: see aa-status, or apparmor_parser -r to load it"),
    Rule("", "os", "EACCES", "/run/ocirt",
         "set XDG_RUNTIME_DIR to a directory of yours, or name one with --root"),
    Rule("listener", "connect", "ENOENT ECONNREFUSED", "",
         "start the seccomp agent first: linux.seccomp.listenerPath is the socket on which it listens"),
    Rule("listener", "pidfd_getfd", "EPERM", "",
         "to take the filter's listener out of init root needs CAP_SYS_PTRACE"),
    # the terminal, the program
    Rule("", "connect", "ECONNREFUSED", "",
         "nobody listens on the socket: start what receives the terminal first"),
    Rule("", "connect", "ENOENT", "",
         "the socket must exist before ocirt is called: correct the path"),
    Rule("", "connect", "ENAMETOOLONG", "",
         "a socket's path holds 107 bytes at most: choose a shorter one"),
    Rule("", "chdir fchdir", "ENOENT ENOTDIR", "",
         "process.cwd must be a directory in the container"),
    Rule("", "chdir fchdir", "EACCES", "",
         "process.cwd must be searchable (x) for process.user"),
    Rule("", EXEC, "ENOENT", "",
         "the file is there, what it needs is not: the interpreter after its #!, or the loader it was linked with"
         " (readelf -l), must be in the rootfs; a script's first line must not end in CR LF"),
    Rule("", EXEC, "ENOEXEC", "",
         "a script needs #! and an interpreter in its very first line; a binary must be for this machine (file,"
         " uname -m)"),
    Rule("", EXEC, "EACCES", "",
         "the file needs the x bit for process.user, each directory above it too, and a mount without noexec"),
    Rule("", EXEC, "EPERM", "",
         "no_new_privs, a security module or the seccomp profile forbids it: see dmesg and the audit log"),
    Rule("", EXEC, "E2BIG", "",
         "process.args and process.env together are too long: see getconf ARG_MAX"),
    Rule("", EXEC, "ENOMEM EAGAIN", "",
         "a limit is too small for the program: see linux.resources and process.rlimits"),
    # hooks
    Rule("hook", "", "", "ran past specified timeout",
         "see what the hook waits for, or raise its timeout; its last output, if any, is in this line"),
    Rule("hook", "", "", ": exit status",
         "the hook itself fails: correct it, or its entry in hooks; its standard input is the container's state"),
    Rule("hook", "", "", ": signal",
         "the hook was killed: see dmesg for a crash or for want of memory"),
    # whatever the stage
    Rule("", "", "EMFILE", "",
         "the limit of open files is too low: see ulimit -n"),
    Rule("", "", "ENOSPC", "",
         "a file system is full: see df and df -i; the state directory is under --root"),
    Rule("", "", "ENOMEM", "",
         "memory ran out: raise linux.resources.memory.limit or free some on the host"),
    Rule("", "", "EROFS", "",
         "the file system is read-only: choose another place or remount it"),
    Rule("", "mkdir os", "EEXIST", "",
         "something else has that name already: remove it or choose another"),
)
# fmt: on


def find(error: OcirtError) -> str:
    """The remedy of the first rule that fits, "" when none does."""
    return next((rule.says for rule in RULES if rule.fits(error)), "")
