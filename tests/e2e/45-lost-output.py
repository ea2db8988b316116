"""Output that nobody takes must not look like success."""
import os
import signal
import subprocess
import time

from lib import DOLANIA, SLOWNESS, read_result, scratch


def test_cancel_while_output_waits_for_its_reader():
    with scratch() as d:
        path = os.path.join(d, "result.json")
        with subprocess.Popen([DOLANIA, "run", "--result", path, "-c", "head -c 150000 /dev/zero"],
                              stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as p:
            children = f"/proc/{p.pid}/task/{p.pid}/children"
            started = time.monotonic()

            def vmm_runs():
                with open(children, encoding="ascii") as f:
                    return bool(f.read().strip())

            while not vmm_runs():
                time.sleep(0.05)
            while vmm_runs() and time.monotonic() - started < 30 * SLOWNESS:
                time.sleep(0.05)
            assert p.poll() is None, "150000 bytes fitted into a pipe"
            p.send_signal(signal.SIGTERM)
            assert p.wait(10 * SLOWNESS) == -signal.SIGTERM
        assert read_result(path).reason == "cancelled"
