/* Whether a value has the shape that config/shapes.py gives it, for config/schema.py; included where a module is made of
 * it.
 *
 * It says yes or no: schema.py finds out what is wrong, and where.  Shapes are what shapes.py says they are, and neither
 * deep nor endless.  Nothing here needs counting: value and shape hold on to what is in them, and what the image has is
 * only read.
 */

/* All return 1 for yes, 0 for no, -1 with an exception.  tests: of patterns, as schema.py has them. */
static int shape_fits(PyObject *shape, PyObject *value, PyObject *tests);

static int shape_fits_object(PyObject *required, PyObject *members, PyObject *value, PyObject *tests)
{
    PyObject *name, *member;
    int fits = PyDict_CheckExact(value);
    for (Py_ssize_t i = 0; fits > 0 && i < PyTuple_GET_SIZE(required); i++)
        fits = PyDict_Contains(value, PyTuple_GET_ITEM(required, i));
    for (Py_ssize_t at = 0; fits > 0 && PyDict_Next(value, &at, &name, &member);) {
        PyObject *shape = PyDict_GetItemWithError(members, name);
        if (shape != NULL)
            fits = shape_fits(shape, member, tests);
        else if (PyErr_Occurred())
            fits = -1;
    }
    return fits;
}

static int shape_fits_map(PyObject *shape, PyObject *value, PyObject *tests)
{
    PyObject *member;
    int fits = PyDict_CheckExact(value);
    for (Py_ssize_t at = 0; fits > 0 && PyDict_Next(value, &at, NULL, &member);)
        fits = shape_fits(shape, member, tests);
    return fits;
}

static int shape_fits_array(PyObject *shape, PyObject *least, PyObject *value, PyObject *tests)
{
    int fits = PyList_CheckExact(value) && PyList_GET_SIZE(value) >= PyLong_AsSsize_t(least);
    for (Py_ssize_t i = 0; fits > 0 && i < PyList_GET_SIZE(value); i++)
        fits = shape_fits(shape, PyList_GET_ITEM(value, i), tests);
    return fits;
}

static int shape_fits_integer(PyObject *minimum, PyObject *maximum, PyObject *value)
{
    int fits = PyLong_CheckExact(value);
    if (fits > 0 && minimum != Py_None)
        fits = PyObject_RichCompareBool(minimum, value, Py_LE);
    if (fits > 0 && maximum != Py_None)
        fits = PyObject_RichCompareBool(value, maximum, Py_LE);
    return fits;
}

static int shape_fits_pattern(PyObject *expression, PyObject *value, PyObject *tests)
{
    if (!PyUnicode_CheckExact(value))
        return 0;
    PyObject *test = PyDict_GetItemWithError(tests, expression); /* words, function */
    PyObject *answer = test == NULL ? NULL : PyObject_CallOneArg(PyTuple_GET_ITEM(test, 1), value);
    int fits = answer == NULL ? -1 : PyObject_IsTrue(answer);
    Py_XDECREF(answer);
    return fits;
}

static int shape_fits(PyObject *shape, PyObject *value, PyObject *tests)
{
    if (PyType_Check(shape))
        return Py_IS_TYPE(value, (PyTypeObject *)shape);
    PyObject *first = PyTuple_GET_ITEM(shape, 1);
    PyObject *second = PyTuple_GET_SIZE(shape) > 2 ? PyTuple_GET_ITEM(shape, 2) : NULL;
    switch (PyUnicode_READ_CHAR(PyTuple_GET_ITEM(shape, 0), 0)) {
    case 'o':
        return shape_fits_object(first, second, value, tests);
    case 'm':
        return shape_fits_map(first, value, tests);
    case 'a':
        return shape_fits_array(first, second, value, tests);
    case 'i':
        return shape_fits_integer(first, second, value);
    case 'e':
        return PyUnicode_CheckExact(value) ? PySequence_Contains(first, value) : 0;
    case 'p':
        return shape_fits_pattern(first, value, tests);
    default:
        return 0;
    }
}

/* has_shape(value, shape, tests): raises what a test raises. */
static PyObject *has_shape(PyObject *module, PyObject *arguments)
{
    PyObject *value, *shape, *tests;
    if (!PyArg_ParseTuple(arguments, "OOO!", &value, &shape, &PyDict_Type, &tests))
        return NULL;
    int fits = shape_fits(shape, value, tests);
    return fits < 0 ? NULL : PyBool_FromLong(fits);
}

#define SHAPE {"has_shape", has_shape, METH_VARARGS, NULL}
