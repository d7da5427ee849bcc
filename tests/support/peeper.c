/* Inside a container: look at every process that enters it before it executes a program of the container.  Static.
 *
 * Prints "looking", then "exe TARGET" and "fd TARGET" for what /proc/PID shows of such a process, "attached" when
 * ptrace(2) had it before its execve, and "done" when /tmp/stop exists.
 */
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/wait.h>
#include <unistd.h>

static int own(const char *target)
{
    return strncmp(target, "/bin/", 5) == 0;
}

static int target_of(const char *path, char *target, size_t size)
{
    ssize_t length = readlink(path, target, size - 1);
    target[length < 0 ? 0 : length] = 0;
    return length >= 0;
}

static void descriptors(const char *pid)
{
    char path[600], target[300];
    snprintf(path, sizeof path, "/proc/%s/fd", pid);
    DIR *fds = opendir(path);
    for (struct dirent *entry; fds && (entry = readdir(fds));) {
        snprintf(path, sizeof path, "/proc/%s/fd/%s", pid, entry->d_name);
        if (entry->d_name[0] != '.' && target_of(path, target, sizeof target) && target[0] == '/')
            printf("fd %s\n", target);
    }
    if (fds)
        closedir(fds);
}

/* Hold the process and see what it executes.  An event of execve would say too much: it comes after the new program is
   in place, and the kernel lets a tracer in between. */
static void attach(pid_t pid, const char *exe)
{
    char target[300];
    if (ptrace(PTRACE_SEIZE, pid, NULL, PTRACE_O_EXITKILL) < 0)
        return;
    if (target_of(exe, target, sizeof target) && target[0] && !own(target))
        printf("attached\n");
    for (int status; waitpid(pid, &status, __WALL) == pid && WIFSTOPPED(status);)
        ptrace(PTRACE_CONT, pid, NULL, status >> 16 ? 0 : WSTOPSIG(status));
}

int main(void)
{
    setvbuf(stdout, NULL, _IOLBF, 0);
    printf("looking\n");
    while (access("/tmp/stop", F_OK) != 0) {
        DIR *processes = opendir("/proc");
        for (struct dirent *entry; processes && (entry = readdir(processes));) {
            char path[300], target[300];
            int pid = atoi(entry->d_name);
            snprintf(path, sizeof path, "/proc/%s/exe", entry->d_name);
            if (pid <= 1)
                continue;
            if (target_of(path, target, sizeof target) && target[0] && !own(target)) {
                descriptors(entry->d_name);
                printf("exe %s\n", target);
            }
            attach(pid, path);
        }
        closedir(processes);
    }
    printf("done\n");
    return 0;
}
