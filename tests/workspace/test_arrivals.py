"""What is on its way to a job: gone when it has arrived, gone at the next start when its server was killed, and only then."""

import subprocess
import sys
from pathlib import Path

from fakes import until
from huiyi.workspace.arrivals import arriving, sweep
from huiyi.workspace.jobs import Jobs
from live_server import command, raw, request_bytes

HOLDER = """
import sys, time
from pathlib import Path
from huiyi.workspace.arrivals import arriving
with arriving(Path(sys.argv[1])) as folder:
    (folder / "body").write_bytes(b"half of it")
    print(folder, flush=True)
    sys.stdin.read()
"""


def held(place: Path) -> tuple["subprocess.Popen[str]", Path]:
    """A folder that another process has in use."""
    process = subprocess.Popen([sys.executable, "-c", HOLDER, str(place)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdout
    return process, Path(process.stdout.readline().strip())


def folders(place: Path) -> list[str]:
    return sorted(path.name for path in place.iterdir() if path.is_dir())


def test_a_folder_is_gone_when_it_is_left(tmp_path) -> None:
    with arriving(tmp_path) as first, arriving(tmp_path) as second:
        assert first != second
        assert sorted([first.name, second.name]) == folders(tmp_path)
    assert folders(tmp_path) == []


def test_only_what_killed_processes_left_is_swept(tmp_path) -> None:
    (tmp_path / "20260101-000000-00000000").mkdir()
    alive, theirs = held(tmp_path)
    dead, left = held(tmp_path)
    dead.kill()
    dead.wait()
    with arriving(tmp_path) as own:
        sweep(tmp_path)
        assert folders(tmp_path) == sorted(["20260101-000000-00000000", own.name, theirs.name])
        assert (theirs / "body").read_bytes() == b"half of it"
        assert not left.exists()
    alive.communicate("")
    assert alive.returncode == 0
    assert folders(tmp_path) == ["20260101-000000-00000000"]


def test_a_start_makes_no_folder(tmp_path) -> None:
    queue = Jobs(home=tmp_path)
    queue.start()
    queue.close()
    assert list(tmp_path.iterdir()) == []


def test_an_upload_whose_server_is_killed_leaves_nothing_after_the_next_start(tmp_path) -> None:
    home, jobs = tmp_path / "home", tmp_path / "home" / "jobs"
    half = request_bytes(
        b"text\n" + b"a question\n" * 100_000, b"Content-Length: 10000000", path=b"/v1/collections/faq/index?filename=faq.csv"
    )
    half = half.replace(b"application/json", b"application/octet-stream")
    with command(home, "--model", "starter", log=tmp_path) as (process, address), raw(address, half):
        until(lambda: any(path.stat().st_size for path in jobs.glob(".arriving-*/body")))
        process.kill()
        process.wait()
    assert len(folders(jobs)) == 1
    alive, theirs = held(jobs)
    with command(home, "--model", "starter", log=tmp_path):
        until(lambda: folders(jobs) == [theirs.name])
    alive.communicate("")
