/* The native launcher: the interpreter, with ocirt's modules imported, in one executable.
 *
 * It is made in two steps: see image.c.  In the first Python is initialised to its core only (PyConfig._init_main = 0):
 * built-in types, built-in and frozen modules, no encodings package, no sys.path, no standard streams.  That is what a
 * container needs.  boot.py imports what the core lacks after complete(), which does the rest.
 *
 * Linked with the static libpython of one version of Python: it uses what may change with the next one.
 */
#define PY_SSIZE_T_CLEAN
#define Py_BUILD_CORE
#include <Python.h>
#include <internal/pycore_interp.h>
#include <internal/pycore_runtime.h>
#include <marshal.h>
#include <netdb.h>
#include <nss.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#if PY_VERSION_HEX < 0x030b0000 || PY_VERSION_HEX >= 0x030c0000
#error "the native launcher knows the core of Python 3.11 only"
#endif

extern int _PySignal_Init(int install_signal_handlers); /* part of the initialisation after the core */
extern PyStatus _Py_InitializeMain(void);
extern int __real__Py_Deepfreeze_Init(void);
extern int __real_getaddrinfo(const char *, const char *, const struct addrinfo *, struct addrinfo **);

/* A static executable cannot load a library, which would come with a C library of its own.  Of C modules boot.py says so
   before. */
void *__wrap_dlopen(const char *path, int flags)
{
    return NULL;
}

void *__wrap_dlsym(void *library, const char *name)
{
    return NULL;
}

char *__wrap_dlerror(void)
{
    return "a static executable loads no library";
}

/* What nsswitch.conf(5) may name beside files and DNS is a library, which glibc would load by itself, with a C library of
   its own, and crash in.  Nothing of ocirt's asks for users or groups so: a stage of others may. */
static void look_up_without_libraries(void)
{
    static const char *const databases[] = {"passwd", "group", "shadow", "initgroups", "services", "protocols"};
    for (size_t i = 0; i < sizeof databases / sizeof *databases; i++)
        __nss_configure_lookup(databases[i], "files");
    __nss_configure_lookup("hosts", "files dns");
}

/* A host's name, as of a page server. */
int __wrap_getaddrinfo(const char *name, const char *service, const struct addrinfo *hints, struct addrinfo **found)
{
    look_up_without_libraries();
    return __real_getaddrinfo(name, service, hints, found);
}

/* The strings in the code of Python's frozen modules, which lie far apart: put off until complete(), or they were those
   that all modules use. */
int __wrap__Py_Deepfreeze_Init(void)
{
    return 0;
}

#include "image.c"
#include "json.c"
#include "protect.c"
#include "beside.c"
#include "rehearsal.c"
#include "shape.c"
#include "syscalls.c"

/* complete(): from the core to a whole interpreter, whose standard library can be imported. */
static PyObject *complete(PyObject *module, PyObject *ignored)
{
    if (__real__Py_Deepfreeze_Init() < 0)
        return NULL;
    look_up_without_libraries();
    PyStatus status = _Py_InitializeMain();
    if (PyStatus_Exception(status)) {
        PyErr_Format(PyExc_ImportError, "the Python interpreter cannot be completed: %s", status.err_msg);
        return NULL;
    }
    Py_RETURN_NONE;
}

static PyMethodDef methods[] = {
    SYSCALLS,
    BESIDE,
    JSON,
    SHAPE,
    REHEARSAL,
    {"complete", complete, METH_NOARGS, NULL},
    {"allocate_for", allocate_for, METH_O, NULL},
    {NULL, NULL, 0, NULL},
};

static struct PyModuleDef definition = {PyModuleDef_HEAD_INIT, .m_name = "_ocirt", .m_size = 0, .m_methods = methods};

static PyObject *module_init(void)
{
    return PyModuleDef_Init(&definition);
}

static void check(PyStatus status)
{
    if (PyStatus_Exception(status)) {
        fprintf(stderr, "ocirt: the Python interpreter does not start: %s\n", status.err_msg);
        _exit(1);
    }
}

static void set(PyConfig *config, wchar_t **member, const wchar_t *value)
{
    check(PyConfig_SetString(config, member, value));
}

/* Nothing of this is looked for: the caller's environment and directory have no say. */
static void initialise(void)
{
    for (int number = 1; number < NSIG; number++)
        signal(number, SIG_DFL); /* Python notes which are ignored, as below nohup(1) */
    keep_memory_here();
    PyPreConfig early;
    PyPreConfig_InitIsolatedConfig(&early);
    early.utf8_mode = 1;
    check(Py_PreInitialize(&early));
    if (PyImport_AppendInittab("_ocirt", module_init) < 0)
        check(PyStatus_NoMemory());

    PyConfig config;
    PyConfig_InitIsolatedConfig(&config);
    config._init_main = 0;
    config.site_import = 0;
    config.write_bytecode = 0;
    config.pathconfig_warnings = 0;
    config.install_signal_handlers = 1;
    config.use_hash_seed = 1; /* 0: dictionaries are in the image, and so the hashes of what is in them */
    set(&config, &config.executable, PYTHON_EXECUTABLE);
    set(&config, &config.base_executable, PYTHON_EXECUTABLE);
    set(&config, &config.prefix, PYTHON_PREFIX);
    set(&config, &config.base_prefix, PYTHON_PREFIX);
    set(&config, &config.exec_prefix, PYTHON_PREFIX);
    set(&config, &config.base_exec_prefix, PYTHON_PREFIX);
    set(&config, &config.stdlib_dir, PYTHON_STDLIB);
    config.module_search_paths_set = 1;
    check(PyWideStringList_Append(&config.module_search_paths, PYTHON_STDLIB));
    check(PyWideStringList_Append(&config.module_search_paths, PYTHON_DYNLOAD));
    check(Py_InitializeFromConfig(&config));
    PyConfig_Clear(&config);
    if (_PySignal_Init(1) < 0)
        check(PyStatus_Error("no signals"));
    /* File names: as complete() will have it.  The core has each go by way of wide characters. */
    struct _Py_unicode_fs_codec *names = &PyInterpreterState_Get()->unicode.fs_codec;
    names->utf8 = 1;
    names->error_handler = _Py_ERROR_SURROGATEESCAPE;
}

/* Execute boot.py: its code, with the names it finds defined, is what was marshalled. */
static void import_modules(const char *marshalled, size_t size)
{
    PyObject *globals = PyModule_GetDict(PyImport_AddModule("__main__"));
    PyObject *read = PyMarshal_ReadObjectFromString(marshalled, (Py_ssize_t)size), *boot, *names;
    if (read == NULL || !PyArg_ParseTuple(read, "OO!", &boot, &PyDict_Type, &names)
        || PyDict_SetItemString(globals, "__builtins__", PyEval_GetBuiltins()) < 0
        || PyDict_Update(globals, names) < 0 || PyEval_EvalCode(boot, globals, globals) == NULL) {
        PyErr_Print();
        _exit(1);
    }
}

/* sys.argv, which the core does not set. */
static int set_arguments(int argc, char **argv)
{
    PyObject *list = PyList_New(argc);
    if (list == NULL)
        return -1;
    for (int i = 0; i < argc; i++) {
        PyObject *word = PyUnicode_DecodeUTF8(argv[i], (Py_ssize_t)strlen(argv[i]), "surrogateescape");
        if (word == NULL)
            return -1;
        PyList_SET_ITEM(list, i, word);
    }
    return PySys_SetObject("argv", list);
}

int main(int argc, char **argv)
{
    if (!revived) {
        size_t size;
        const char *marshalled = begin_image(&size);
        if (marshalled == NULL)
            return 1;
        initialise();
        import_modules(marshalled, size);
        save_image();
    }
    protect_executable(argv);
#ifdef TRAINING
    begin_training();
#endif
    if (is_protected)
        copy_written_pages();
    if (revive() == 0 && set_arguments(argc, argv) == 0) {
        PyObject *globals = PyModule_GetDict(PyImport_AddModule("__main__"));
        PyObject_CallNoArgs(PyDict_GetItemString(globals, "main")); /* ends the process */
    }
    if (PyErr_ExceptionMatches(PyExc_MemoryError)) /* before cli.py, which says so itself */
        fputs("ocirt: out of memory\n", stderr);
    else
        PyErr_Print();
    return 1;
}
