/* What rehearsal.py needs while the image is made; included by native.c. */

static PyObject *pass_keywords(PyObject *function, PyObject *const *arguments, Py_ssize_t count, PyObject *names)
{
    return PyObject_Vectorcall(function, arguments, (size_t)count, names);
}

static PyObject *pass_positional(PyObject *function, PyObject *const *arguments, Py_ssize_t count)
{
    return PyObject_Vectorcall(function, arguments, (size_t)count, NULL);
}

static PyObject *pass_one(PyObject *function, PyObject *argument)
{
    return PyObject_CallOneArg(function, argument);
}

static PyObject *pass_none(PyObject *function, PyObject *ignored)
{
    return PyObject_CallNoArgs(function);
}

static PyObject *pass_tuple(PyObject *function, PyObject *arguments)
{
    return PyObject_CallObject(function, arguments);
}

static PyObject *pass_all(PyObject *function, PyObject *arguments, PyObject *names)
{
    return PyObject_Call(function, arguments, names);
}

/* stand_in(builtin, function): a builtin that is called in the same way, and calls the function.  For Python's code both
   are the same then, down to the instructions that it is specialised to. */
static PyObject *stand_in(PyObject *module, PyObject *arguments)
{
    static PyMethodDef conventions[] = {
        {"stand_in", (PyCFunction)(void (*)(void))pass_keywords, METH_FASTCALL | METH_KEYWORDS, NULL},
        {"stand_in", (PyCFunction)(void (*)(void))pass_positional, METH_FASTCALL, NULL},
        {"stand_in", pass_one, METH_O, NULL},
        {"stand_in", pass_none, METH_NOARGS, NULL},
        {"stand_in", pass_tuple, METH_VARARGS, NULL},
        {"stand_in", (PyCFunction)(void (*)(void))pass_all, METH_VARARGS | METH_KEYWORDS, NULL},
    };
    PyObject *builtin, *function;
    if (!PyArg_ParseTuple(arguments, "O!O", &PyCFunction_Type, &builtin, &function))
        return NULL;
    for (size_t i = 0; i < sizeof conventions / sizeof *conventions; i++)
        if (conventions[i].ml_flags == PyCFunction_GET_FLAGS(builtin))
            return PyCFunction_New(&conventions[i], function);
    return PyErr_Format(PyExc_TypeError, "no way to call %R is known", builtin);
}

#define REHEARSAL {"stand_in", stand_in, METH_VARARGS, NULL}
