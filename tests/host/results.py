"""--result and --meta write over what an earlier run wrote, and over nothing else.  No VM: the runs are refused."""
import json
import os

from lib import command, scratch, write_file

NOT_OURS = (
    "time: 2024-01-01\ntitle: notes\n", "time:12:30\n", "status: open\nowner: me\n", "status:done\n",
    "message: hello\n", "message:hello\nstatus:XX\n", "exitcode: 0\n", "dolania-reason:\n", "dolania-reason: usage\n",
    "dolania-reason:frobnicated\n", "dolania-reason:usage\nmine: 1\n", "dolania-reason:usage\n\nmine\n",
    "status:XX\nstatus:XX\ndolania-reason:usage\n", "title:x\ndolania-reason:usage\n", "dolania-reason:usage",
    "time:1\0\ndolania-reason:usage\n", "---\nstatus:XX\ndolania-reason:usage\n",
    "{\n  \"schema\": \"dolania.", "{\n  \"schema\": \"dolania.result.v1\"\n}\n", "{}\n", "[]\n", "null\n", "\n", " ",
    "{\n  \"schema\": \"dolania.policy.v1\",\n  \"mine\": 1\n}\n",
)


def refused_run(option, path):
    """A run that ends before a VM is made: with 125, and with a result."""
    return command("run", option, path, "--frobnicate")


def text_of(path):
    with open(path, encoding="utf-8", newline="") as f:
        return f.read()


def test_what_no_run_wrote_stays():
    with scratch() as d:
        results = []
        for option in ("--result", "--meta"):
            refused_run(option, f"{d}/ours")
            results.append(text_of(f"{d}/ours"))
            os.unlink(f"{d}/ours")
        whole = json.loads(results[0])
        notes = (json.dumps({**whole, "notes": "mine"}), json.dumps([whole]), results[0] + results[0], results[0] + "mine\n",
                 json.dumps({**whole, "run_id": "7"}), results[0][:-40], results[1] + "mine: 1\n", results[1][:-1],
                 "# mine\n" + results[1])
        for text in NOT_OURS + notes:
            for option in ("--result", "--meta"):
                path = write_file(d, "mine", text)
                os.symlink("mine", f"{d}/link")
                for name in (path, f"{d}/link"):
                    r = refused_run(option, name)
                    assert r.returncode == 125 and "no earlier run wrote it" in r.stderr, (option, text, r)
                    assert text_of(path) == text, (option, text)
                os.unlink(f"{d}/link")


def test_what_a_run_wrote_and_an_empty_file_are_written_anew():
    with scratch() as d:
        for first in ("--result", "--meta", None):
            for second in ("--result", "--meta"):
                write_file(d, "ours", "")
                os.symlink("ours", f"{d}/link")
                if first is not None:
                    refused_run(first, f"{d}/ours")
                r = refused_run(second, f"{d}/link")
                assert "no earlier run" not in r.stderr, (first, second, r)
                assert text_of(f"{d}/ours").startswith("{" if second == "--result" else "status:XX\n"), (first, second)
                os.unlink(f"{d}/link")


def test_a_result_stays_where_the_run_is_refused_for_another_file():
    with scratch() as d:
        refused_run("--result", f"{d}/ours")
        before = text_of(f"{d}/ours")
        write_file(d, "mine", "title: notes\n")
        for other in ("mine", "ours", "none/meta"):
            r = command("run", "--result", f"{d}/ours", "--meta", f"{d}/{other}", "-c", "true")
            assert r.returncode == 125 and text_of(f"{d}/ours") == before != "", (other, r)


def test_events_and_archives_lose_nothing():
    with scratch() as d:
        for text in ("time: 2024\n", "{}\n", "dolania-reason:usage\n"):
            path = write_file(d, "mine", text)
            for option in ("--events", "--out"):
                os.rename(path, f"{d}/mine.tar")
                command("run", option, f"{d}/mine.tar", "--frobnicate")
                assert text_of(f"{d}/mine.tar") == text, (option, text)
                os.rename(f"{d}/mine.tar", path)
