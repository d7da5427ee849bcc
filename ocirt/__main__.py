"""For work in the tree: `python3 -IS -c ...` is what the installed launcher does, `python3 -m ocirt` what a developer types.

Only the launcher made by `make install` isolates the interpreter (-IS): this file does not, because what could
protect it, starting Python a second time, costs 6 ms and hides the environment a developer asked for.
"""

from ocirt.cli import main

main()
