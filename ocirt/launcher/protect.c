/* The runtime's executable, kept from being changed by a container (CVE-2019-5736); included by native.c.
 *
 * Who gets hold of /proc/PID/exe of a process that enters a container may later open it for writing.  So the commands
 * that enter one go over, before Python starts, to what cannot be written:
 *
 *   ro-shared-page          the executable in an overlay without an upper layer.  Nothing makes that writable: not a
 *                           remount, for the file system itself is read-only.  The pages are the executable's own.  It
 *                           is done by early.c, as a rule before the C library begins, and without a second execution.
 *   independent-data-copy   a sealed copy in memory.  6 ms, and the copy's size in memory for every waiting init.
 *                           A fault of the kernel that lets pages be written which can only be read (CVE-2022-0847)
 *                           spoils the copy alone.  Also where an overlay cannot be had: without privileges.
 */

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/sendfile.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "early.c"

#ifndef MFD_EXEC
#define MFD_EXEC 0x10 /* Linux 6.3 */
#endif

#define COPY "independent-data-copy"
#define SEALS (F_SEAL_SEAL | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE)

extern char **environ;

static int failure = 1; /* the command's exit status when it cannot be protected */

static void give_up(const char *what)
{
    const char *remedy = errno == EACCES ? " - allow it by vm.memfd_noexec" : "";
    fprintf(stderr, "ocirt: the executable cannot be protected from the container: %s: %s%s\n", what, strerror(errno),
            remedy);
    _exit(failure);
}

static int is_copy(int exe)
{
    int seals = fcntl(exe, F_GET_SEALS);
    return seals >= 0 && (seals & SEALS) == SEALS;
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
    const char *wish = wished(environ);
    if (!same(wish, SHARED) && !same(wish, COPY)) {
        fprintf(stderr, "ocirt: %s: %s: neither " SHARED " nor " COPY "\n", WISH, wish);
        _exit(failure);
    }
    return same(wish, COPY);
}

/* Returns in a process whose executable no container can change; executes the command again until it is one.  What is
   opened here is close-on-exec. */
static void protect_executable(char **argv)
{
    const char *command = is_protected ? NULL : entering(argv);
    if (command == NULL)
        return;
    failure = same(command, "exec") ? 255 : 1; /* exec's lower ones are the program's */
    int copied = wants_copy(), exe = open("/proc/self/exe", O_RDONLY | O_CLOEXEC);
    if (exe < 0)
        give_up("/proc/self/exe");
    int overlaid = is_in_read_only_overlay(exe);
    if (is_copy(exe) || (!copied && overlaid && is_out_of_reach(exe))) {
        close(exe);
        take_name(argv);
        is_protected = 1;
        return;
    }
    if (!copied && !overlaid) /* one overlay is enough: this comes to an end */
        execute_in_overlay(exe, argv, environ);
    syscall(SYS_execveat, sealed_copy(exe), "", argv, environ, AT_EMPTY_PATH);
    give_up("execveat");
}
