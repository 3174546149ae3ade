"""The soak of benchmarks/soak.py, short and on a tiny model: everything at once, and only the intended answers."""

import sys
from pathlib import Path

import pytest

import tiny
from conftest import REPOSITORY


@pytest.mark.slow
def test_twenty_seconds_of_everything_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "path", [str(REPOSITORY / "benchmarks"), *sys.path])
    import soak

    folder = tiny.tiny_qwen3(tmp_path / "Qwen3-tiny", positions=9000)
    run, wrong = soak.soaked(folder, tmp_path, seconds=20, long_tokens=8000)
    assert not wrong
    kinds = run.record.kinds
    assert kinds["short"]["200"] > 50
    assert kinds["long"]["200"] > 2
    assert set(kinds["fault"]) == {"500"}
    assert set(kinds["bad"]) == {"400", "404", "413"}
    assert kinds["stalled"]["200"] > 1
    assert kinds["leaving"]["left"] > 10
