"""Run a command on a pseudoterminal of 40 rows and 100 columns; print what it writes, end with its exit status.

    python3 terminal.py COMMAND...

script(1) will not do: at the end of its standard input it types an end-of-file into the terminal.
"""

import fcntl
import os
import pty
import struct
import sys
import termios

pid, master = pty.fork()
if pid == 0:
    fcntl.ioctl(0, termios.TIOCSWINSZ, struct.pack("HHHH", 40, 100, 0, 0))
    os.execvp(sys.argv[1], sys.argv[1:])
while True:
    try:
        data = os.read(master, 65536)
    except OSError:  # EIO: nobody has the terminal open any more
        break
    if not data:
        break
    os.write(1, data)
sys.exit(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
