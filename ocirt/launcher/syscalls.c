/* System calls for kernel/ffi_native.py; included where a module is made of them. */

#include <errno.h>
#include <sys/mman.h>
#include <unistd.h>

#define MOST_ARGUMENTS 6

#ifndef TRAINING /* training.c has its own */
#define BEFORE_CALL(number)
#define AFTER_CALL(number, result)
#endif

/* One argument of a system call as 64 bits.  0, or -1 with an exception. */
static int as_argument(PyObject *object, long *argument)
{
    if (PyLong_Check(object)) {
        int overflow;
        long long value = PyLong_AsLongLongAndOverflow(object, &overflow);
        if (overflow > 0) {
            value = (long long)PyLong_AsUnsignedLongLong(object);
            overflow = PyErr_Occurred() != NULL;
            PyErr_Clear();
        }
        if (overflow) {
            PyErr_Format(PyExc_OverflowError, "%R does not fit in 64 bits", object);
            return -1;
        }
        *argument = (long)value;
    } else if (PyBytes_Check(object)) {
        *argument = (long)PyBytes_AS_STRING(object);
    } else if (PyByteArray_Check(object)) {
        *argument = (long)PyByteArray_AS_STRING(object);
    } else if (object == Py_None) {
        *argument = 0;
    } else {
        PyErr_Format(PyExc_TypeError, "%.50s where the kernel wants bytes", Py_TYPE(object)->tp_name);
        return -1;
    }
    return 0;
}

/* call(number, *arguments): syscall(2); what it returns, or -errno.  The interpreter is not let go: there is one
   thread, and between clone3 and execve the fewer locks are touched the better. */
static PyObject *call(PyObject *module, PyObject *const *objects, Py_ssize_t count)
{
    long arguments[1 + MOST_ARGUMENTS] = {0};
    if (count < 1 || count > 1 + MOST_ARGUMENTS) {
        PyErr_SetString(PyExc_TypeError, "a system call's number and at most six arguments");
        return NULL;
    }
    for (Py_ssize_t i = 0; i < count; i++)
        if (as_argument(objects[i], &arguments[i]) < 0)
            return NULL;
    BEFORE_CALL(arguments[0]);
    long result = syscall(arguments[0], arguments[1], arguments[2], arguments[3], arguments[4], arguments[5],
                          arguments[6]);
    AFTER_CALL(arguments[0], result);
    return PyLong_FromLong(result == -1 ? -errno : result);
}

/* address_of(bytes or bytearray): where its content is, as long as it lives and keeps its size. */
static PyObject *address_of(PyObject *module, PyObject *object)
{
    long address;
    if (as_argument(object, &address) < 0)
        return NULL;
    return PyLong_FromUnsignedLong((unsigned long)address);
}

/* map_shared(fd, size, writable): that many bytes of a file, or with -1 of none, which the caller shares with children;
   they stay mapped.  Raises OSError. */
static PyObject *map_shared(PyObject *module, PyObject *arguments)
{
    int fd, writable;
    Py_ssize_t size;
    if (!PyArg_ParseTuple(arguments, "inp", &fd, &size, &writable))
        return NULL;
    int protection = writable ? PROT_READ | PROT_WRITE : PROT_READ;
    void *memory = mmap(NULL, (size_t)size, protection, MAP_SHARED | (fd < 0 ? MAP_ANONYMOUS : 0), fd, 0);
    if (memory == MAP_FAILED)
        return PyErr_SetFromErrno(PyExc_OSError);
    return PyMemoryView_FromMemory(memory, size, writable ? PyBUF_WRITE : PyBUF_READ);
}

#define SYSCALLS \
    {"call", (PyCFunction)(void (*)(void))call, METH_FASTCALL, NULL}, {"address_of", address_of, METH_O, NULL}, \
    {"map_shared", map_shared, METH_VARARGS, NULL}
