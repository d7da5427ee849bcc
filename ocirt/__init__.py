"""ocirt: an OCI low-level container runtime.  Imports nothing: every command pays for it."""

__version__ = "0.1.0"
OCI_VERSION = "1.3.0"
