"""Every case against the build with AddressSanitizer and UndefinedBehaviorSanitizer, in nearly all of its jail."""
import os
import sys

sys.path.insert(0, os.path.dirname(os.path.realpath(__file__)))
from suite import tests  # noqa: E402

tests.add_cases(globals(), "sanitizer")
