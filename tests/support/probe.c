/* What a process sees of itself, as one JSON object on standard output.  Static: it runs in any root.
 *
 * Only what busybox and /proc cannot tell: system calls that report on the caller.  With arguments it
 * does one thing instead:
 *   probe pause            wait for ever, as a payload with no children
 *   probe syscall NR ARG   make one system call, print its result or errno
 *   probe syscall32 NR     make one by the 32-bit entry, x86_64 only, print its result or errno
 *   probe notify TEXT...   send each text to $NOTIFY_SOCKET, as sd_notify(3) does
 */
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <linux/keyctl.h>
#include <sched.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/personality.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

struct sched_attributes {
    uint32_t size, policy;
    uint64_t flags;
    int32_t nice;
    uint32_t priority;
    uint64_t runtime, deadline, period;
};

static void file_descriptors(void)
{
    printf("\"fds\":[");
    const char *separator = "";
    for (int fd = 0; fd < 1024; fd++) {
        struct stat st;
        if (fstat(fd, &st) == 0) {
            printf("%s%d", separator, fd);
            separator = ",";
        }
    }
    printf("]");
}

static void signals(void)
{
    printf(",\"ignored\":[");
    const char *separator = "";
    for (int number = 1; number < 65; number++) {
        struct sigaction action;
        if (sigaction(number, NULL, &action) == 0 && action.sa_handler != SIG_DFL) {
            printf("%s%d", separator, number);
            separator = ",";
        }
    }
    sigset_t blocked, pending;
    sigprocmask(SIG_BLOCK, NULL, &blocked);
    sigpending(&pending);
    printf("],\"blocked\":%d,\"pending\":%d", !sigisemptyset(&blocked), !sigisemptyset(&pending));
}

static void scheduling(void)
{
    struct sched_attributes attributes = {.size = sizeof attributes};
    syscall(SYS_sched_getattr, 0, &attributes, sizeof attributes, 0);
    printf(",\"scheduler\":{\"policy\":%u,\"flags\":%llu,\"nice\":%d,\"priority\":%u,\"runtime\":%llu,"
           "\"deadline\":%llu,\"period\":%llu}",
           attributes.policy, (unsigned long long)attributes.flags, attributes.nice, attributes.priority,
           (unsigned long long)attributes.runtime, (unsigned long long)attributes.deadline,
           (unsigned long long)attributes.period);
    printf(",\"ioprio\":%ld", syscall(SYS_ioprio_get, 1, 0));
    printf(",\"timerslack\":%d", prctl(PR_GET_TIMERSLACK));
}

static void keyring(void)
{
    char text[256] = "";
    syscall(SYS_keyctl, KEYCTL_DESCRIBE, KEY_SPEC_SESSION_KEYRING, text, sizeof text);
    printf(",\"keyring\":\"%s\"", text);
}

static void process(void)
{
    char directory[4096] = "";
    long length = syscall(SYS_getcwd, directory, sizeof directory);
    int death = -1;
    prctl(PR_GET_PDEATHSIG, &death);
    mode_t mask = umask(0);
    struct timespec boot = {0}, monotonic = {0};
    clock_gettime(CLOCK_BOOTTIME, &boot);
    clock_gettime(CLOCK_MONOTONIC, &monotonic);
    printf(",\"cwd\":\"%s\",\"umask\":%u,\"personality\":%d,\"dumpable\":%d,\"pdeathsig\":%d,\"securebits\":%d",
           length > 0 ? directory : "", mask, personality(0xffffffff), prctl(PR_GET_DUMPABLE), death,
           prctl(PR_GET_SECUREBITS));
    printf(",\"uid\":%d,\"euid\":%d", getuid(), geteuid());
    printf(",\"pid\":%d,\"ppid\":%d,\"sid\":%d,\"pgid\":%d,\"boottime\":%lld,\"monotonic\":%lld", getpid(), getppid(),
           getsid(0), getpgid(0), (long long)boot.tv_sec, (long long)monotonic.tv_sec);
}

/* sd_notify(3): each argument is a message for $NOTIFY_SOCKET */
static int notify(int count, char **messages)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, SOCK_DGRAM, 0);
    strncpy(address.sun_path, getenv("NOTIFY_SOCKET"), sizeof address.sun_path - 1);
    for (int i = 0; i < count; i++)
        if (sendto(fd, messages[i], strlen(messages[i]), 0, (struct sockaddr *)&address, sizeof address) < 0) {
            perror("sendto");
            return 1;
        }
    return 0;
}

#ifdef __x86_64__
static int by_32_bit_entry(long number)
{
    long result;
    __asm__ volatile("int $0x80" : "=a"(result) : "a"(number), "b"(0), "c"(0), "d"(0) : "memory", "r8", "r9", "r10", "r11");
    int value = (int)result;
    printf("%s\n", value < 0 && value > -4096 ? strerrorname_np(-value) : "ok");
    return 0;
}
#endif

int main(int argc, char **argv)
{
    if (argc > 1 && strcmp(argv[1], "pause") == 0)
        for (;;)
            pause();
    if (argc > 2 && strcmp(argv[1], "notify") == 0)
        return notify(argc - 2, argv + 2);
#ifdef __x86_64__
    if (argc > 2 && strcmp(argv[1], "syscall32") == 0)
        return by_32_bit_entry(strtol(argv[2], NULL, 0));
#endif
    if (argc > 3 && strcmp(argv[1], "syscall") == 0) {
        long result = syscall(strtol(argv[2], NULL, 0), strtol(argv[3], NULL, 0), 0, 0, 0, 0, 0);
        printf("%s\n", result < 0 ? strerrorname_np(errno) : "ok");
        return 0;
    }
    printf("{");
    file_descriptors();
    signals();
    scheduling();
    keyring();
    process();
    printf(",\"arguments\":%d}\n", argc);
    return 0;
}
