/* The small objects of a process that began with an image; included by image.c.
 *
 * Python's own allocator (obmalloc.c) cuts objects of one size from pools of 16 KiB, so that each size takes pages of its
 * own, twice in a run: after the clone they are copied.  Here a pool has 1 KiB, and a run 20 pages with objects instead of
 * 30.  When the first MiB is used up, Python's allocator has the rest.
 */

#define OBJECTS (1 << 20)
#define SMALL_POOL 1024
#define LARGEST_OBJECT 512 /* as in obmalloc.c */
#define SIZES (LARGEST_OBJECT / GRAIN + 1)

struct freed {
    struct freed *next;
};

/* Nothing but zeros before the first object. */
struct objects {
    struct freed *freed[SIZES];                 /* by size in grains: those that can be had again */
    char *fresh[SIZES];                         /* the rest of the pool that was last begun; its end where there is none */
    size_t pools;                               /* that were begun */
    unsigned char sizes[OBJECTS / SMALL_POOL];  /* of the objects in each, in grains */
};

static struct objects *objects; /* where they begin: their first pools are these numbers themselves */
static PyMemAllocatorEx of_python;

static int is_object(const void *address)
{
    return (uintptr_t)address - (uintptr_t)objects < OBJECTS;
}

/* In bytes; the address is an object's. */
static size_t object_size(const void *address)
{
    return (size_t)objects->sizes[((uintptr_t)address - (uintptr_t)objects) / SMALL_POOL] * GRAIN;
}

/* One that never was given; NULL when there are no more. */
static void *fresh_object(size_t grains)
{
    char *at = objects->fresh[grains];
    size_t begun = (uintptr_t)at % SMALL_POOL;
    if (begun == 0 || begun + grains * GRAIN > SMALL_POOL) {
        if (objects->pools == 0)
            objects->pools = (sizeof *objects + SMALL_POOL - 1) / SMALL_POOL;
        if (objects->pools == OBJECTS / SMALL_POOL)
            return NULL;
        objects->sizes[objects->pools] = (unsigned char)grains;
        at = (char *)objects + objects->pools++ * SMALL_POOL;
    }
    objects->fresh[grains] = at + grains * GRAIN;
    return at;
}

static void *new_object(void *context, size_t size)
{
    if (size <= LARGEST_OBJECT) {
        size_t grains = size != 0 ? (size + GRAIN - 1) / GRAIN : 1;
        struct freed *again = objects->freed[grains];
        if (again != NULL) {
            objects->freed[grains] = again->next;
            return again;
        }
        void *fresh = fresh_object(grains);
        if (fresh != NULL)
            return fresh;
    }
    return of_python.malloc(of_python.ctx, size);
}

static void *new_zeroed_object(void *context, size_t count, size_t size)
{
    if (size != 0 && count > LARGEST_OBJECT / size)
        return of_python.calloc(of_python.ctx, count, size);
    void *made = new_object(NULL, count * size);
    return made == NULL ? NULL : memset(made, 0, count * size);
}

static void free_object(void *context, void *old)
{
    if (is_object(old)) {
        struct freed **first = &objects->freed[object_size(old) / GRAIN], *freed = old;
        freed->next = *first;
        *first = freed;
    } else if (!is_taken(old)) {
        of_python.free(of_python.ctx, old);
    }
}

static void *other_object(void *context, void *old, size_t size)
{
    if (old == NULL)
        return new_object(NULL, size);
    if (!is_object(old) && !is_taken(old))
        return of_python.realloc(of_python.ctx, old, size);
    size_t had = is_object(old) ? object_size(old) : block_of(old)->size;
    if (size <= had && size > had / 2)
        return old;
    void *made = new_object(NULL, size);
    if (made != NULL) {
        memcpy(made, old, had < size ? had : size);
        free_object(NULL, old);
    }
    return made;
}
