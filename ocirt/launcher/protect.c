/* The runtime's executable, kept from being changed by a container (CVE-2019-5736); included by native.c.
 *
 * Who gets hold of /proc/PID/exe of a process that enters a container may later open it for writing.  So the commands
 * that enter one are executed a second time, before Python starts, from what cannot be written:
 *
 *   ro-shared-page          the executable in an overlay without an upper layer.  Nothing makes that writable: not a
 *                           remount, for the file system itself is read-only.  It costs 0.1 ms beside the second
 *                           execution's 0.5 ms.  The pages are the executable's own.
 *   independent-data-copy   a sealed copy in memory.  6 ms, and the copy's size in memory for every waiting init.
 *                           A fault of the kernel that lets pages be written which can only be read (CVE-2022-0847)
 *                           spoils the copy alone.  Also where an overlay cannot be had: without privileges.
 */

#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <linux/mount.h>
#include <linux/stat.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/syscall.h>
#include <sys/vfs.h>
#include <unistd.h>

#ifndef MFD_EXEC
#define MFD_EXEC 0x10 /* Linux 6.3 */
#endif
#ifndef SELF_EXE /* native.py says */
#define SELF_EXE "ro-shared-page"
#endif

#define WISH "OCIRT_SELF_EXE"
#define SHARED "ro-shared-page"
#define COPY "independent-data-copy"
#define SEALS (F_SEAL_SEAL | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE)
/* An overlay wants two lower layers.  The second is never looked into: a directory with nothing mounted below it, which
   a user namespace may not hide. */
#define OTHER_LAYER "/sys/class"

extern char **environ;

static int failure = 1; /* the command's exit status when it cannot be protected */

static void give_up(const char *what)
{
    const char *remedy = errno == EACCES ? " - allow it by vm.memfd_noexec" : "";
    fprintf(stderr, "ocirt: the executable cannot be protected from the container: %s: %s%s\n", what, strerror(errno),
            remedy);
    _exit(failure);
}

/* Whether the command may let a process into a container.  That another word of the line says so does no harm. */
static int enters_a_container(char **argv)
{
    static const char *const commands[] = {"create", "run", "exec", "restore"};
    for (char **word = argv + 1; argv[0] != NULL && *word != NULL; word++)
        for (size_t i = 0; i < sizeof commands / sizeof *commands; i++)
            if (strcmp(*word, commands[i]) == 0) {
                failure = strcmp(*word, "exec") == 0 ? 255 : 1; /* exec's lower ones are the program's */
                return 1;
            }
    return 0;
}

static int is_copy(int exe)
{
    int seals = fcntl(exe, F_GET_SEALS);
    return seals >= 0 && (seals & SEALS) == SEALS;
}

static int is_in_read_only_overlay(int exe)
{
    struct statfs where;
    return fstatfs(exe, &where) == 0 && where.f_type == OVERLAYFS_SUPER_MAGIC && where.f_flags & ST_RDONLY;
}

/* Whether its mount is in no mount namespace.  A container's root may be a read-only overlay, too, but that can be cloned;
   ours went out of reach when the execution closed its descriptor. */
static int is_out_of_reach(int exe)
{
    int clone = (int)syscall(SYS_open_tree, exe, "", AT_EMPTY_PATH | OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC);
    if (clone >= 0)
        close(clone);
    return clone < 0 && errno == EINVAL;
}

static int identity(int directory, const char *name, struct statx *found)
{
    unsigned int wanted = STATX_INO | STATX_MNT_ID;
    if (statx(directory, name, AT_EMPTY_PATH | AT_SYMLINK_NOFOLLOW, wanted, found) < 0)
        return -1;
    return (found->stx_mask & wanted) == wanted ? 0 : -1;
}

/* The executable's directory, and its name there in `path`; -1 where that leads to another file, or past a mount, which
   the overlay would not show. */
static int directory_of(int exe, char *path, size_t size, const char **name)
{
    ssize_t length = readlink("/proc/self/exe", path, size - 1);
    char *slash;
    if (length <= 0 || (path[length] = '\0', slash = strrchr(path, '/')) == NULL || slash == path)
        return -1;
    *slash = '\0';
    *name = slash + 1;
    int directory = open(path, O_PATH | O_DIRECTORY | O_CLOEXEC);
    struct statx ours, theirs, around;
    if (directory >= 0 && identity(exe, "", &ours) == 0 && identity(directory, *name, &theirs) == 0
        && identity(directory, "", &around) == 0 && ours.stx_ino == theirs.stx_ino
        && ours.stx_dev_major == theirs.stx_dev_major && ours.stx_dev_minor == theirs.stx_dev_minor
        && ours.stx_mnt_id == theirs.stx_mnt_id && ours.stx_mnt_id == around.stx_mnt_id)
        return directory;
    if (directory >= 0)
        close(directory);
    return -1;
}

/* The executable's file in a new overlay that is mounted nowhere; -1 where that cannot be had. */
static int in_overlay(int exe)
{
    char path[4096], layers[64];
    const char *name;
    int directory = directory_of(exe, path, sizeof path, &name), context = -1, mount = -1, file = -1;
    if (directory >= 0)
        context = (int)syscall(SYS_fsopen, "overlay", FSOPEN_CLOEXEC);
    snprintf(layers, sizeof layers, "/proc/self/fd/%d:" OTHER_LAYER, directory);
    if (context >= 0 && syscall(SYS_fsconfig, context, FSCONFIG_SET_STRING, "lowerdir", layers, 0) == 0
        && syscall(SYS_fsconfig, context, FSCONFIG_CMD_CREATE, NULL, NULL, 0) == 0)
        mount = (int)syscall(SYS_fsmount, context, FSMOUNT_CLOEXEC,
                             MOUNT_ATTR_RDONLY | MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV);
    if (mount >= 0)
        file = openat(mount, name, O_PATH | O_NOFOLLOW | O_CLOEXEC);
    if (context >= 0)
        close(context);
    if (directory >= 0)
        close(directory);
    return file; /* the mount's descriptor stays open: it holds the mount together until the execution closes it */
}

/* A sealed copy of the executable. */
static int sealed_copy(int exe)
{
    int copy = memfd_create("ocirt", MFD_CLOEXEC | MFD_ALLOW_SEALING | MFD_EXEC);
    if (copy < 0 && errno == EINVAL)
        copy = memfd_create("ocirt", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    if (copy < 0)
        give_up("memfd_create");
    off_t size = lseek(exe, 0, SEEK_END), done = 0;
    while (done < size)
        if (sendfile(copy, exe, &done, (size_t)(size - done)) <= 0)
            give_up("sendfile");
    if (fcntl(copy, F_ADD_SEALS, SEALS) < 0)
        give_up("F_ADD_SEALS");
    return copy;
}

static int wants_copy(void)
{
    const char *wish = getenv(WISH);
    if (wish == NULL || *wish == '\0')
        wish = SELF_EXE;
    if (strcmp(wish, SHARED) != 0 && strcmp(wish, COPY) != 0) {
        fprintf(stderr, "ocirt: %s: %s: neither " SHARED " nor " COPY "\n", WISH, wish);
        _exit(failure);
    }
    return strcmp(wish, COPY) == 0;
}

/* Returns in a process whose executable no container can change; executes the command again until it is one.  What is
   opened here is close-on-exec. */
static void protect_executable(char **argv)
{
    if (!enters_a_container(argv))
        return;
    int copied = wants_copy(), exe = open("/proc/self/exe", O_RDONLY | O_CLOEXEC);
    if (exe < 0)
        give_up("/proc/self/exe");
    int overlaid = is_in_read_only_overlay(exe);
    if (is_copy(exe) || (!copied && overlaid && is_out_of_reach(exe))) {
        close(exe);
        prctl(PR_SET_NAME, program_invocation_short_name); /* before Linux 6.14 the descriptor's number */
        return;
    }
    int file = copied || overlaid ? -1 : in_overlay(exe); /* one overlay is enough: this comes to an end */
    if (file < 0)
        file = sealed_copy(exe);
    syscall(SYS_execveat, file, "", argv, environ, AT_EMPTY_PATH);
    give_up("execveat");
}
