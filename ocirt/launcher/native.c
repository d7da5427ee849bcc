/* The native launcher: ocirt's modules and the interpreter in one executable.
 *
 * Python is initialised to its core only (PyConfig._init_main = 0): built-in types, built-in and frozen modules, no
 * encodings package, no sys.path, no standard streams.  That is what a container needs, and 4 ms less than all of it.
 * boot.py imports what the core lacks after complete(), which does the rest.
 *
 * Linked with the static libpython of one version of Python: it uses what may change with the next one.
 */
#define PY_SSIZE_T_CLEAN
#include <Python.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#if PY_VERSION_HEX < 0x030b0000 || PY_VERSION_HEX >= 0x030c0000
#error "the native launcher knows the core of Python 3.11 only"
#endif

extern int _PySignal_Init(int install_signal_handlers); /* part of the initialisation after the core */
extern PyStatus _Py_InitializeMain(void);

/* frozen.c, written by freeze.py */
extern PyObject *frozen_module(const char *name);

#include "protect.c"
#include "syscalls.c"

/* code(name): a module's code, None when it is not in the executable. */
static PyObject *code(PyObject *module, PyObject *name)
{
    const char *text = PyUnicode_AsUTF8(name);
    if (text == NULL)
        return NULL;
    PyObject *found = frozen_module(text);
    if (found == NULL)
        Py_RETURN_NONE;
    return Py_NewRef(found);
}

/* complete(): from the core to a whole interpreter, whose standard library can be imported. */
static PyObject *complete(PyObject *module, PyObject *ignored)
{
    PyStatus status = _Py_InitializeMain();
    if (PyStatus_Exception(status)) {
        PyErr_Format(PyExc_ImportError, "the Python interpreter cannot be completed: %s", status.err_msg);
        return NULL;
    }
    Py_RETURN_NONE;
}

static PyMethodDef methods[] = {
    SYSCALLS,
    {"code", code, METH_O, NULL},
    {"complete", complete, METH_NOARGS, NULL},
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
static void initialise(int argc, char **argv)
{
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
    check(PyConfig_SetBytesArgv(&config, argc, argv));
    check(Py_InitializeFromConfig(&config));
    PyConfig_Clear(&config);
    if (_PySignal_Init(1) < 0)
        check(PyStatus_Error("no signals"));
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
    protect_executable(argv);
    initialise(argc, argv);
    PyObject *boot = frozen_module("ocirt.launcher.boot");
    PyObject *globals = PyModule_GetDict(PyImport_AddModule("__main__"));
    if (set_arguments(argc, argv) < 0 || PyDict_SetItemString(globals, "__builtins__", PyEval_GetBuiltins()) < 0)
        return 1;
    PyEval_EvalCode(boot, globals, globals); /* ends the process */
    if (PyErr_ExceptionMatches(PyExc_MemoryError)) /* before cli.py, which says so itself */
        fputs("ocirt: out of memory\n", stderr);
    else
        PyErr_Print();
    return 1;
}
