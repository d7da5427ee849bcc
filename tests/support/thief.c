/* Inside a container with every privilege: get hold of the runtime's executable, then try to change it.  Static.
 *
 * For every process that appears, open /proc/PID/exe for reading; when it is none of the container's own executables
 * keep it and print "caught TARGET", until /tmp/stop exists.  Then try everything with what was caught, a line each:
 * WHAT ok|ERRNO.
 *
 * What is written is the byte that is there already.
 */
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/mount.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#define MS_REMOUNT_BIND (32 | 4096)
#define MS_BIND_ONLY 4096
#define MOST 4
#define PATIENCE 100 /* tenths of a second for the last process that executes it to end: ETXTBSY until then */

int mount(const char *, const char *, const char *, unsigned long, const void *);

static void tell(const char *what, long result)
{
    printf("%s %s\n", what, result < 0 ? strerrorname_np(errno) : "ok");
    fflush(stdout);
}

/* Open for writing and write, as long as it takes for the file to be let go. */
static void write_to(const char *what, int (*opened)(int), int fd)
{
    char byte;
    long result = -1;
    if (pread(fd, &byte, 1, 0) != 1)
        byte = 0x7f;
    for (int i = 0; i < PATIENCE; i++) {
        int writable = opened(fd);
        result = writable < 0 ? -1 : pwrite(writable, &byte, 1, 0);
        int error = errno;
        if (writable >= 0)
            close(writable);
        errno = error;
        if (result >= 0 || errno != ETXTBSY)
            break;
        nanosleep(&(struct timespec){0, 100000000}, NULL);
    }
    tell(what, result);
}

static int by_name(int fd)
{
    char path[64];
    snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    return open(path, O_WRONLY);
}

static int by_handle(int fd)
{
    struct {
        struct file_handle head;
        unsigned char rest[MAX_HANDLE_SZ];
    } handle = {.head.handle_bytes = MAX_HANDLE_SZ};
    int id;
    if (name_to_handle_at(fd, "", &handle.head, &id, AT_EMPTY_PATH) < 0)
        return -1;
    return open_by_handle_at(fd, &handle.head, O_WRONLY);
}

static void try_everything(int fd)
{
    char path[64];
    snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    struct stat status;
    fstat(fd, &status);
    struct mount_attr writable = {.attr_clr = MOUNT_ATTR_RDONLY};
    tell("mount_setattr", syscall(SYS_mount_setattr, fd, "", AT_EMPTY_PATH, &writable, sizeof writable));
    tell("remount", mount(NULL, path, NULL, MS_REMOUNT_BIND, NULL));
    tell("open_tree", syscall(SYS_open_tree, fd, "", AT_EMPTY_PATH | OPEN_TREE_CLONE));
    close(open("/tmp/target", O_CREAT | O_WRONLY, 0600));
    tell("bind", mount(path, "/tmp/target", NULL, MS_BIND_ONLY, NULL));
    tell("fspick", syscall(SYS_fspick, AT_FDCWD, path, FSPICK_CLOEXEC));
    tell("fchmod", fchmod(fd, status.st_mode));
    tell("mmap", (long)mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0));
    write_to("write", by_name, fd);
    write_to("write-by-handle", by_handle, fd);
}

static int caught[MOST], count;

static int own(const char *target)
{
    return target[0] != '/' || strncmp(target, "/bin/", 5) == 0;
}

/* Open what the processes of this moment execute. */
static void look(void)
{
    DIR *processes = opendir("/proc");
    for (struct dirent *entry; processes && count < MOST && (entry = readdir(processes));) {
        char path[300], target[300], seen[300];
        snprintf(path, sizeof path, "/proc/%s/exe", entry->d_name);
        if (entry->d_name[0] < '0' || entry->d_name[0] > '9')
            continue;
        ssize_t length = readlink(path, target, sizeof target - 1);
        if (length < 0 || (target[length] = 0, own(target)))
            continue;
        int fd = open(path, O_RDONLY);
        if (fd < 0)
            continue;
        snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
        length = readlink(path, seen, sizeof seen - 1);
        if (length < 0 || (seen[length] = 0, own(seen))) { /* it has executed the container's program meanwhile */
            close(fd);
            continue;
        }
        caught[count++] = fd;
        printf("caught %s\n", seen);
        fflush(stdout);
    }
    if (processes)
        closedir(processes);
}

int main(void)
{
    printf("looking\n");
    fflush(stdout);
    while (access("/tmp/stop", F_OK) != 0)
        look();
    for (int i = 0; i < count; i++)
        try_everything(caught[i]);
    printf("done\n");
    return 0;
}
