"""Many files into a folder of vectors: each once, what is whole is left, what is broken is told and tried again."""

import gzip
import json
import os
from pathlib import Path

import numpy as np
import pytest
from pyarrow import parquet

from fake_model import fake_model
from fakes import FakeEngine
from huiyi.errors import Conflict, InvalidInput, NotFound
from huiyi.sources import vectors
from huiyi.workspace import EmbeddedShards, How, ShardProgress, embed_shards, is_many

PLAIN = How()
SHARDS = {"a.txt": 700, "2024/b.csv": 40, "2024/c.jsonl": 900}


def texts_of(name: str, rows: int) -> list[str]:
    return [f"{name} {row}: 我的订单还没有到" for row in range(rows)]


def write(path: Path, texts: list[str]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = {".txt": texts, ".csv": ["text", *texts], ".jsonl": [json.dumps({"text": text, "n": 1}) for text in texts]}[path.suffix]
    path.write_text("".join(line + "\n" for line in lines), "utf-8")
    return path


@pytest.fixture
def source(tmp_path: Path) -> Path:
    for name, rows in SHARDS.items():
        write(tmp_path / "in" / name, texts_of(name, rows))
    return tmp_path / "in"


@pytest.fixture
def embed(source: Path, tmp_path: Path):
    """Embeds `source` into `out`, each time with a new engine, `embed.engine`."""

    def run(where: Path | str = source, output: Path = tmp_path / "out", how: How = PLAIN, **options) -> EmbeddedShards:
        run.engine = FakeEngine(**options.pop("engine", {}))
        return embed_shards(where, output, lambda: fake_model(run.engine), how, **options)

    return run


def vectors_in(folder: Path) -> dict[str, np.ndarray]:
    return {file.relative_to(folder).as_posix(): np.load(file) for file in sorted(folder.rglob("*.npy"))}


class Stopped(Exception):
    """Whatever ends a run."""


def stop(progress: ShardProgress) -> None:
    if progress.rows_done > 800:
        raise Stopped


def test_every_file_becomes_one_of_its_name_with_its_rows_in_order(embed, tmp_path) -> None:
    result = embed()
    assert (result.shards, result.whole_before, result.failed) == (3, 0, ())
    assert (result.rows, result.embedded, result.dimensions) == (1640, 1640, 8)
    made = vectors_in(tmp_path / "out")
    assert made.keys() == {"a.npy", "2024/b.npy", "2024/c.npy"}
    for name, rows in SHARDS.items():
        np.testing.assert_allclose(made[str(Path(name).with_suffix(".npy"))], fake_model().encode(texts_of(name, rows)), atol=1e-6)


@pytest.mark.parametrize("as_", ["jsonl", "parquet"])
def test_outputs_may_hold_the_cells_too(embed, tmp_path, as_) -> None:
    embed(as_=as_)
    if as_ == "parquet":
        rows = parquet.read_table(tmp_path / "out" / "2024" / "c.parquet").to_pylist()
    else:
        rows = [json.loads(line) for line in (tmp_path / "out" / "2024" / "c.jsonl").read_text().splitlines()]
    assert [row["text"] for row in rows] == texts_of("2024/c.jsonl", 900)
    np.testing.assert_allclose([rows[7]["embedding"]], fake_model().encode([rows[7]["text"]]), atol=1e-6)


def test_a_file_and_a_pattern_and_packed_files(embed, source, tmp_path) -> None:
    (source / "d.txt.gz").write_bytes(gzip.compress(b"one\ntwo\n"))
    assert embed(source / "a.txt", tmp_path / "one").rows == 700
    assert embed(f"{source}/**/*.*", tmp_path / "some").shards == 4
    assert vectors_in(tmp_path / "some").keys() == {"a.npy", "2024/b.npy", "2024/c.npy", "d.npy"}
    assert embed(f"{source}/*/b.*", tmp_path / "b").shards == 1
    assert vectors_in(tmp_path / "b").keys() == {"2024/b.npy"}
    assert is_many(str(source))
    assert is_many(f"{source}/*.txt")
    assert not is_many(str(source / "a.txt"))


def test_a_second_run_does_what_is_missing_and_nothing_else(embed, tmp_path) -> None:
    embed()
    before = vectors_in(tmp_path / "out")
    again = embed()
    assert (again.whole_before, again.embedded, again.rows) == (3, 0, 1640)
    (tmp_path / "out" / "2024" / "b.npy").unlink()
    again = embed()
    assert (again.whole_before, again.embedded, again.rows) == (2, 40, 1640)
    after = vectors_in(tmp_path / "out")
    assert all((before[name] == after[name]).all() for name in before)


def test_a_file_that_changed_is_embedded_anew_and_one_that_was_only_touched_is_not(embed, source, tmp_path) -> None:
    embed()
    write(source / "2024" / "b.csv", ["neu", "alt"])
    os.utime(source / "a.txt", ns=(1, 1))
    again = embed()
    assert (again.whole_before, again.embedded) == (2, 2)
    np.testing.assert_allclose(vectors_in(tmp_path / "out")["2024/b.npy"], fake_model().encode(["neu", "alt"]), atol=1e-6)


def test_a_stopped_run_goes_on_in_the_middle_of_a_file_with_the_same_bytes(embed, tmp_path, monkeypatch) -> None:
    embed(output=tmp_path / "unbroken")
    monkeypatch.setattr(vectors, "KEEP_EVERY_S", 0)
    with pytest.raises(Stopped):
        embed(report=stop)
    assert not (tmp_path / "out" / "a.npy").exists()
    again = embed()
    assert 0 < again.embedded < 1640 - 40
    unbroken, made = vectors_in(tmp_path / "unbroken"), vectors_in(tmp_path / "out")
    assert made.keys() == unbroken.keys()
    assert all(made[name].tobytes() == unbroken[name].tobytes() for name in made)
    assert not list((tmp_path / "out").rglob("*.partial*"))


def test_a_kill_between_the_last_row_and_the_file_costs_nothing(embed, tmp_path, monkeypatch) -> None:
    def killed(partial: vectors.PartialVectors, table: object) -> None:
        partial._keep()
        raise Stopped

    with monkeypatch.context() as patch:
        patch.setattr(vectors.PartialVectors, "finish", killed)
        with pytest.raises(Stopped):
            embed()
    assert not vectors_in(tmp_path / "out")
    again = embed()
    assert (again.rows, again.embedded) == (1640, 1640 - 40)
    assert len(vectors_in(tmp_path / "out")) == 3


def test_other_settings_are_refused_by_name_and_force_makes_all_anew(embed, tmp_path) -> None:
    embed()
    with pytest.raises(Conflict, match=r"kind 'document', not 'query'.*--force"):
        embed(how=How(kind="query"))
    with pytest.raises(Conflict, match=r"model 'fake .*', not 'other "):
        embed_shards(tmp_path / "in", tmp_path / "out", lambda: fake_model(space="other"))
    assert embed().whole_before == 3
    forced = embed(how=How(kind="query"), overwrite=True)
    assert (forced.whole_before, forced.embedded) == (0, 1640)
    assert embed(how=How(kind="query")).whole_before == 3


def test_what_cannot_be_read_is_told_and_tried_again(embed, source, tmp_path) -> None:
    (source / "broken.csv").write_text('text\n"never closed\n')
    (source / "columns.csv").write_text("id,body\n1,a\n")
    said: list[str] = []
    result = embed(say=said.append)
    assert [line.partition(":")[0] for line in result.failed] == ["broken.csv", "columns.csv"]
    assert "name the one that holds the text with --text" in result.failed[1]
    assert (result.rows, len(vectors_in(tmp_path / "out"))) == (1640, 3)
    assert sum("not embedded" in line for line in said) == 2
    write(source / "columns.csv", ["now it has a text"])
    again = embed()
    assert (again.whole_before, again.embedded, len(again.failed)) == (3, 1, 1)


def test_a_text_that_cannot_be_embedded_fails_its_own_file_alone(embed, source, tmp_path) -> None:
    write(source / "2024" / "b.csv", ["fine", "☠", *texts_of("more than one slice", 2000)])
    result = embed(engine={"raise_on": [ord("☠")]})
    (failed,) = result.failed
    assert failed.startswith("2024/b.csv: b.csv, line 3: the text ")
    assert vectors_in(tmp_path / "out").keys() == {"a.npy", "2024/c.npy"}


def test_what_cannot_end_well_is_refused_before_the_model_is_loaded(source, tmp_path) -> None:
    def refuse(where: object, output: Path, error: type[Exception], match: str, **options) -> None:
        with pytest.raises(error, match=match):
            embed_shards(where, output, pytest.fail, **options)

    refuse("-", tmp_path / "out", InvalidInput, "standard input")
    refuse(tmp_path / "nowhere", tmp_path / "out", NotFound, "there is no file or folder")
    refuse(f"{source}/*.xml", tmp_path / "out", NotFound, "no file is called like")
    refuse(source, source / "out", InvalidInput, "is inside")
    (tmp_path / "empty").mkdir()
    refuse(tmp_path / "empty", tmp_path / "out", NotFound, "no table")
    write(tmp_path / "own" / "a.csv", ["mine"]).rename(tmp_path / "own" / "a.npy")
    refuse(source, tmp_path / "own", Conflict, "no run of this kind made it")
    refuse(source, write(tmp_path / "file.txt", []), Conflict, "is a file; name a folder")
    write(source / "a.csv", ["the same name"])
    refuse(source, tmp_path / "out", InvalidInput, "a.csv and a.txt would both become")


def test_two_runs_do_not_write_into_one_folder(embed, tmp_path) -> None:
    def report(progress: ShardProgress) -> None:
        with pytest.raises(Conflict, match="another run is writing"):
            embed_shards(tmp_path / "in", tmp_path / "out", fake_model)

    assert embed(report=report).rows == 1640


def test_a_damaged_manifest_is_told_and_a_torn_last_line_is_not_minded(embed, tmp_path) -> None:
    embed()
    manifest = tmp_path / "out" / "huiyi.jsonl"
    manifest.write_bytes(manifest.read_bytes()[:-20])
    assert embed().whole_before == 2
    assert embed().whole_before == 3
    manifest.write_text("{}\n")
    with pytest.raises(Conflict, match="is damaged"):
        embed()


def test_progress_counts_files_and_rows_and_the_time_left_goes_to_nothing(embed) -> None:
    seen: list[ShardProgress] = []
    embed(report=seen.append)
    rows = [progress.rows_done for progress in seen]
    assert rows == sorted(rows)
    assert (seen[-1].shards_done, seen[-1].shards, seen[-1].rows_done) == (3, 3, 1640)
    assert seen[0].seconds_left > 0
    assert seen[-1].seconds_left == pytest.approx(0, abs=1e-6)
