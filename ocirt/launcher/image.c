/* An interpreter that has imported ocirt, kept in the executable's data; included by native.c.
 *
 * native.py links an executable that holds the interpreter alone and runs it once: it imports ocirt's modules and writes
 * its data to standard output.  With these as its data, the executable begins where that process ended: nothing is
 * initialised and nothing imported, of which a start had 5 ms.
 *
 * All of the interpreter's memory is data of this executable for that, which is not position-independent, so that every
 * process has it at the same addresses: libpython's malloc() is ours (-Wl,--wrap) and hands out parts of `memory` while
 * the image is made.  A pointer to anything else, the stack, the C library, its heap, would differ from one process to
 * the next: native.py makes the image twice, in processes that are laid out differently, and refuses two that differ.
 *
 * What belongs to a process and not to an image is renewed by revive(), much as after fork(2).
 */

#include <pthread.h>
#include <signal.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define ALIGNMENT 16
#define PAGE 4096

extern char __data_start[]; /* of the linker */
extern char *__progname;    /* of the C library */

/* Last in the executable, so that what is not used of it need not be in the image. */
static char memory[64 << 20] __attribute__((section(".image,\"aw\",@nobits#"), aligned(PAGE)));
static char *unused = memory;
static int revived; /* this process began with an image: saved as 1 */

/* A part of it. */
struct block {
    size_t size;        /* of its content */
    struct block *next; /* of those that were given back */
    char content[];
};

static struct block *given_back;

extern void *__real_malloc(size_t size);
extern void *__real_calloc(size_t count, size_t size);
extern void *__real_realloc(void *old, size_t size);
extern void __real_free(void *old);
extern pthread_t __real_pthread_self(void);

/* Memory that stays; NULL when there is no more. */
static void *take(size_t size, size_t alignment)
{
    char *start = (char *)(((uintptr_t)unused + alignment - 1) & ~(alignment - 1));
    if (start > memory + sizeof memory || size > (size_t)(memory + sizeof memory - start))
        return NULL;
    unused = start + size;
    return start;
}

/* Beyond `unused` lies the heap of who began with an image. */
static int is_taken(void *address)
{
    return (char *)address >= memory && (char *)address < unused;
}

/* The first block given back that is large enough, without what it has too much; NULL when there is none. */
static struct block *take_again(size_t size)
{
    for (struct block **at = &given_back; *at != NULL; at = &(*at)->next) {
        struct block *found = *at;
        if (found->size < size)
            continue;
        *at = found->next;
        if (found->size - size > sizeof *found) {
            struct block *rest = (struct block *)(found->content + size);
            *rest = (struct block){.size = found->size - size - sizeof *rest, .next = *at};
            *at = rest;
            found->size = size;
        }
        return found;
    }
    return NULL;
}

void *__wrap_malloc(size_t size)
{
    if (revived)
        return __real_malloc(size);
    size = (size + ALIGNMENT - 1) & ~(size_t)(ALIGNMENT - 1);
    struct block *made = take_again(size);
    if (made == NULL) {
        made = take(sizeof *made + size, ALIGNMENT);
        if (made == NULL)
            return NULL;
        made->size = size;
    }
    return made->content;
}

void *__wrap_calloc(size_t count, size_t size)
{
    if (revived)
        return __real_calloc(count, size);
    if (size != 0 && count > SIZE_MAX / size)
        return NULL;
    char *made = __wrap_malloc(count * size);
    return made == NULL ? NULL : memset(made, 0, count * size);
}

static struct block *block_of(void *content)
{
    return (struct block *)((char *)content - offsetof(struct block, content));
}

void __wrap_free(void *old)
{
    if (!is_taken(old)) {
        __real_free(old);
    } else if (!revived) {
        block_of(old)->next = given_back;
        given_back = block_of(old);
    }
}

void *__wrap_realloc(void *old, size_t size)
{
    if (!is_taken(old))
        return old == NULL ? __wrap_malloc(size) : __real_realloc(old, size);
    char *made = __wrap_malloc(size);
    if (made != NULL) {
        memcpy(made, old, block_of(old)->size < size ? block_of(old)->size : size);
        __wrap_free(old);
    }
    return made;
}

/* A thread's name is its address, and locks note it. */
pthread_t __wrap_pthread_self(void)
{
    return revived ? __real_pthread_self() : 1;
}

/* What the interpreter cuts its small objects from. */
static void *new_arena(void *context, size_t size)
{
    if (!revived)
        return take(size, PAGE);
    void *made = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    return made == MAP_FAILED ? NULL : made;
}

static void free_arena(void *context, void *arena, size_t size)
{
    if (!is_taken(arena))
        munmap(arena, size);
}

static void keep_memory_here(void)
{
    PyObjectArenaAllocator arenas = {NULL, new_arena, free_arena};
    PyObject_SetArenaAllocator(&arenas);
}

/* Write the image to standard output: the address where it begins, and the data from there on. */
static _Noreturn void save_image(void)
{
    PyThread_tss_delete(&_PyRuntime.gilstate.autoTSSkey);
    PyThreadState_Get()->native_thread_id = 0;
    environ = NULL; /* this and the next lines: the dynamic linker fills them in */
    __progname = NULL;
    stdin = stdout = stderr = NULL;
    revived = 1;
    char *start = __data_start;
    if (write(STDOUT_FILENO, &start, sizeof start) != sizeof start)
        _exit(1);
    while (start < unused) {
        ssize_t written = write(STDOUT_FILENO, start, (size_t)(unused - start));
        if (written <= 0)
            _exit(1);
        start += written;
    }
    _exit(0);
}

/* posix.environ, which is read wherever a variable is asked for.  0, or -1 with an exception. */
static int renew_environment(void)
{
    PyObject *posix = PyImport_ImportModule("posix");
    PyObject *known = posix == NULL ? NULL : PyObject_GetAttrString(posix, "environ");
    if (known == NULL)
        return -1;
    for (char **entry = environ; *entry != NULL; entry++) {
        const char *sign = strchr(*entry, '=');
        if (sign == NULL)
            continue;
        PyObject *name = PyBytes_FromStringAndSize(*entry, sign - *entry), *value = PyBytes_FromString(sign + 1);
        if (name == NULL || value == NULL || PyDict_SetDefault(known, name, value) == NULL) /* of two the first counts */
            return -1;
        Py_DECREF(name);
        Py_DECREF(value);
    }
    return 0;
}

/* As at the interpreter's start: what the caller ignores stays ignored, and SIGINT raises KeyboardInterrupt.  0, or -1
   with an exception. */
static int renew_signals(void)
{
    PyObject *module = PyImport_ImportModule("_signal");
    PyObject *interrupt = module == NULL ? NULL : PyObject_GetAttrString(module, "default_int_handler");
    if (interrupt == NULL)
        return -1;
    PyOS_setsig(SIGPIPE, SIG_IGN);
    PyOS_setsig(SIGXFSZ, SIG_IGN);
    for (int number = 1; number < NSIG; number++) {
        PyOS_sighandler_t action = PyOS_getsig(number);
        PyObject *done = Py_None;
        if (number == SIGINT && action == SIG_DFL)
            done = PyObject_CallMethod(module, "signal", "iO", number, interrupt);
        else if (action == SIG_IGN && number != SIGPIPE && number != SIGXFSZ)
            done = PyObject_CallMethod(module, "signal", "ii", number, (int)(intptr_t)SIG_IGN);
        if (done == NULL)
            return -1;
    }
    return 0;
}

/* Make this process's own what the image has of the one that made it.  0, or -1 with an exception. */
static int revive(void)
{
    PyThreadState_Get()->thread_id = PyThread_get_thread_ident();
    PyOS_AfterFork_Child();
    return renew_environment() < 0 ? -1 : renew_signals();
}
