"""Training runs by name: what the folder of one says while it learns and afterwards."""

import json
from pathlib import Path

import pytest

from huiyi.errors import InvalidInput, NotFound
from huiyi.workspace.training_runs import train_adapter, training_run, training_runs


@pytest.fixture
def shelf(own_home: Path) -> Path:
    folder = own_home / "adapters" / "mine" / "run"
    folder.mkdir(parents=True)
    (folder / "config.json").write_text(json.dumps({"base": "starter", "recipe": "similarity"}))
    lines = [
        {"step": 0, "figures": {"auc": 0.7, "f1": 0.6}},
        {"step": 10, "loss": 1.5, "tokens_per_s": 90.0},
        {"step": 12, "figures": {"auc": 0.9, "f1": 0.7}},
        {"step": 20, "loss": 1.1, "tokens_per_s": 95.0},
        {"step": 24, "figures": {"auc": 0.8, "f1": 0.8}},
    ]
    (folder / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines) + '{"step": 3')
    return own_home


def test_a_run_is_followed_while_it_learns(shelf: Path) -> None:
    run = training_run("mine")
    assert (run.base, run.recipe, run.finished) == ("starter", "similarity", False)
    assert run.losses == ((10, 1.5), (20, 1.1))
    assert run.tokens_per_s == 95.0
    assert run.before is not None
    assert run.before.figures["auc"] == 0.7
    assert run.best is not None
    assert (run.best.step, run.best.figures["auc"]) == (12, 0.9)


def test_a_finished_run_says_so_and_is_listed(shelf: Path) -> None:
    (shelf / "adapters" / "mine" / "huiyi.json").write_text(json.dumps({"base": {"name": "starter"}, "recipe": "similarity"}))
    assert [(run.name, run.finished, run.base) for run in training_runs().runs] == [("mine", True, "starter")]


def test_names_that_are_none_or_not_there(own_home: Path) -> None:
    assert training_runs().runs == ()
    with pytest.raises(NotFound):
        training_run("mine")
    for name in ("../evil", "", "a b"):
        with pytest.raises(InvalidInput):
            training_run(name)
    with pytest.raises(InvalidInput, match="whole model"):
        train_adapter("mine", Path("pairs.tsv"), "starter", recipe="full")
