"""What `make install` builds the installed command from.  Nothing of it is imported by the runtime."""
