"""Every positive control: the suite must catch it, and must not cry over the same code unweakened."""
import os
import sys

sys.path.insert(0, os.path.dirname(os.path.realpath(__file__)))
from suite import tests  # noqa: E402

tests.add_controls(globals())
