/* The executable in a read-only overlay, and a start before the C library's; included by protect.c.
 *
 * A command that enters a container must not be executed from where it is.  What a static C library does before main() is
 * 0.2 ms, half of it CPUID instructions, which trap on a virtual machine.  So the executable begins with early_start(),
 * which takes the process over to the overlay: nothing is in its memory yet but the executable.  Where it cannot, it
 * executes the command again from there, or leaves the process to the C library's _start.  Then
 * protect_executable() decides, which knows the sealed copy too, and says what is wrong.
 *
 * Nothing here may use the C library: no memory of a thread's is there, and functions such as strlen(3) have no address
 * yet.  tests/kernel/test_protect.py sees that the compiler uses nothing of it either.
 */

#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <linux/mount.h>
#include <linux/stat.h>
#include <stddef.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/syscall.h>
#include <sys/vfs.h>
#include <unistd.h>

#ifndef SELF_EXE /* native.py says */
#define SELF_EXE "ro-shared-page"
#endif

#define WISH "OCIRT_SELF_EXE"
#define SHARED "ro-shared-page"
/* An overlay wants two lower layers.  The second is never looked into: a directory with nothing mounted below it, which
   a user namespace may not hide. */
#define OTHER_LAYER ":/sys/class"
#define PAGE_SIZE 4096

/* No loop becomes a call of memset() or strlen(), and no stack is guarded by what is a thread's. */
#pragma GCC push_options
#pragma GCC optimize("no-tree-loop-distribute-patterns", "no-stack-protector")

static int is_protected; /* this process, which enters a container; the one that makes the image never does */

/* A system call's result, or -errno. */
static long kernel(long number, long a, long b, long c, long d, long e, long f)
{
#if defined(__x86_64__) && defined(__LP64__)
    register long fourth __asm__("r10") = d, fifth __asm__("r8") = e, sixth __asm__("r9") = f;
    long result;
    __asm__ volatile("syscall"
                     : "=a"(result)
                     : "a"(number), "D"(a), "S"(b), "d"(c), "r"(fourth), "r"(fifth), "r"(sixth)
                     : "rcx", "r11", "memory");
    return result;
#else /* and no early start */
    long result = syscall(number, a, b, c, d, e, f);
    return result == -1 ? -errno : result;
#endif
}

#define KERNEL(number, a, b, c, d, e, f, ...) \
    kernel(number, (long)(a), (long)(b), (long)(c), (long)(d), (long)(e), (long)(f))
#define CALL(...) KERNEL(__VA_ARGS__, 0, 0, 0, 0, 0, 0, 0)

/* What follows `beginning` in the text; NULL where it begins with something else. */
static const char *after(const char *beginning, const char *text)
{
    for (; *beginning != '\0'; beginning++, text++)
        if (*text != *beginning)
            return NULL;
    return text;
}

static int same(const char *one, const char *other)
{
    const char *rest = after(one, other);
    return rest != NULL && *rest == '\0';
}

/* What follows the last slash of a path; the whole where there is none. */
static const char *name_in(const char *path)
{
    const char *name = path;
    for (; *path != '\0'; path++)
        if (*path == '/')
            name = path + 1;
    return name;
}

/* The word of the command line that may let a process into a container, or NULL.  That another one has the name of such
   a command does no harm. */
static const char *entering(char **argv)
{
    static const char commands[][8] = {"create", "run", "exec", "restore"};
    for (char **word = argv + 1; argv[0] != NULL && *word != NULL; word++)
        for (size_t i = 0; i < sizeof commands / sizeof *commands; i++)
            if (same(commands[i], *word))
                return *word;
    return NULL;
}

/* How the executable is to be protected: what the caller says, or what native.py said. */
static const char *wished(char **environment)
{
    for (; *environment != NULL; environment++) {
        const char *wish = after(WISH "=", *environment);
        if (wish != NULL)
            return *wish != '\0' ? wish : SELF_EXE;
    }
    return SELF_EXE;
}

/* What ps shows: before Linux 6.14 it would be a descriptor's number. */
static void take_name(char **argv)
{
    CALL(SYS_prctl, PR_SET_NAME, name_in(argv[0]));
}

static int is_in_read_only_overlay(int exe)
{
    struct statfs where;
    return CALL(SYS_fstatfs, exe, &where) == 0 && where.f_type == OVERLAYFS_SUPER_MAGIC && where.f_flags & ST_RDONLY;
}

/* Whether its mount is in no mount namespace.  A container's root may be a read-only overlay, too, but that can be cloned;
   ours went out of reach when the execution closed its descriptor. */
static int is_out_of_reach(int exe)
{
    long clone = CALL(SYS_open_tree, exe, "", AT_EMPTY_PATH | OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC);
    if (clone >= 0)
        CALL(SYS_close, clone);
    return clone == -EINVAL;
}

static int identity(int directory, const char *name, struct statx *found)
{
    unsigned int wanted = STATX_INO | STATX_MNT_ID;
    return CALL(SYS_statx, directory, name, AT_EMPTY_PATH | AT_SYMLINK_NOFOLLOW, wanted, found) == 0
           && (found->stx_mask & wanted) == wanted;
}

/* Whether that is the executable's file, by the same mount; `ours`: which it is. */
static int is_executable(int exe, int directory, const char *name, struct statx *ours)
{
    struct statx theirs;
    return identity(exe, "", ours) && identity(directory, name, &theirs) && ours->stx_ino == theirs.stx_ino
           && ours->stx_dev_major == theirs.stx_dev_major && ours->stx_dev_minor == theirs.stx_dev_minor
           && ours->stx_mnt_id == theirs.stx_mnt_id;
}

/* The executable's directory, and its name there in `path`; -1 where that leads to another file, or past a mount, which
   the overlay would not show. */
static int directory_of(int exe, char *path, size_t size, const char **name)
{
    long length = CALL(SYS_readlink, "/proc/self/exe", path, size - 1);
    if (length <= 0)
        return -1;
    path[length] = '\0';
    *name = name_in(path);
    if (*name - path < 2) /* "/name", or no path */
        return -1;
    path[*name - path - 1] = '\0';
    int directory = (int)CALL(SYS_openat, AT_FDCWD, path, O_PATH | O_DIRECTORY | O_CLOEXEC);
    struct statx ours, around;
    if (directory >= 0 && is_executable(exe, directory, *name, &ours) && identity(directory, "", &around)
        && ours.stx_mnt_id == around.stx_mnt_id)
        return directory;
    if (directory >= 0)
        CALL(SYS_close, directory);
    return -1;
}

/* A directory as a layer has to name it, and the other one. */
static void name_layers(char *layers, int directory)
{
    char digits[12];
    size_t count = 0;
    do
        digits[count++] = (char)('0' + directory % 10);
    while ((directory /= 10) != 0);
    for (const char *from = "/proc/self/fd/"; *from != '\0';)
        *layers++ = *from++;
    while (count > 0)
        *layers++ = digits[--count];
    for (const char *from = OTHER_LAYER; (*layers++ = *from++) != '\0';)
        ;
}

/* A new overlay of the directory that is mounted nowhere; negative where that cannot be had. */
static int overlay_of(int directory)
{
    char layers[64];
    int context = (int)CALL(SYS_fsopen, "overlay", FSOPEN_CLOEXEC), mount = -1;
    if (context < 0)
        return -1;
    name_layers(layers, directory);
    if (CALL(SYS_fsconfig, context, FSCONFIG_SET_STRING, "lowerdir", layers, 0) == 0
        && CALL(SYS_fsconfig, context, FSCONFIG_CMD_CREATE, NULL, NULL, 0) == 0)
        mount = (int)CALL(SYS_fsmount, context, FSMOUNT_CLOEXEC,
                          MOUNT_ATTR_RDONLY | MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV);
    CALL(SYS_close, context);
    return mount;
}

/* The executable's place in a new overlay: its name, below a descriptor that holds the overlay together. */
struct place_in_overlay {
    int directory, mount;
    const char *name;
    char path[4096];
};

/* 0 where that cannot be had. */
static int lay_over(int exe, struct place_in_overlay *place)
{
    place->directory = directory_of(exe, place->path, sizeof place->path, &place->name);
    place->mount = place->directory < 0 ? -1 : overlay_of(place->directory);
    return place->mount >= 0;
}

static void close_place(const struct place_in_overlay *place)
{
    if (place->mount >= 0)
        CALL(SYS_close, place->mount);
    if (place->directory >= 0)
        CALL(SYS_close, place->directory);
}

/* Returns where that cannot be done. */
static void execute_there(const struct place_in_overlay *place, char **argv, char **environment)
{
    CALL(SYS_execveat, place->mount, place->name, argv, environment, AT_SYMLINK_NOFOLLOW);
}

/* Execute the command again, from a new overlay.  Returns where that cannot be done, and leaves nothing open. */
static void execute_in_overlay(int exe, char **argv, char **environment)
{
    struct place_in_overlay place;
    if (lay_over(exe, &place))
        execute_there(&place, argv, environment);
    close_place(&place);
}

#if defined(__x86_64__) && defined(__LP64__)
extern const char __ehdr_start[] __attribute__((visibility("hidden"))); /* of the linker: the executable in memory */

static unsigned long protection_of(const Elf64_Phdr *segment)
{
    return (segment->p_flags & PF_R ? PROT_READ : 0) | (segment->p_flags & PF_W ? PROT_WRITE : 0)
           | (segment->p_flags & PF_X ? PROT_EXEC : 0);
}

/* Map a file that has the same bytes in the place of the executable, whose memory nobody has written to yet: the next
   instruction comes from there.  0 where that failed. */
static int map_in_place(int file, struct prctl_mm_map *map)
{
    const Elf64_Phdr *segment = (const Elf64_Phdr *)(__ehdr_start + ((const Elf64_Ehdr *)__ehdr_start)->e_phoff);
    for (int left = ((const Elf64_Ehdr *)__ehdr_start)->e_phnum; left > 0; left--, segment++) {
        if (segment->p_type != PT_LOAD || segment->p_filesz == 0)
            continue;
        unsigned long begin = segment->p_vaddr, end = begin + segment->p_filesz, before = begin % PAGE_SIZE;
        long mapped = CALL(SYS_mmap, begin - before, segment->p_filesz + before, protection_of(segment),
                           MAP_PRIVATE | MAP_FIXED, file, segment->p_offset - before);
        if (mapped < 0)
            return 0;
        if (segment->p_flags & PF_W) {
            map->start_data = begin;
            map->end_data = end;
            for (; end % PAGE_SIZE != 0; end++) /* of what begins as zeros */
                *(volatile char *)end = 0;
        } else if (segment->p_flags & PF_X) {
            map->start_code = begin;
            map->end_code = end;
        }
    }
    return 1;
}

static unsigned long end_of(const char *text)
{
    while (*text != '\0')
        text++;
    return (unsigned long)text + 1;
}

/* Be what would be executed there, which takes 0.2 ms more: PR_SET_MM_MAP of prctl(2) changes /proc/self/exe, when nothing
   of the old file is mapped any more.  It needs CAP_CHECKPOINT_RESTORE or CAP_SYS_ADMIN, and a kernel that can be asked for
   checkpoints.  0 where that cannot be done: what is mapped may be incomplete then, and good for an execution only.  The
   executable may have been replaced since it was looked for: what is mapped has to be what is running. */
static int become(int exe, const struct place_in_overlay *place, long *stack, char **argv, char **environment)
{
    int file = (int)CALL(SYS_openat, place->mount, place->name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    struct statx ours;
    if (file < 0)
        return 0;
    struct prctl_mm_map map = {.exe_fd = (unsigned int)file, .start_stack = (unsigned long)stack};
    map.start_brk = map.brk = (unsigned long)CALL(SYS_brk, 0);
    map.arg_start = (unsigned long)argv[0];
    map.env_start = map.env_end = map.arg_end = end_of(argv[stack[0] - 1]);
    for (; *environment != NULL; environment++)
        map.env_end = end_of(*environment);
    int became = is_executable(exe, place->directory, place->name, &ours) && map_in_place(file, &map)
                 && CALL(SYS_prctl, PR_SET_MM, PR_SET_MM_MAP, &map, sizeof map) == 0;
    CALL(SYS_close, file);
    return became;
}

/* The process's first function; `stack` is what execve(2) left there: the number of arguments, these, NULL, the
   environment, NULL. */
__attribute__((used)) static void before_the_c_library(long *stack)
{
    char **argv = (char **)(stack + 1), **environment = argv + stack[0] + 1;
    if (entering(argv) == NULL || !same(SHARED, wished(environment)))
        return;
    int exe = (int)CALL(SYS_openat, AT_FDCWD, "/proc/self/exe", O_PATH | O_CLOEXEC);
    if (exe < 0)
        return;
    if (!is_in_read_only_overlay(exe)) {
        struct place_in_overlay place;
        int became = 0;
        if (lay_over(exe, &place) && !(became = become(exe, &place, stack, argv, environment)))
            execute_there(&place, argv, environment);
        is_protected = became;
        close_place(&place);
    } else if (is_out_of_reach(exe)) {
        is_protected = 1;
        take_name(argv);
    }
    CALL(SYS_close, exe);
}

/* Where the executable begins (-e).  _start finds the stack and the registers it wants as they were. */
__asm__(".pushsection .text\n"
        ".globl early_start\n"
        ".type early_start, @function\n"
        "early_start:\n"
        "    xor %ebp, %ebp\n"
        "    mov %rsp, %rbx\n"
        "    mov %rdx, %r12\n"
        "    mov %rsp, %rdi\n"
        "    call before_the_c_library\n"
        "    mov %r12, %rdx\n"
        "    mov %rbx, %rsp\n"
        "    jmp _start\n"
        ".size early_start, . - early_start\n"
        ".popsection\n");
#endif

#pragma GCC pop_options
