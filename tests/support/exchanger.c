/* Exchange two names of one directory, as fast as they can be, until killed: renameat2(2), RENAME_EXCHANGE.
 * Prints "exchanging" when the first one is done.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>

int main(int argc, char **argv)
{
    if (argc != 3)
        return 2;
    for (unsigned long count = 0;; count++) {
        if (renameat2(AT_FDCWD, argv[1], AT_FDCWD, argv[2], RENAME_EXCHANGE) < 0) {
            perror("renameat2");
            return 1;
        }
        if (count == 0) {
            puts("exchanging");
            fflush(stdout);
        }
    }
}
