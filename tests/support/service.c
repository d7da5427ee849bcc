/* A service that counts, to be checkpointed: its state is in memory, on a tmpfs, in a TCP connection, on a terminal.
 *
 *   service PORT [MIB]
 *
 * Listens on PORT of every address (0: not at all).  Each line, from a connection or from standard input, is counted
 * and answered there with "COUNT LINE"; the count is also written to /tmp/count.  MIB of memory are filled, and the
 * first page of each MiB is written again with every line.  Says "ready" on standard output when it begins.
 */
#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#define MOST 16
#define MIB (1 << 20)

static unsigned count;
static char *memory;
static long mibs;

static void die(const char *what)
{
    perror(what);
    exit(1);
}

static void answer(int from, int to)
{
    char line[256], text[300];
    ssize_t size = read(from, line, sizeof line - 1);
    if (size <= 0) {
        if (from)
            close(from);
        return;
    }
    line[size] = 0;
    line[strcspn(line, "\r\n")] = 0;
    count++;
    for (long i = 0; i < mibs; i++)
        memory[i * MIB] = (char) count;
    int file = open("/tmp/count", O_WRONLY | O_CREAT | O_TRUNC, 0644);
    dprintf(file, "%u\n", count);
    close(file);
    snprintf(text, sizeof text, "%u %s\n", count, line);
    if (write(to, text, strlen(text)) < 0)
        die("write");
}

int main(int argc, char **argv)
{
    struct pollfd polled[MOST] = {{.fd = 0, .events = POLLIN}, {.fd = -1}};
    int port = argc > 1 ? atoi(argv[1]) : 0, used = 2;
    mibs = argc > 2 ? atol(argv[2]) : 0;
    if (mibs) { /* in small pages: what the kernel knows to have changed is a whole one */
        memory = mmap(NULL, mibs * MIB, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        if (memory == MAP_FAILED || madvise(memory, mibs * MIB, MADV_NOHUGEPAGE))
            die("memory");
    }
    for (long i = 0; i < mibs * MIB; i++)
        memory[i] = (char) (i * 7 + i / 4096);
    if (port) {
        struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(port)};
        int yes = 1, listening = socket(AF_INET, SOCK_STREAM, 0);
        setsockopt(listening, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof yes);
        if (bind(listening, (struct sockaddr *) &address, sizeof address) || listen(listening, 4))
            die("listen");
        polled[1] = (struct pollfd){.fd = listening, .events = POLLIN};
    }
    dprintf(1, "ready\n");
    for (;;) {
        if (poll(polled, used, -1) < 0)
            continue;
        if (polled[0].revents & POLLIN)
            answer(0, 1);
        else if (polled[0].revents)
            polled[0].fd = -1;
        for (int i = 2; i < used; i++)
            if (polled[i].revents)
                answer(polled[i].fd, polled[i].fd);
        if (polled[1].revents && used < MOST)
            polled[used++] = (struct pollfd){.fd = accept(polled[1].fd, NULL, NULL), .events = POLLIN};
    }
}
