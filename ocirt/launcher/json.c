/* A scanner and a writer of JSON text (RFC 8259) for config/jsontext.py; included where a module is made of them.
 *
 * The scanner says yes or no: jsonfault.py finds out what is wrong, and where.  What is right and wrong is the same as for
 * the standard library's scanner, which takes its place in the portable form; the writer's place takes jsontext.py's own,
 * whose text is the same.
 */

/* A text that is being read. */
struct json {
    PyObject *text; /* lives as long as this, and nobody changes it */
    const void *characters;
    int kind; /* of characters, as PyUnicode_READ wants it */
    Py_ssize_t length;
    Py_ssize_t at; /* the next character */
    int levels;    /* of nesting that are left */
    PyObject *names;         /* of members, each once */
    PyObject *without_nulls; /* what to call with an object that has members which are null */
};

static PyObject *json_value(struct json *json);

/* The next character; 0, which is nowhere allowed, at the end. */
static Py_UCS4 json_next(const struct json *json)
{
    return json->at < json->length ? PyUnicode_READ(json->kind, json->characters, json->at) : 0;
}

/* The same, after white space. */
static Py_UCS4 json_token(struct json *json)
{
    for (;; json->at++) {
        Py_UCS4 next = json_next(json);
        if (next != ' ' && next != '\n' && next != '\t' && next != '\r')
            return next;
    }
}

static PyObject *json_refuse(void)
{
    PyErr_SetString(PyExc_ValueError, "no JSON text");
    return NULL;
}

/* What \uXXXX stands for; `at` is the first of the digits, and then what follows them.  -1 where they are none. */
static int json_unicode(struct json *json)
{
    int code = 0;
    for (Py_ssize_t end = json->at + 4; json->at < end; json->at++) {
        Py_UCS4 next = json_next(json);
        if (next >= '0' && next <= '9')
            code = code << 4 | (int)(next - '0');
        else if ((next | 0x20) >= 'a' && (next | 0x20) <= 'f')
            code = code << 4 | (int)((next | 0x20) - 'a' + 10);
        else
            return -1;
    }
    return code;
}

/* What an escape stands for; `at` is what follows the backslash, and then what follows the escape.  -1 where it is none.
   Half a surrogate pair stands for itself. */
static int json_escape(struct json *json)
{
    Py_UCS4 which = json_next(json);
    json->at++;
    switch (which) {
    case '"':
    case '\\':
    case '/':
        return (int)which;
    case 'b':
        return '\b';
    case 'f':
        return '\f';
    case 'n':
        return '\n';
    case 'r':
        return '\r';
    case 't':
        return '\t';
    case 'u':
        break;
    default:
        return -1;
    }
    int first = json_unicode(json);
    if (first < 0 || !Py_UNICODE_IS_HIGH_SURROGATE((Py_UCS4)first))
        return first;
    Py_ssize_t behind = json->at;
    if (json_next(json) == '\\') {
        json->at++;
        if (json_next(json) == 'u') {
            json->at++;
            int second = json_unicode(json);
            if (second >= 0 && Py_UNICODE_IS_LOW_SURROGATE((Py_UCS4)second))
                return (int)Py_UNICODE_JOIN_SURROGATES((Py_UCS4)first, (Py_UCS4)second);
        }
    }
    json->at = behind;
    return first;
}

/* Go to the first character from `at` on that does not stand for itself in a string, and return it. */
static Py_UCS4 json_plain(struct json *json)
{
    for (; json->at < json->length; json->at++) {
        Py_UCS4 next = PyUnicode_READ(json->kind, json->characters, json->at);
        if (next == '"' || next == '\\' || next < ' ')
            return next;
    }
    return 0;
}

/* The rest of a string with escapes, of which `start` is the first character and `at` the first backslash. */
static PyObject *json_escaped(struct json *json, Py_ssize_t start)
{
    _PyUnicodeWriter writer;
    _PyUnicodeWriter_Init(&writer);
    writer.overallocate = 1;
    for (;;) {
        Py_UCS4 next = json_plain(json);
        if (_PyUnicodeWriter_WriteSubstring(&writer, json->text, start, json->at) < 0)
            break;
        json->at++;
        if (next == '"')
            return _PyUnicodeWriter_Finish(&writer);
        int meant = next == '\\' ? json_escape(json) : -1;
        if (meant < 0)
            json_refuse();
        if (meant < 0 || _PyUnicodeWriter_WriteChar(&writer, (Py_UCS4)meant) < 0)
            break;
        start = json->at;
    }
    _PyUnicodeWriter_Dealloc(&writer);
    return NULL;
}

/* `at` is the opening quote. */
static PyObject *json_string(struct json *json)
{
    Py_ssize_t start = ++json->at;
    Py_UCS4 next = json_plain(json);
    if (next == '\\')
        return json_escaped(json, start);
    if (next != '"')
        return json_refuse();
    return PyUnicode_Substring(json->text, start, json->at++);
}

/* How many digits there are; `at` is then what follows them. */
static Py_ssize_t json_digits(struct json *json)
{
    Py_ssize_t start = json->at;
    for (Py_UCS4 next = json_next(json); next >= '0' && next <= '9'; next = json_next(json))
        json->at++;
    return json->at - start;
}

/* What follows a number is for the caller to refuse. */
static PyObject *json_number(struct json *json)
{
    Py_ssize_t start = json->at;
    int is_float = 0;
    if (json_next(json) == '-')
        json->at++;
    if (json_next(json) == '0')
        json->at++;
    else if (json_digits(json) == 0)
        return json_refuse();
    if (json_next(json) == '.') {
        json->at++;
        is_float = 1;
        if (json_digits(json) == 0)
            return json_refuse();
    }
    if (json_next(json) == 'e' || json_next(json) == 'E') {
        json->at++;
        is_float = 1;
        if (json_next(json) == '+' || json_next(json) == '-')
            json->at++;
        if (json_digits(json) == 0)
            return json_refuse();
    }
    PyObject *text = PyUnicode_Substring(json->text, start, json->at);
    if (text == NULL)
        return NULL;
    PyObject *number = is_float ? PyFloat_FromString(text) : PyLong_FromUnicodeObject(text, 10);
    Py_DECREF(text);
    return number;
}

static PyObject *json_word(struct json *json, const char *word, PyObject *value)
{
    for (; *word != '\0'; word++, json->at++)
        if (json_next(json) != (Py_UCS4)*word)
            return json_refuse();
    return Py_NewRef(value);
}

/* Whether there is another element.  Before the first, `at` is the opening bracket, before others what follows an
   element; then it is where the next one begins, or what follows the closing bracket.  -1 with an exception. */
static int json_another(struct json *json, int is_first, Py_UCS4 closing)
{
    if (is_first)
        json->at++;
    Py_UCS4 next = json_token(json);
    if (next == closing) {
        json->at++;
        return 0;
    }
    if (!is_first) {
        if (next != ',') {
            json_refuse();
            return -1;
        }
        json->at++;
        json_token(json);
    }
    return 1;
}

static PyObject *json_array(struct json *json)
{
    PyObject *array = PyList_New(0);
    int more = array == NULL ? -1 : json_another(json, 1, ']');
    while (more > 0) {
        PyObject *item = json_value(json);
        more = item == NULL || PyList_Append(array, item) < 0 ? -1 : json_another(json, 0, ']');
        Py_XDECREF(item);
    }
    if (more < 0)
        Py_CLEAR(array);
    return array;
}

/* One of an object's members, put into it.  Whether it is null, or -1 with an exception. */
static int json_member(struct json *json, PyObject *object)
{
    int is_null = -1;
    PyObject *value = NULL, *name = json_next(json) == '"' ? json_string(json) : json_refuse();
    PyObject *known = name == NULL ? NULL : PyDict_SetDefault(json->names, name, name);
    if (known != NULL && json_token(json) != ':')
        json_refuse();
    else if (known != NULL) {
        json->at++;
        json_token(json);
        value = json_value(json);
    }
    if (value != NULL && PyDict_SetItem(object, known, value) == 0)
        is_null = value == Py_None;
    Py_XDECREF(value);
    Py_XDECREF(name); /* `known` is kept by the names */
    return is_null;
}

static PyObject *json_object(struct json *json)
{
    PyObject *object = PyDict_New();
    Py_ssize_t members = 0;
    int nulls = 0, more = object == NULL ? -1 : json_another(json, 1, '}');
    for (; more > 0; members++) {
        int is_null = json_member(json, object);
        more = is_null < 0 ? -1 : json_another(json, 0, '}');
        nulls |= is_null;
    }
    if (more == 0 && PyDict_GET_SIZE(object) != members) { /* a name was given twice */
        json_refuse();
        more = -1;
    }
    if (more == 0 && nulls) {
        PyObject *done = PyObject_CallOneArg(json->without_nulls, object);
        more = done == NULL ? -1 : 0;
        Py_XDECREF(done);
    }
    if (more < 0)
        Py_CLEAR(object);
    return object;
}

/* The value that begins at `at`, which is then what follows it. */
static PyObject *json_value(struct json *json)
{
    Py_UCS4 next = json_next(json);
    switch (next) {
    case '"':
        return json_string(json);
    case 't':
        return json_word(json, "true", Py_True);
    case 'f':
        return json_word(json, "false", Py_False);
    case 'n':
        return json_word(json, "null", Py_None);
    case '{':
    case '[':
        break;
    default:
        return json_number(json);
    }
    if (json->levels == 0)
        return json_refuse();
    json->levels--;
    PyObject *value = next == '{' ? json_object(json) : json_array(json);
    json->levels++;
    return value;
}

/* scan_json(text, start, levels, without_nulls): the value that begins there, and where it ends.  Raises ValueError for
   a text that is none, for names given twice and for more levels of nesting.  without_nulls() is called with each
   object that has members which are null. */
static PyObject *scan_json(PyObject *module, PyObject *arguments)
{
    struct json json = {0};
    if (!PyArg_ParseTuple(arguments, "UniO", &json.text, &json.at, &json.levels, &json.without_nulls))
        return NULL;
    json.characters = PyUnicode_DATA(json.text);
    json.kind = PyUnicode_KIND(json.text);
    json.length = PyUnicode_GET_LENGTH(json.text);
    if (json.at < 0 || json.levels < 0)
        return json_refuse();
    json.names = PyDict_New();
    if (json.names == NULL)
        return NULL;
    PyObject *value = json_value(&json);
    Py_DECREF(json.names);
    return value == NULL ? NULL : Py_BuildValue("Nn", value, json.at);
}

/* A text that is being written. */
struct json_output {
    _PyUnicodeWriter text;
    Py_ssize_t indent; /* spaces for each level, or negative: all in one line */
    Py_ssize_t margin; /* those of this level */
};

/* Room to begin with: more than most records and states need.  Python's pools for small objects have no such blocks: each
   of the sizes that the text would grow through there would be another page to touch. */
#define MOST_TEXT 2048

static int json_write(struct json_output *output, PyObject *value);

static int json_put(struct json_output *output, Py_UCS4 character)
{
    return _PyUnicodeWriter_WriteChar(&output->text, character);
}

static int json_put_word(struct json_output *output, const char *word)
{
    return _PyUnicodeWriter_WriteASCIIString(&output->text, word, (Py_ssize_t)strlen(word));
}

/* One of UTF-16's. */
static int json_write_unit(struct json_output *output, unsigned unit)
{
    static const char digits[] = "0123456789abcdef";
    const char escape[] = {
        '\\', 'u', digits[unit >> 12 & 15], digits[unit >> 8 & 15], digits[unit >> 4 & 15], digits[unit & 15], '\0',
    };
    return json_put_word(output, escape);
}

static int json_write_escape(struct json_output *output, Py_UCS4 character)
{
    switch (character) {
    case '"':
        return json_put_word(output, "\\\"");
    case '\\':
        return json_put_word(output, "\\\\");
    case '\n':
        return json_put_word(output, "\\n");
    case '\t':
        return json_put_word(output, "\\t");
    }
    if (character <= 0xffff)
        return json_write_unit(output, character);
    if (json_write_unit(output, Py_UNICODE_HIGH_SURROGATE(character)) < 0)
        return -1;
    return json_write_unit(output, Py_UNICODE_LOW_SURROGATE(character));
}

/* Whether it stands for itself, as log.quote() has it.  Python's table is not touched for ASCII. */
static int json_is_plain(Py_UCS4 character)
{
    if (character == '"' || character == '\\')
        return 0;
    return character < 0x7f ? character >= ' ' : Py_UNICODE_ISPRINTABLE(character);
}

static int json_write_string(struct json_output *output, PyObject *string)
{
    const void *characters = PyUnicode_DATA(string);
    int kind = PyUnicode_KIND(string);
    Py_ssize_t start = 0, length = PyUnicode_GET_LENGTH(string);
    if (json_put(output, '"') < 0)
        return -1;
    for (Py_ssize_t at = 0; at < length; at++) {
        Py_UCS4 character = PyUnicode_READ(kind, characters, at);
        if (json_is_plain(character))
            continue;
        if (_PyUnicodeWriter_WriteSubstring(&output->text, string, start, at) < 0)
            return -1;
        if (json_write_escape(output, character) < 0)
            return -1;
        start = at + 1;
    }
    if (_PyUnicodeWriter_WriteSubstring(&output->text, string, start, length) < 0)
        return -1;
    return json_put(output, '"');
}

static int json_write_integer(struct json_output *output, PyObject *number)
{
    PyObject *digits = _PyLong_Format(number, 10);
    int done = digits == NULL ? -1 : _PyUnicodeWriter_WriteStr(&output->text, digits);
    Py_XDECREF(digits);
    return done;
}

static int json_write_float(struct json_output *output, double number)
{
    if (isinf(number)) /* what 1e999 is read as */
        return json_put_word(output, number > 0 ? "1e999" : "-1e999");
    char *digits = PyOS_double_to_string(number, 'r', 0, Py_DTSF_ADD_DOT_0, NULL);
    int done = digits == NULL ? -1 : json_put_word(output, digits);
    PyMem_Free(digits);
    return done;
}

/* To where the next element, or the closing bracket, begins. */
static int json_write_break(struct json_output *output)
{
    if (output->indent < 0)
        return 0;
    int done = json_put(output, '\n');
    for (Py_ssize_t space = 0; space < output->margin && done == 0; space++)
        done = json_put(output, ' ');
    return done;
}

/* A list or a tuple. */
static int json_write_items(struct json_output *output, PyObject *array)
{
    for (Py_ssize_t i = 0; i < PySequence_Fast_GET_SIZE(array); i++) {
        if (i > 0 && json_put(output, ',') < 0)
            return -1;
        if (json_write_break(output) < 0 || json_write(output, PySequence_Fast_GET_ITEM(array, i)) < 0)
            return -1;
    }
    return 0;
}

static int json_write_members(struct json_output *output, PyObject *object)
{
    PyObject *name, *value;
    for (Py_ssize_t at = 0, is_first = 1; PyDict_Next(object, &at, &name, &value); is_first = 0) {
        if (!is_first && json_put(output, ',') < 0)
            return -1;
        if (json_write_break(output) < 0 || json_write_string(output, name) < 0)
            return -1;
        if (json_put_word(output, output->indent < 0 ? ":" : ": ") < 0 || json_write(output, value) < 0)
            return -1;
    }
    return 0;
}

/* A dictionary, a list or a tuple. */
static int json_write_container(struct json_output *output, PyObject *value, int is_object, Py_ssize_t size)
{
    if (size == 0)
        return json_put_word(output, is_object ? "{}" : "[]");
    if (json_put(output, is_object ? '{' : '[') < 0 || Py_EnterRecursiveCall(" while JSON is written"))
        return -1;
    output->margin += output->indent;
    int done = is_object ? json_write_members(output, value) : json_write_items(output, value);
    output->margin -= output->indent;
    Py_LeaveRecursiveCall();
    if (done < 0 || json_write_break(output) < 0)
        return -1;
    return json_put(output, is_object ? '}' : ']');
}

static int json_has_names(PyObject *dictionary)
{
    PyObject *name;
    for (Py_ssize_t at = 0; PyDict_Next(dictionary, &at, &name, NULL);)
        if (!PyUnicode_Check(name))
            return 0;
    return 1;
}

/* Nothing here executes Python, so that value and what is in it need no counting: what the image has is only read. */
static int json_write(struct json_output *output, PyObject *value)
{
    if (value == Py_None)
        return json_put_word(output, "null");
    if (PyBool_Check(value))
        return json_put_word(output, value == Py_True ? "true" : "false");
    if (PyUnicode_Check(value))
        return json_write_string(output, value);
    if (PyLong_Check(value))
        return json_write_integer(output, value);
    if (PyFloat_Check(value) && !isnan(PyFloat_AS_DOUBLE(value)))
        return json_write_float(output, PyFloat_AS_DOUBLE(value));
    if (PyDict_Check(value) && json_has_names(value))
        return json_write_container(output, value, 1, PyDict_GET_SIZE(value));
    if (PyList_Check(value) || PyTuple_Check(value))
        return json_write_container(output, value, 0, PySequence_Fast_GET_SIZE(value));
    PyObject *type = PyType_GetName(Py_TYPE(value));
    if (type != NULL)
        PyErr_Format(PyExc_TypeError, "%U has no form in JSON", type);
    Py_XDECREF(type);
    return -1;
}

/* dump_json(value, indent): value as JSON text, with indent spaces for each level; in one line if indent is negative.
   Raises TypeError for what JSON has no form for, RecursionError for nesting deeper than Python's calls may be. */
static PyObject *dump_json(PyObject *module, PyObject *arguments)
{
    struct json_output output = {0};
    PyObject *value;
    if (!PyArg_ParseTuple(arguments, "On", &value, &output.indent))
        return NULL;
    _PyUnicodeWriter_Init(&output.text);
    output.text.overallocate = 1;
    output.text.min_length = MOST_TEXT;
    if (json_write(&output, value) == 0)
        return _PyUnicodeWriter_Finish(&output.text);
    _PyUnicodeWriter_Dealloc(&output.text);
    return NULL;
}

#define JSON {"scan_json", scan_json, METH_VARARGS, NULL}, {"dump_json", dump_json, METH_VARARGS, NULL}
