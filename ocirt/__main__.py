"""For work in the tree: `python3 -m ocirt`.

Only the launcher made by `make install` isolates the interpreter (-IS): this file does not, because what could
protect it, starting Python a second time, costs 6 ms and hides the environment a developer asked for.
"""

from ocirt.cli import main

main()
