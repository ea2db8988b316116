"""Makes what a script prints reach the host line by line, as it would reach a terminal: a run may end at any moment.

Python's site imports this at each start but that with -S, before a virtual environment's packages too.  A regular file
and /dev/null keep their large writes.
"""
import os
import stat
import sys


def _write_lines(stream):
    if stream is None or stream.line_buffering or stream.write_through:
        return
    mode = os.fstat(stream.fileno()).st_mode
    if stat.S_ISFIFO(mode) or stat.S_ISSOCK(mode):
        stream.reconfigure(line_buffering=True)


_write_lines(sys.stdout)
