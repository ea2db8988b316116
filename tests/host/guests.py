"""The guests of tests/e2e/guests are built here, where it is quick; the end-to-end tests use them."""
from lib import guest_with


def test_guests_build():
    for kernel in ("triple", "spin", "halt"):
        guest_with(kernel=kernel)
    for init in ("exits", "panics"):
        guest_with(init=init)
