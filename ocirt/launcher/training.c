/* The launcher that conformance/bench/profile.py trains: every block of memory has pages of its own (image.c), and a
 * process tells which it has written to before it executes another program or ends.  Included by image.c.
 *
 * The file $OCIRT_TRAINING is shared by all: the number of reports and the address of `memory`; and from the first page
 * on REPORTS reports, which is profile.py's, of what proc_pid_pagemap(5) has for each page from there.
 */

#include <fcntl.h>
#include <linux/userfaultfd.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>

#define WRITES_ARE_LET_PASS (1 << 15) /* UFFD_FEATURE_WP_ASYNC, since Linux 6.7 */

#define REPORT ((size_t)MEMORY / PAGE * sizeof(uint64_t))

extern _Noreturn void __real__exit(int status);
static char *reports;

/* Else the kernel shows a process 16 pages of a file where it reads one, and nothing is known of who reads what. */
static void see_pages_one_by_one(void)
{
    if (reports == NULL)
        return;
    int fd = (int)syscall(SYS_userfaultfd, O_CLOEXEC | UFFD_USER_MODE_ONLY);
    struct uffdio_api api = {.api = UFFD_API, .features = WRITES_ARE_LET_PASS};
    struct uffdio_register pages = {
        .range = {(uintptr_t)memory, ((size_t)(unused - memory) + PAGE - 1) & ~(size_t)(PAGE - 1)},
        .mode = UFFDIO_REGISTER_MODE_WP,
    };
    if (fd < 0 || ioctl(fd, UFFDIO_API, &api) < 0) {
        perror("userfaultfd");
        abort();
    }
    if (ioctl(fd, UFFDIO_REGISTER, &pages) < 0) /* EBUSY: it sees them already */
        close(fd);
}

static void begin_training(void)
{
    const char *path = getenv("OCIRT_TRAINING");
    int fd = path == NULL ? -1 : open(path, O_RDWR | O_CLOEXEC);
    if (fd < 0)
        return;
    reports = mmap(NULL, PAGE + REPORTS * REPORT, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    close(fd);
    ((uint64_t *)reports)[1] = (uintptr_t)memory;
    see_pages_one_by_one();
}

static void report_pages(void)
{
    if (reports == NULL)
        return;
    uint64_t number = __atomic_fetch_add((uint64_t *)reports, 1, __ATOMIC_SEQ_CST);
    int fd = open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC);
    size_t size = (size_t)(unused - memory) / PAGE * sizeof(uint64_t), at = 0;
    off_t start = (off_t)((uintptr_t)memory / PAGE * sizeof(uint64_t));
    for (ssize_t got = 1; number < REPORTS && at < size && got > 0; at += (size_t)got)
        got = pread(fd, reports + PAGE + number * REPORT + at, size - at, start + (off_t)at);
    close(fd);
}

_Noreturn void __wrap__exit(int status)
{
    report_pages();
    __real__exit(status);
}

#define BEFORE_CALL(number) \
    do { \
        if ((number) == SYS_execve || (number) == SYS_execveat) \
            report_pages(); \
    } while (0)
/* In a new process, and in one that may have closed what it sees them by. */
#define AFTER_CALL(number, result) \
    do { \
        if (((number) == SYS_clone3 && (result) == 0) || (number) == SYS_close_range) \
            see_pages_one_by_one(); \
    } while (0)
