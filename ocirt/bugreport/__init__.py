"""`ocirt bugreport`: what is known of a container and its host, without secrets, as one archive.

redact.py knows what is secret, gather.py reads, archive.py packs.  Loaded by that command alone.
"""
