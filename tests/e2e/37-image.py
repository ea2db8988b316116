"""Images of one's own: what tools/image made of an OCI layout boots, and scripts run in it."""
from layouts import oci_of_base
from lib import run, scratch, write_file


def test_a_script_runs_in_an_image_made_of_an_oci_layout():
    with scratch() as d:
        script = write_file(d, "s.sh", "#!/bin/bash\nset -e\ngreet $1; greeting again\nid -un; cat /home/app/data\n"
                            "test ! -e /etc/bash.bashrc\nfor p in /tmp /work /run /var/tmp; do echo x >$p/f; done\n"
                            "ls -ld /in /out /scratch | wc -l\n")
        r = run("--runtime", oci_of_base(), script, "world")
        assert (r.code, r.err) == (0, b""), r
        assert r.text == "hello world\nhello again\nscript\nof the layer\n3\n", r
        measured = [m for m in r.result["measured"] if m["role"] == "image"]
        assert measured and measured[0]["name"].endswith("oci.erofs"), r


def test_inputs_are_seen_in_it_and_its_settings_are_not():
    with scratch() as d:
        write_file(d, "f", "from the host\n")
        r = run("--runtime", oci_of_base(), "--in", d, "-c", "cat /in/f; echo ${APP-unset}; touch /home/app/x")
        assert (r.code, r.text) == (1, "from the host\nunset\n"), r
        assert "Read-only file system" in r.errtext, r

