/* A network namespace that a process of its own makes while the runtime does other things; included by native.c, after
 * protect.c, which has early.c's CALL().
 *
 * The kernel takes 0.7 ms for one, a tenth of a run, and a clone that is to be born in it waits as long.  The process
 * shares the runtime's memory, of which it would else have to copy pages, and its table of descriptors, of which it uses
 * two.  So it touches nothing of Python's or of the C library's, whose thread it would seem to be, but `network`; and no
 * signal reaches it, whose handler would.
 */

#include <errno.h>
#include <linux/if.h>
#include <linux/sockios.h>
#include <sched.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>

static volatile long network; /* its descriptor, or -errno */

#if defined(__x86_64__) && defined(__LP64__) /* elsewhere CALL() sets errno */

/* With the loopback up, as the container is to have it.  SIOCGSKNS: close-on-exec. */
static int make_network(void *unused)
{
    struct ifreq loopback = {.ifr_name = "lo", .ifr_flags = IFF_UP};
    CALL(SYS_prctl, PR_SET_PDEATHSIG, SIGKILL);
    long result = CALL(SYS_unshare, CLONE_NEWNET);
    if (result == 0)
        result = CALL(SYS_socket, AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC);
    long any_socket = result;
    if (result >= 0)
        result = CALL(SYS_ioctl, any_socket, SIOCSIFFLAGS, &loopback);
    if (result >= 0)
        result = CALL(SYS_ioctl, any_socket, SIOCGSKNS);
    if (any_socket >= 0)
        CALL(SYS_close, any_socket);
    network = result;
    return 0;
}

/* begin_network(): the pid of the process that makes it, or -errno.  Its end raises no signal. */
static PyObject *begin_network(PyObject *module, PyObject *ignored)
{
    static char stack[4 * PAGE] __attribute__((aligned(16)));
    sigset_t all, before;
    sigfillset(&all);
    sigprocmask(SIG_SETMASK, &all, &before);
    network = -ECHILD; /* it may be killed */
    long maker = clone(make_network, stack + sizeof stack, CLONE_VM | CLONE_FILES, NULL);
    if (maker < 0)
        maker = -errno;
    sigprocmask(SIG_SETMASK, &before, NULL);
    return PyLong_FromLong(maker);
}

#else

static PyObject *begin_network(PyObject *module, PyObject *ignored)
{
    return PyLong_FromLong(-ENOSYS);
}

#endif

/* end_network(pid): wait for the process; the namespace's descriptor, close-on-exec, or -errno. */
static PyObject *end_network(PyObject *module, PyObject *pid)
{
    long maker = PyLong_AsLong(pid);
    if (maker == -1 && PyErr_Occurred())
        return NULL;
    while (waitpid((pid_t)maker, NULL, __WALL) < 0)
        if (errno != EINTR)
            return PyLong_FromLong(-errno);
    return PyLong_FromLong(network);
}

#define BESIDE {"begin_network", begin_network, METH_NOARGS, NULL}, {"end_network", end_network, METH_O, NULL}
