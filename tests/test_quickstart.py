"""The quickstart notebook runs from top to bottom, says what its text says, and is kept without outputs."""

from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

from conftest import REPOSITORY

NOTEBOOK = REPOSITORY / "examples" / "quickstart.ipynb"


def printed(notebook: nbformat.NotebookNode) -> list[str]:
    """What each code cell printed."""
    cells = [cell for cell in notebook.cells if cell.cell_type == "code"]
    return ["".join(output.text for output in cell.outputs if output.get("name") == "stdout") for cell in cells]


def test_it_runs_from_top_to_bottom(minilm: Path, own_home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HUIYI_MODEL", str(minilm))
    monkeypatch.setenv("NO_PROXY", "127.0.0.1,localhost")
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    NotebookClient(notebook, timeout=120, kernel_name="python3").execute()
    _, vectors, cosines, found, pairs, _ = printed(notebook)
    assert vectors.startswith("3 vectors of 384 numbers from ")
    near, far = (float(number.strip("[]")) for number in cosines.splitlines()[0].split()[-2:])
    assert near > 0.5 > 0.2 > far
    assert found == "To change your password, open Settings and choose Security.\n"
    same, other = map(float, pairs.strip("[]\n").split(","))
    assert same > 0.5 > other


def test_it_is_valid_kept_without_outputs_and_names_no_machine() -> None:
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    nbformat.validate(notebook)
    for cell in notebook.cells:
        assert not cell.get("outputs")
        assert not cell.get("execution_count")
    assert "/home/" not in NOTEBOOK.read_text("utf-8")
