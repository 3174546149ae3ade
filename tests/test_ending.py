"""A process ends as Python ends it: the same exit codes, nothing unsaid, nothing left open; only what comes after all that is left out."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

PROGRAM = """
import atexit, sys
from huiyi.ending import end_at_once

class Native:
    def __del__(self):
        print("taken down")

kept = Native()

def main():
    atexit.register(print, "put away", end="")
    {body}

end_at_once(main)
"""


def ended(body: str, **options) -> subprocess.CompletedProcess[str]:
    told = {
        "stdout": subprocess.PIPE,
        "stderr": subprocess.PIPE,
        "text": True,
        "timeout": 120,
        "env": os.environ | {"PYTHONUNBUFFERED": ""},
    } | options
    return subprocess.run([sys.executable, "-c", PROGRAM.format(body=body)], check=False, **told)


@pytest.mark.parametrize(("body", "code"), [("pass", 0), ("sys.exit(3)", 3), ("sys.exit()", 0), ("sys.exit('no')", 1), ("1 / 0", 1)])
def test_the_code_is_the_programs_and_what_was_to_be_done_at_the_end_is_done(body: str, code: int) -> None:
    done = ended(body)
    assert (done.returncode, done.stdout) == (code, "put away")
    assert ("ZeroDivisionError" in done.stderr) == (body == "1 / 0")
    assert ("no" in done.stderr.split()) == (body == "sys.exit('no')")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="a disk that is always full")
def test_output_that_could_not_be_written_is_no_success() -> None:
    with open("/dev/full", "w") as full:
        assert ended("pass", stdout=full).returncode == 120
        assert ended("sys.exit(3)", stdout=full).returncode == 3
