"""File jobs: the same rows in file order, flat memory, taken up where they stopped, refused before the work where they cannot end."""

import json
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from pyarrow import parquet

from fake_encoder import FakeEncoder
from fake_model import fake_model
from fakes import FakeEngine
from huiyi import workspace
from huiyi.errors import Conflict, InvalidInput, ModelFailed, NotFound, TooLong
from huiyi.model import Model
from huiyi.sources import encodings, vectors
from huiyi.types import Embedded
from huiyi.workspace import EmbeddedFile, Progress, embed_file, similarity_file

OUTPUTS = ("out.npy", "out.jsonl", "out.parquet")
WORDS = ["order", "refund", "退款", "delivery", "password", "发票", "", "-", "where is my parcel?"]


def texts_of(rows: int) -> list[str]:
    return [" ".join(WORDS[(row * step) % len(WORDS)] for step in (1, 2, 5)) + str(row) for row in range(rows)]


def jsonl(path: Path, rows: int) -> Path:
    path.write_text(
        "".join(json.dumps({"id": n, "text": text}, ensure_ascii=False) + "\n" for n, text in enumerate(texts_of(rows))), "utf-8"
    )
    return path


class Stopped(Exception):
    """Whatever ends a run."""


def stop_after(slices: int) -> Callable[[Progress], None]:
    seen: list[Progress] = []

    def report(progress: Progress) -> None:
        seen.append(progress)
        if len(seen) >= slices:
            raise Stopped

    return report


def test_rows_come_in_file_order_with_their_own_vectors(tmp_path) -> None:
    source = jsonl(tmp_path / "in.jsonl", 900)
    result = embed_file(source, tmp_path / "out.npy", fake_model)
    made = np.load(tmp_path / "out.npy")
    assert (made.dtype, made.shape) == (np.float32, (900, 8))
    np.testing.assert_allclose(made, fake_model().encode(texts_of(900)), atol=1e-6)
    assert (result.rows, result.dimensions, result.column, result.resumed_rows) == (900, 8, "text", 0)
    assert result.tokens == sum(len(text) + 1 for text in texts_of(900))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in.jsonl", "out.npy"]


def test_all_formats_hold_the_same_vectors_and_the_cells_of_the_input(tmp_path) -> None:
    rows = [{"id": 1, "x": 1, "text": "a", "mixed": 1, "ok": True}, {"x": 0.5, "text": "二", "mixed": "b", "ok": None}]
    source = tmp_path / "in.jsonl"
    source.write_text("".join(json.dumps(row) + "\n" for row in rows))
    for name in OUTPUTS:
        embed_file(source, tmp_path / name, fake_model)
    expected = np.load(tmp_path / "out.npy")
    lines = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text("utf-8").splitlines()]
    np.testing.assert_array_equal(np.array([line.pop("embedding") for line in lines], np.float32), expected)
    assert lines == rows
    table = parquet.read_table(tmp_path / "out.parquet")
    assert table.schema.field("embedding").type == pa.list_(pa.float32(), 8)
    np.testing.assert_array_equal(np.array(table["embedding"].to_pylist(), np.float32), expected)
    assert table.drop(["embedding"]).to_pydict() == {
        "id": [1, None], "x": [1.0, 0.5], "text": ["a", "二"], "mixed": ["1", "b"], "ok": [True, None]
    }  # fmt: skip


def test_parquet_keeps_the_types_of_a_parquet_input(tmp_path) -> None:
    table = pa.table({"text": ["a", "b"], "day": pa.array([0, 1], pa.date32()), "n": pa.array([1, None], pa.int8())})
    parquet.write_table(table, tmp_path / "in.parquet")
    embed_file(tmp_path / "in.parquet", tmp_path / "out.parquet", fake_model)
    made = parquet.read_table(tmp_path / "out.parquet")
    assert made.drop(["embedding"]).equals(table)
    embed_file(tmp_path / "out.parquet", tmp_path / "again.npy", fake_model, text="text")
    with pytest.raises(Conflict, match=r"has a column 'embedding' already"):
        embed_file(tmp_path / "out.parquet", tmp_path / "again.parquet", fake_model, text="text")


def test_one_text_and_an_empty_one(tmp_path) -> None:
    (tmp_path / "one.txt").write_text("hello")
    assert embed_file(tmp_path / "one.txt", tmp_path / "one.npy", fake_model).rows == 1
    (tmp_path / "two.txt").write_text("hello\n\n")
    result = embed_file(tmp_path / "two.txt", tmp_path / "two.npy", fake_model)
    assert (result.rows, result.empty) == (2, 1)
    np.testing.assert_allclose(np.load(tmp_path / "two.npy")[1], fake_model().encode(""), atol=1e-6)


def test_the_options_of_a_model_reach_it(tmp_path) -> None:
    (tmp_path / "in.txt").write_text("hello")
    embed_file(tmp_path / "in.txt", tmp_path / "q.npy", fake_model, kind="query", instruction="find it", dimensions=4)
    expected = fake_model().encoder.embed(["hello"], "query", "find it", 4).vectors
    np.testing.assert_array_equal(np.load(tmp_path / "q.npy"), expected)
    with pytest.raises(InvalidInput, match=r"dimensions must be"):
        embed_file(tmp_path / "in.txt", tmp_path / "d.npy", fake_model, dimensions=9)
    with pytest.raises(InvalidInput, match=r"instruction"):
        embed_file(tmp_path / "in.txt", tmp_path / "d.npy", fake_model, instruction="documents have none")


@pytest.mark.parametrize(("truncate", "kept"), [("end", "abcd"), ("start", "efgh")])
def test_long_texts_are_cut_and_counted(tmp_path, truncate, kept) -> None:
    (tmp_path / "in.txt").write_text("abcdefgh\nab\n")
    result = embed_file(tmp_path / "in.txt", tmp_path / "out.npy", lambda: fake_model(max_tokens=5), truncate=truncate)
    assert result.full == 1
    np.testing.assert_allclose(np.load(tmp_path / "out.npy"), fake_model().encode([kept, "ab"]), atol=1e-6)


def test_long_texts_can_be_refused_by_their_line(tmp_path) -> None:
    (tmp_path / "in.csv").write_text('text\nok\n"two\nlines"\ntoo long to read\n')
    with pytest.raises(TooLong, match=r"^in.csv, line 5: the text has 17 tokens and this model takes 12; split it"):
        embed_file(tmp_path / "in.csv", tmp_path / "out.npy", lambda: fake_model(max_tokens=12), truncate="none")
    with pytest.raises(InvalidInput, match=r"cannot cut texts"):
        embed_file(tmp_path / "in.csv", tmp_path / "out.npy", lambda: Model(FakeEncoder(), "remote"))


def test_a_text_that_the_model_fails_on_is_named_by_its_line(tmp_path) -> None:
    (tmp_path / "in.csv").write_text("sentence1,sentence2\na,b\nc,☠\n")
    poisoned = fake_model(FakeEngine(nan_on=[ord("☠")]))
    with pytest.raises(ModelFailed, match=r"^in.csv, line 3: the text "):
        embed_file(tmp_path / "in.csv", tmp_path / "out.npy", lambda: poisoned, text="sentence2")
    with pytest.raises(ModelFailed, match=r"^in.csv, line 3: the text "):
        similarity_file(tmp_path / "in.csv", tmp_path / "out.csv", lambda: poisoned)


def test_ten_megabytes_in_one_cell_are_cut_or_refused(tmp_path) -> None:
    (tmp_path / "in.txt").write_text("x" * 10_485_760 + "\nshort\n")
    result = embed_file(tmp_path / "in.txt", tmp_path / "out.npy", lambda: fake_model(max_tokens=100))
    assert (result.rows, result.full) == (2, 1)
    np.testing.assert_allclose(np.load(tmp_path / "out.npy")[0], fake_model().encode("x" * 99), atol=1e-6)
    with pytest.raises(TooLong, match=r"in.txt, line 1"):
        embed_file(tmp_path / "in.txt", tmp_path / "no.npy", lambda: fake_model(max_tokens=100), truncate="none")


@pytest.mark.parametrize("name", OUTPUTS)
@hypothesis_settings(max_examples=5)
@given(stops=st.lists(st.integers(1, 4), min_size=1, max_size=3))
def test_a_run_stopped_anywhere_ends_in_the_bytes_of_an_unbroken_one(tmp_path_factory, name, stops) -> None:
    folder = tmp_path_factory.mktemp("run")
    source = jsonl(folder / "in.jsonl", 1500)
    embed_file(source, folder / f"whole-{name}", fake_model)
    rows = 0
    for slices in stops:
        try:
            embed_file(source, folder / name, fake_model, report=stop_after(slices))
        except Stopped:
            assert not (folder / name).exists()
            state = json.loads((folder / f"{name}.partial.json").read_text())
            assert state["done"]["rows"] > rows
            rows = state["done"]["rows"]
        else:
            break
    if not (folder / name).exists():
        result = embed_file(source, folder / name, fake_model)
        assert (result.resumed_rows, result.rows, result.changed) == (rows, 1500, ())
        assert result.tokens == sum(len(text) + 1 for text in texts_of(1500))
    assert (folder / name).read_bytes() == (folder / f"whole-{name}").read_bytes()
    assert len(list(folder.iterdir())) == 3


def test_batches_do_not_depend_on_timing(tmp_path) -> None:
    source = jsonl(tmp_path / "in.jsonl", 1200)
    compositions = set()
    for run in range(6):
        engine = FakeEngine(sleep_s_per_token=run * 1e-6)
        embed_file(source, tmp_path / "out.npy", lambda engine=engine: fake_model(engine), overwrite=True)
        compositions.add(str(engine.calls))
    assert len(compositions) == 1


def interrupted(tmp_path: Path) -> tuple[Path, Path]:
    source, output = jsonl(tmp_path / "in.jsonl", 1500), tmp_path / "out.npy"
    with pytest.raises(Stopped):
        embed_file(source, output, fake_model, report=stop_after(1))
    return source, output


@pytest.mark.parametrize(
    ("options", "changed"),
    [
        ({"kind": "query"}, ("kind",)),
        ({"truncate": "start"}, ("truncate",)),
        ({"dimensions": 4}, ("dim", "model")),
        ({"text": "id"}, ("text",)),
    ],
)
def test_another_option_starts_over_and_says_so(tmp_path, options, changed) -> None:
    source, output = interrupted(tmp_path)
    said: list[str] = []
    result = embed_file(source, output, fake_model, say=said.append, **options)
    assert set(changed) <= set(result.changed)
    assert result.resumed_rows == 0
    assert any(line.startswith("starting over: ") and changed[0] in line for line in said)
    embed_file(source, tmp_path / "fresh.npy", fake_model, **options)
    assert output.read_bytes() == (tmp_path / "fresh.npy").read_bytes()


def test_another_source_or_model_starts_over(tmp_path) -> None:
    source, output = interrupted(tmp_path)
    lines = source.read_text("utf-8").splitlines(keepends=True)
    source.write_text("".join([lines[1], lines[0], *lines[2:]]), "utf-8")
    with pytest.raises(Stopped):
        embed_file(source, output, fake_model, report=stop_after(1))
    result = embed_file(source, output, lambda: fake_model(space="another"))
    assert (result.changed, result.resumed_rows) == (("model",), 0)
    np.testing.assert_allclose(np.load(output)[:1], fake_model().encode(texts_of(2)[1:]), atol=1e-6)


@pytest.mark.parametrize("damage", ["state gone", "state broken", "rows lost", "rows not counted"])
def test_a_damaged_partial_result_is_not_trusted(tmp_path, damage) -> None:
    source, output = interrupted(tmp_path)
    partial, state = tmp_path / "out.npy.partial", tmp_path / "out.npy.partial.json"
    if damage == "state gone":
        state.unlink()
    elif damage == "state broken":
        state.write_text('{"job": ')
    elif damage == "rows lost":
        partial.write_bytes(partial.read_bytes()[:-4])
    else:
        partial.write_bytes(partial.read_bytes() + b"half a row")
    result = embed_file(source, output, fake_model)
    assert (result.resumed_rows > 0) == (damage == "rows not counted")
    embed_file(source, tmp_path / "fresh.npy", fake_model)
    assert output.read_bytes() == (tmp_path / "fresh.npy").read_bytes()


def test_two_runs_do_not_write_one_file(tmp_path) -> None:
    source = jsonl(tmp_path / "in.jsonl", 10)
    with vectors.PartialVectors(tmp_path / "out.npy", {}, 10, 8), pytest.raises(Conflict, match=r"another run is writing"):
        embed_file(source, tmp_path / "out.npy", fake_model)


def test_a_finished_file_is_replaced_only_when_asked(tmp_path) -> None:
    source = jsonl(tmp_path / "in.jsonl", 10)
    embed_file(source, tmp_path / "out.npy", fake_model)
    with pytest.raises(Conflict, match=r"is there already; pass --force"):
        embed_file(source, tmp_path / "out.npy", fake_model)
    assert embed_file(source, tmp_path / "out.npy", fake_model, overwrite=True, kind="query").rows == 10


def test_a_source_that_changes_in_between_is_refused(tmp_path) -> None:
    source = jsonl(tmp_path / "in.jsonl", 900)

    def touch(progress: Progress) -> None:
        with source.open("a") as file:
            file.write('{"text": "one more"}\n')

    with pytest.raises(Conflict, match=r"in.jsonl changed while it was read"):
        embed_file(source, tmp_path / "out.npy", fake_model, report=touch)
    assert not (tmp_path / "out.npy").exists()


def never() -> Model:
    raise AssertionError("a model was loaded for a job that cannot end well")


@pytest.mark.parametrize(
    ("name", "options", "error"),
    [
        ("out.txt", {}, InvalidInput),
        ("out.npy", {"text": "body"}, NotFound),
        ("gone/out.npy", {}, Conflict),
        ("out.npy", {"format": "xlsx"}, InvalidInput),
    ],
)
def test_what_cannot_end_well_is_refused_before_a_model_is_loaded(tmp_path, name, options, error) -> None:
    with pytest.raises(error):
        embed_file(jsonl(tmp_path / "in.jsonl", 3), tmp_path / name, never, **options)
    assert [path.name for path in tmp_path.iterdir()] == ["in.jsonl"]


def test_an_error_in_the_last_line_is_found_before_a_model_is_loaded(tmp_path) -> None:
    source = jsonl(tmp_path / "in.jsonl", 500)
    source.write_text(source.read_text("utf-8") + "{half", "utf-8")
    with pytest.raises(InvalidInput, match=r"in.jsonl, line 501 is not JSON"):
        embed_file(source, tmp_path / "out.npy", never)


class QuickEncoder(FakeEncoder):
    """Keeps nothing, so that what is measured is the job."""

    def embed(self, texts, kind="document", instruction=None, dimensions=None) -> Embedded:
        return Embedded(np.ones((len(texts), self.dim), np.float32) / 8, np.ones(len(texts), np.int64))


def peak_bytes(source: Path, output: Path) -> int:
    tracemalloc.start()
    embed_file(source, output, lambda: Model(QuickEncoder(), "fake"), truncate="none", overwrite=True)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return peak


@pytest.mark.parametrize("name", OUTPUTS)
def test_memory_stays_flat_however_long_the_file(tmp_path, name, monkeypatch) -> None:
    monkeypatch.setattr(vectors, "PARQUET_GROUP_ROWS", 256)
    monkeypatch.setattr(encodings, "CHUNK_BYTES", 4096)
    peak_bytes(jsonl(tmp_path / "first.jsonl", 10), tmp_path / name)  # what is imported counts once
    short = peak_bytes(jsonl(tmp_path / "short.jsonl", 1_000), tmp_path / name)
    long = peak_bytes(jsonl(tmp_path / "long.jsonl", 10_000), tmp_path / name)
    assert long < 1.3 * short


def test_progress_ends_at_the_end(tmp_path) -> None:
    seen: list[Progress] = []
    source = jsonl(tmp_path / "in.jsonl", 1500)
    with pytest.raises(Stopped):
        embed_file(source, tmp_path / "out.npy", fake_model, report=stop_after(2))
    embed_file(source, tmp_path / "out.npy", fake_model, report=seen.append)
    assert len(seen) >= 2
    assert [progress.rows_done for progress in seen] == sorted(progress.rows_done for progress in seen)
    assert (seen[-1].rows_done, seen[-1].rows, seen[-1].seconds_left) == (1500, 1500, 0)
    assert all(progress.texts_per_s > 0 and progress.tokens_per_s > progress.texts_per_s for progress in seen)


def test_the_real_model_gives_the_same_file_after_a_stop(tmp_path, minilm) -> None:
    def load() -> Model:
        return workspace.load(str(minilm))

    source, output = jsonl(tmp_path / "in.jsonl", 900), tmp_path / "out.npy"
    whole: EmbeddedFile = embed_file(source, tmp_path / "whole.npy", load)
    with pytest.raises(Stopped):
        embed_file(source, output, load, report=stop_after(2))
    result = embed_file(source, output, load)
    assert 0 < result.resumed_rows < 900
    assert (result.space, result.tokens) == (whole.space, whole.tokens)
    assert output.read_bytes() == (tmp_path / "whole.npy").read_bytes()
    np.testing.assert_allclose(np.load(output)[:50], load().encode(texts_of(50)), atol=2e-2)


def test_another_precision_starts_over(tmp_path, minilm) -> None:
    source, output = jsonl(tmp_path / "in.jsonl", 900), tmp_path / "out.npy"
    with pytest.raises(Stopped):
        embed_file(source, output, lambda: workspace.load(str(minilm), "fp32"), report=stop_after(1))
    result = embed_file(source, output, lambda: workspace.load(str(minilm), "int8"))
    assert (result.changed, result.resumed_rows) == (("model",), 0)
