"""Every case against the release build: the VMM that is installed, in all of its jail."""
import os
import sys

sys.path.insert(0, os.path.dirname(os.path.realpath(__file__)))
from suite import tests  # noqa: E402

tests.add_cases(globals(), "release")
