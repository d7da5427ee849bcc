/* An interpreter that has imported ocirt, kept in the executable's data; included by native.c.
 *
 * native.py links an executable that holds the interpreter alone and runs it once: it imports ocirt's modules and writes
 * its data to standard output.  With these as its data, the executable begins where that process ended: nothing is
 * initialised and nothing imported, of which a start had 5 ms.
 *
 * All of the interpreter's memory is data of this executable for that, which is not position-independent, so that every
 * process has it at the same addresses: malloc() is ours (-Wl,--wrap) and hands out parts of `memory` while the image is
 * made.  The C library's data are left as they were linked.  A pointer to anything else, the stack or the C library's
 * heap, would differ from one process to the next: native.py makes the image twice, in processes that are laid out
 * differently, and refuses two that differ.
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

#ifndef MADV_POPULATE_WRITE
#define MADV_POPULATE_WRITE 23 /* Linux 5.14 */
#endif

#define PAGE 4096
#define LARGE_PAGE (2 << 20)
#define GRAIN 16
#define SMALL 1024 /* what was given back up to here is used for its own size again */
#define OWNERS 1024
#ifdef TRAINING /* every block has pages of its own: see training.c.  MEMORY is profile.py's */
#define ALIGNMENT PAGE
#else
#define ALIGNMENT GRAIN
#define MEMORY (32 << 20)
#endif

extern char __data_start[], __bss_start[]; /* of the linker */
extern char end_of_data[], end_of_bss[];   /* end.c */

/* Last in the executable, so that what is not used of it need not be in the image. */
static char memory[MEMORY] __attribute__((section(".image,\"aw\",@nobits#"), aligned(PAGE)));
static char *unused = memory;
static int making;  /* the image: its memory is ours */
static int revived; /* this process began with an image: saved as 1 */

/* A part of it. */
struct block {
    size_t size; /* of its content */
    union {
        struct block *next; /* of those that were given back */
        struct {
            uint32_t owner, index; /* which one it is: a place and the profile name it so */
        };
    };
    char content[];
};

static struct block *given_back[SMALL / GRAIN + 2]; /* by size; last, the large ones */

/* Where a block is put that a start will use (placement.py); in the order of owner and index. */
struct place {
    uint32_t owner, index, size, offset;
};

static const struct place *places;
static size_t place_count;
static size_t written; /* of `memory`, from its beginning: what most commands write to */
static uint32_t owner, taken[OWNERS]; /* the module for which memory is taken; how many blocks each has had */

extern void *__real_malloc(size_t size);
extern void *__real_calloc(size_t count, size_t size);
extern void *__real_realloc(void *old, size_t size);
extern void __real_free(void *old);
extern pthread_t __real_pthread_self(void);
void __wrap_free(void *old);

/* The first address from here on that is a multiple of a power of two. */
static char *aligned(char *from, size_t alignment)
{
    return (char *)(((uintptr_t)from + alignment - 1) & ~(uintptr_t)(alignment - 1));
}

/* Memory that stays; NULL when there is no more. */
static void *take(size_t size, size_t alignment)
{
    char *start = aligned(unused, alignment);
    if (start > memory + sizeof memory || size > (size_t)(memory + sizeof memory - start))
        return NULL;
    unused = start + size;
    return start;
}

/* Beyond `unused` lies what belongs to who began with an image. */
static int is_taken(void *address)
{
    return (char *)address >= memory && (char *)address < unused;
}

static struct block **bin(size_t size)
{
    return &given_back[size > SMALL ? SMALL / GRAIN + 1 : size / GRAIN];
}

/* A block given back that is large enough, without what it has too much; NULL when there is none. */
static struct block *take_again(size_t size)
{
    for (struct block **at = bin(size); *at != NULL; at = &(*at)->next) {
        struct block *found = *at;
        if (found->size < size || (ALIGNMENT == PAGE && found->size > size)) /* profile.py goes from size to size */
            continue;
        *at = found->next;
        if (found->size - size > SMALL) {
            struct block *rest = (struct block *)(found->content + size);
            rest->size = found->size - size - sizeof *rest;
            found->size = size;
            __wrap_free(rest->content);
        }
        return found;
    }
    return NULL;
}

/* Where the block has its place; NULL when it has none, or has grown. */
static struct block *place_of(uint32_t index, size_t size)
{
    size_t low = 0, high = place_count;
    while (low < high) {
        size_t middle = (low + high) / 2;
        const struct place *at = &places[middle];
        if (at->owner == owner && at->index == index)
            return size <= at->size ? (struct block *)(memory + at->offset) : NULL;
        if (at->owner < owner || (at->owner == owner && at->index < index))
            low = middle + 1;
        else
            high = middle;
    }
    return NULL;
}

void *__wrap_malloc(size_t size)
{
    if (!making)
        return __real_malloc(size);
    size = (size + GRAIN - 1) & ~(size_t)(GRAIN - 1);
    uint32_t index = taken[owner]++;
    struct block *block = place_of(index, size);
    if (block != NULL) {
        block->size = size;
    } else if ((block = take_again(size)) == NULL) {
        block = take(sizeof *block + size, ALIGNMENT);
        if (block == NULL)
            return NULL;
        block->size = size;
    }
    block->owner = owner;
    block->index = index;
    return block->content;
}

void *__wrap_calloc(size_t count, size_t size)
{
    if (!making)
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
    } else if (making) {
        struct block *block = block_of(old), **at = bin(block->size);
        block->next = *at;
        *at = block;
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
    return making ? 1 : __real_pthread_self();
}

static void *take_block(void *context, size_t size)
{
    return __wrap_malloc(size != 0 ? size : 1);
}

static void *take_zeroed_block(void *context, size_t count, size_t size)
{
    return count == 0 || size == 0 ? __wrap_calloc(1, 1) : __wrap_calloc(count, size);
}

static void *take_other_block(void *context, void *old, size_t size)
{
    return __wrap_realloc(old, size != 0 ? size : 1);
}

static void give_block_back(void *context, void *old)
{
    __wrap_free(old);
}

#ifdef TRAINING
#include "training.c"
#endif

#include "objects.c"

/* What the interpreter's stack consists of, and small objects beyond those of objects.c. */
static void *new_arena(void *context, size_t size)
{
    if (making)
        return __wrap_malloc(size);
    void *made = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    return made == MAP_FAILED ? NULL : made;
}

static void free_arena(void *context, void *arena, size_t size)
{
    if (is_taken(arena))
        __wrap_free(arena);
    else
        munmap(arena, size);
}

static void allocate_objects_by(PyMemAllocatorEx *allocator)
{
    PyMem_SetAllocator(PYMEM_DOMAIN_MEM, allocator);
    PyMem_SetAllocator(PYMEM_DOMAIN_OBJ, allocator);
}

/* Python cuts small objects from arenas of its own, one beside the other as they come; here each has a block. */
static void keep_memory_here(void)
{
    PyObjectArenaAllocator arenas = {NULL, new_arena, free_arena};
    PyObject_SetArenaAllocator(&arenas);
    PyMem_GetAllocator(PYMEM_DOMAIN_OBJ, &of_python);
    PyMemAllocatorEx ours = {NULL, take_block, take_zeroed_block, take_other_block, give_block_back};
    allocate_objects_by(&ours);
}

/* Those of who begins with the image lie behind it. */
static void begin_objects(void)
{
    objects = (struct objects *)aligned(unused, PAGE);
    if ((char *)objects + OBJECTS > memory + sizeof memory)
        _exit(1);
    PyMemAllocatorEx ours = {NULL, new_object, new_zeroed_object, other_object, free_object};
    allocate_objects_by(&ours);
}

/* All of standard input, without stdio, which would take memory and leave there what happened to come at once; NULL when
   it cannot be read. */
static const char *read_input(size_t *size)
{
    char *input = mmap(NULL, MEMORY, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    *size = 0;
    for (ssize_t got = 1; got > 0; *size += (size_t)got)
        if (input == MAP_FAILED || (got = read(STDIN_FILENO, input + *size, MEMORY - *size)) < 0)
            return NULL;
    return input;
}

/* From here on memory is ours.  The input is the size of what has a place, the number of places, the size of what most
   commands write to, the places; and code, which is returned with its size.  What has no place begins on a large page:
   the kernel can map one as a whole while nothing on it is written to.  NULL when the input is not like that. */
static const char *begin_image(size_t *size)
{
    uint64_t sizes[3];
    const char *input = read_input(size);
    if (input == NULL || *size < sizeof sizes)
        return NULL;
    memcpy(sizes, input, sizeof sizes);
    *size -= sizeof sizes;
    place_count = sizes[1];
    written = sizes[2];
    if (sizes[0] > sizeof memory || place_count > *size / sizeof *places || written > sizes[0])
        return NULL;
    places = (const struct place *)(input + sizeof sizes);
    *size -= place_count * sizeof *places;
    unused = aligned(memory + sizes[0], LARGE_PAGE);
    making = 1;
    return (const char *)(places + place_count);
}

/* allocate_for(number): what is allocated from here on is this owner's. */
static PyObject *allocate_for(PyObject *module, PyObject *number)
{
    unsigned long wanted = PyLong_AsUnsignedLong(number);
    if (PyErr_Occurred())
        return NULL;
    if (wanted >= OWNERS)
        return PyErr_Format(PyExc_ValueError, "%lu owners are too many", wanted);
    PyType_ClearCache(); /* which names it holds depends on addresses, and which blocks are needed anew on that */
    owner = (uint32_t)wanted;
    Py_RETURN_NONE;
}

static void write_piece(char *start, char *end)
{
    uint64_t head[] = {(uintptr_t)start, (uint64_t)(end - start)};
    if (write(STDOUT_FILENO, head, sizeof head) != sizeof head)
        _exit(1);
    while (start < end) {
        ssize_t written = write(STDOUT_FILENO, start, (size_t)(end - start));
        if (written <= 0)
            _exit(1);
        start += written;
    }
}

/* Text of what was executed would lie there.  In training profile.py reads every block's size. */
static void clear_given_back(void)
{
    if (ALIGNMENT == PAGE)
        return;
    for (size_t i = 0; i < sizeof given_back / sizeof *given_back; i++)
        for (struct block *block = given_back[i], *next; block != NULL; block = next) {
            next = block->next;
            memset(block, 0, sizeof *block + block->size);
        }
}

/* Write the image to standard output, in pieces: the address and the size of each, and its data. */
static _Noreturn void save_image(void)
{
    PyThread_tss_delete(&_PyRuntime.gilstate.autoTSSkey);
    PyThreadState_Get()->native_thread_id = 0;
    PyType_ClearCache(); /* or the names of what it forgets, which lie anywhere, would be written to */
    begin_objects();
    places = NULL;
    making = 0;
    revived = 1;
    clear_given_back();
    write_piece(__data_start, end_of_data);
    write_piece((char *)&_PyRuntime, (char *)(&_PyRuntime + 1)); /* a section of its own */
    write_piece(__bss_start, end_of_bss);
    write_piece(memory, (char *)objects);
    _exit(0);
}

/* A module that the image has, without the import system: what that executes lies on 20 pages that nothing else needs. */
static PyObject *imported(const char *name)
{
    return PyDict_GetItemString(PyImport_GetModuleDict(), name);
}

/* posix.environ, which is read wherever a variable is asked for.  0, or -1 with an exception. */
static int renew_environment(void)
{
    PyObject *posix = imported("posix");
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
    PyObject *module = imported("_signal");
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

static void copy_pages(char *start, char *end)
{
    start = aligned(start, PAGE);
    if (start < end)
        madvise(start, (size_t)(end - start), MADV_POPULATE_WRITE); /* an older kernel than Linux 5.14: as they are used */
}

/* All at once what a command that enters a container will write to: a page that is first read and then written costs two
   exceptions and a flush of what the processor knows of it. */
static void copy_written_pages(void)
{
    copy_pages(memory, memory + written);
    copy_pages((char *)&_PyRuntime, (char *)(&_PyRuntime + 1));
}

/* Make this process's own what the image has of the one that made it.  0, or -1 with an exception. */
static int revive(void)
{
    PyThreadState_Get()->thread_id = PyThread_get_thread_ident();
    PyOS_AfterFork_Child();
    return renew_environment() < 0 ? -1 : renew_signals();
}
