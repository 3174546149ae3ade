"""Every command: an answer on standard output, all else on standard error, one sentence and a code when it fails."""

import os
import signal
import subprocess
import sys
import time

import pytest

from conftest import REPOSITORY
from fake_model import fake_model
from huiyi import __version__
from huiyi.cli.app import main


def run(*args: str, load=lambda model, precision, threads: fake_model()) -> int:
    with pytest.raises(SystemExit) as ended:
        main(args, load=load)
    return ended.value.code


def test_version_and_help(capsys) -> None:
    assert run("--version") == 0
    assert capsys.readouterr().out == f"huiyi {__version__}\n"
    assert run() == 0
    bare = capsys.readouterr().out
    assert run("-h") == 0
    assert capsys.readouterr().out == bare
    assert "embed" in bare
    assert "similarity" in bare


@pytest.mark.parametrize("command", ["embed", "similarity"])
def test_help_of_a_command_needs_no_model(command) -> None:
    code = (
        "import sys; from huiyi.cli.app import main\n"
        "try: main([sys.argv[1], '--help'])\n"
        "except SystemExit as end: print(end.code, *sorted(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code, command], capture_output=True, text=True, check=True)
    ended, *loaded = done.stdout.splitlines()[-1].split()
    assert ended == "0"
    assert "typer" in loaded
    assert not {"torch", "openvino", "numpy", "openpyxl", "pyarrow", "huiyi.workspace"} & set(loaded)


@pytest.mark.parametrize(
    ("args", "code", "sentence"),
    [
        (["nonsense"], 2, "huiyi: No such command 'nonsense' (see huiyi --help)"),
        (["--nonsense"], 2, "huiyi: No such option"),
        (["embed", "in.txt"], 2, "huiyi: Missing option '--output' / '-o' (see huiyi embed --help)"),
        (["similarity", "a", "b", "--threads", "x"], 2, "huiyi: Invalid value for '--threads': "),
        (["embed", "gone.txt", "-o", "out.npy"], 1, "huiyi: there is no file gone.txt"),
        (["similarity", "one"], 1, "huiyi: similarity compares 2 to 30 texts, not 1; one text has nothing to be compared with"),
    ],
)
def test_a_failure_is_one_sentence_on_standard_error(capsys, tmp_path, monkeypatch, args, code, sentence) -> None:
    monkeypatch.chdir(tmp_path)
    assert run(*args) == code
    out, err = capsys.readouterr()
    assert out == ""
    assert err.count("\n") == 1
    assert sentence in err


def broken(model, precision, threads):
    raise ZeroDivisionError("two\nlines")


def test_what_should_not_happen_is_one_sentence_and_a_trace_on_request(capsys, monkeypatch) -> None:
    assert run("similarity", "a", "b", load=broken) == 1
    out, err = capsys.readouterr()
    assert (out, err.count("\n")) == ("", 1)
    assert "ZeroDivisionError: two lines; run huiyi --debug, or set HUIYI_DEBUG=1" in err
    assert run("--debug", "similarity", "a", "b", load=broken) == 1
    assert "Traceback" in capsys.readouterr().err
    monkeypatch.setenv("HUIYI_DEBUG", "1")
    assert run("similarity", "a", "b", load=broken) == 1
    assert "Traceback" in capsys.readouterr().err


def test_a_model_must_be_named(capsys, own_home) -> None:
    assert run("similarity", "a", "b", load=None) == 1
    assert "--model NAME (or a folder), or set HUIYI_MODEL" in capsys.readouterr().err


def test_the_model_options_reach_the_loader() -> None:
    asked = []

    def load(*choice):
        asked.append(choice)
        return fake_model()

    assert run("similarity", "a", "b", load=load) == 0
    assert run("similarity", "a", "b", "-m", "some/model", "--precision", "int8", "--threads", "2", load=load) == 0
    assert asked == [(None, "auto", None), ("some/model", "int8", 2)]


@pytest.mark.parametrize("entry", [["-m", "huiyi"], [str(REPOSITORY / "tests" / "fake_model.py")]])
def test_the_process_ends_with_the_code(entry) -> None:
    done = subprocess.run([sys.executable, *entry, "embed", "gone.txt", "-o", "x.npy"], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (1, "")


def test_ctrl_c_ends_with_130_and_loses_nothing(tmp_path) -> None:
    source, output = tmp_path / "in.txt", tmp_path / "out.npy"
    source.write_text("".join(f"text number {n}\n" for n in range(3000)))
    command = [sys.executable, str(REPOSITORY / "tests" / "fake_model.py"), "embed", str(source), "-o", str(output)]
    slow = {**os.environ, "HUIYI_TEST_SLEEP": "1e-3", "HUIYI_TEST_KEEP": "0"}
    state = tmp_path / "out.npy.partial.json"
    # A test run that a shell put into the background ignores Ctrl-C, and its children would with it.
    run = subprocess.Popen(
        command, env=slow, stderr=subprocess.PIPE, text=True, preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL)
    )
    deadline = time.monotonic() + 60
    while not (state.exists() and '"rows": 0' not in state.read_text()[-60:]) and time.monotonic() < deadline:
        time.sleep(0.01)
    run.send_signal(signal.SIGINT)
    err = run.communicate(timeout=30)[1]
    assert run.returncode == 130
    assert "Traceback" not in err
    assert "give the same command again to go on from here" in err
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert "going on after row" in done.stderr
    assert output.exists()


def test_a_closed_pipe_is_no_error_message() -> None:
    command = f"{sys.executable} {REPOSITORY / 'tests' / 'fake_model.py'} --help | head -c 1"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=True)
    assert "Traceback" not in done.stderr
