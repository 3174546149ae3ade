"""Nothing leaves the machine: using a model starts no process, opens no connection, and writes only where it was told to."""

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

# Runs before the program in a fresh interpreter. Python's audit events show what Python code does; what native code does shows
# in /proc (children, sockets) and in the folders themselves.
WATCH = """
import atexit, glob, json, os, sys, time

SEEN = {"processes": [], "connections": [], "writes": []}
KINDS = {"subprocess.Popen": "processes", "os.posix_spawn": "processes", "os.fork": "processes", "os.exec": "processes",
         "os.system": "processes", "socket.connect": "connections", "socket.getaddrinfo": "connections", "socket.sendto": "connections",
         "os.mkdir": "writes", "os.rename": "writes", "os.link": "writes", "os.symlink": "writes", "sqlite3.connect": "writes"}
WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_TRUNC

def note(event, args):
    if event in KINDS:
        what = str(args[1] if event in ("os.rename", "os.link", "os.symlink", "socket.connect") else args[0])
        SEEN[KINDS[event]].append(os.path.abspath(what) if KINDS[event] == "writes" else what)
    elif event == "open" and isinstance(args[0], (str, bytes)) and args[2] & WRITING:
        SEEN["writes"].append(os.path.abspath(os.fsdecode(args[0])))

def report():
    time.sleep(0.5)  # a thread that sends in the background has begun by now
    for path in glob.glob("/proc/self/task/*/children"):
        SEEN["processes"] += [f"child {child}" for child in open(path).read().split()]
    for fd in glob.glob("/proc/self/fd/*"):
        if os.path.islink(fd) and os.readlink(fd).startswith("socket:"):
            SEEN["connections"].append(os.readlink(fd))
    print("SEEN" + json.dumps(SEEN))

atexit.register(report)  # registered first, so it runs last
sys.addaudithook(note)
"""

# Lies in the working folder, so it is found in the place of the real one: who imports it is seen, and nobody is told.
OPENVINO_TELEMETRY = "import os, pathlib\npathlib.Path(os.environ['HOME'], 'telemetry').touch()\n"

LOAD = "import huiyi\nprint(huiyi.load(sys.argv[1], threads=1).encode(['My parcel is late.', '包裹还没到']).shape)\n"
EMBED = """
from huiyi.cli.app import main
main(["embed", "texts.txt", "--model", sys.argv[1], "-o", "texts.npy"])
"""


@dataclass(frozen=True)
class Seen:
    """What one program did. writes: paths outside its own folder for data; left: files it left in HOME."""

    processes: list[str]
    connections: list[str]
    writes: list[str]
    left: list[str]


def watch(program: str, folder: Path, *arguments: str) -> Seen:
    """Runs `program` with a fresh HOME, as on a person's machine: no CI variable, nothing that switches telemetry off."""
    home, data, work = (folder / name for name in ("home", "data", "work"))
    for made in (home, data, work):
        made.mkdir()
    (work / "texts.txt").write_text("My parcel is late.\nIt never came.\n", "utf-8")
    (work / "openvino_telemetry.py").write_text(OPENVINO_TELEMETRY, "utf-8")
    env = {"PATH": os.environ["PATH"], "HOME": str(home), "HUIYI_HOME": str(data), "TMPDIR": str(work), "PYTHONDONTWRITEBYTECODE": "1"}
    command = [sys.executable, "-c", WATCH + program, *arguments]
    done = subprocess.run(command, cwd=work, env=env, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stderr
    seen = json.loads(done.stdout.rpartition("SEEN")[2])
    strays = [path for path in seen.pop("writes") if not path.startswith((str(data), str(work), "/dev/", "/proc/"))]
    return Seen(**seen, writes=strays, left=[path.name for path in home.rglob("*")])


@pytest.mark.parametrize("program", [LOAD, EMBED], ids=["load and encode", "huiyi embed"])
def test_using_a_model_tells_nobody(program: str, tmp_path: Path, minilm: Path) -> None:
    assert watch(program, tmp_path, str(minilm)) == Seen([], [], [], [])


@pytest.mark.parametrize(
    ("program", "where"),
    [
        ("import subprocess; subprocess.run(['true'])", "processes"),
        ("import socket; socket.socket(socket.AF_INET, socket.SOCK_DGRAM).connect(('127.0.0.1', 9))", "connections"),
        ("import socket; kept = socket.socket()", "connections"),
        ("open(os.environ['HOME'] + '/id', 'w').write('me')", "left"),
        ("import openvino", "left"),
        ("open('../id', 'w').write('me')", "writes"),
    ],
)
def test_the_watch_sees(program: str, where: str, tmp_path: Path) -> None:
    assert getattr(watch(program, tmp_path), where)
