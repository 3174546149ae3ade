"""The CPU engine against transformers: every family, pooling and precision, any mix of lengths, short and long, one graph or many."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from transformers import AutoModel

import tiny
from huiyi.engines import openvino as engine_module
from huiyi.engines.checkpoint import open_checkpoint
from huiyi.engines.openvino import OpenVINOEngine, resolve_precision
from huiyi.errors import InvalidInput

FAMILIES = {"qwen3": tiny.tiny_qwen3, "bert": tiny.tiny_bert, "roberta": tiny.tiny_roberta, "xlm-roberta": tiny.tiny_xlm_roberta}
HAS_BF16 = resolve_precision("auto") == "bf16"


@pytest.fixture(scope="module", params=FAMILIES)
def folder(request, tmp_path_factory) -> Path:
    return FAMILIES[request.param](tmp_path_factory.mktemp(request.param))


@pytest.fixture(scope="module", params=["one graph", "a graph a layer"])
def shape(request):
    """Both ways to run a model, whatever its size."""
    before = engine_module.ONE_GRAPH_FLOP
    engine_module.ONE_GRAPH_FLOP = 1e30 if request.param == "one graph" else 0.0
    yield request.param
    engine_module.ONE_GRAPH_FLOP = before


@pytest.fixture(scope="module")
def engine(folder, shape) -> OpenVINOEngine:
    return OpenVINOEngine(open_checkpoint(folder), "fp32", threads=2)


@pytest.fixture(scope="module")
def reference(folder):
    """Pooled vectors of transformers, one text at a time, in fp32."""
    checkpoint = open_checkpoint(folder)
    model = AutoModel.from_pretrained(folder, dtype=torch.float32).eval()

    def vectors(batch) -> np.ndarray:
        rows = []
        for ids in batch:
            with torch.no_grad():
                hidden = model(torch.tensor(np.asarray(ids, np.int64)[None])).last_hidden_state[0].numpy()
            rows.append({"last": hidden[-1], "cls": hidden[0], "mean": hidden.mean(axis=0)}[checkpoint.pooling])
        return np.stack(rows)

    return vectors


def cosines(a, b) -> np.ndarray:
    a, b = np.asarray(a, np.float64), np.asarray(b, np.float64)
    return (a * b).sum(-1) / np.linalg.norm(a, axis=-1) / np.linalg.norm(b, axis=-1)


def texts(*lengths: int, vocab: int = 200, seed: int = 0) -> list[np.ndarray]:
    random = np.random.default_rng(seed)
    return [random.integers(5, vocab, length).astype(np.int32) for length in lengths]


def run_steps(engine, ids) -> tuple[np.ndarray, int]:
    pauses, steps = 0, engine.steps(ids)
    while True:
        try:
            next(steps)
            pauses += 1
        except StopIteration as end:
            return end.value, pauses


@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(lengths=st.lists(st.integers(1, 60), min_size=1, max_size=20), seed=st.integers(0, 5))
def test_every_text_in_any_mix_of_lengths_gets_the_vector_that_transformers_gives_it(engine, reference, lengths, seed):
    batch = texts(*lengths, seed=seed)
    assert cosines(engine.forward(batch), reference(batch)).min() >= 0.99999


def test_values_and_not_only_directions_are_those_of_transformers(engine, reference):
    batch = texts(7, 31, 2)
    np.testing.assert_allclose(engine.forward(batch), reference(batch), rtol=2e-3, atol=2e-4)


def test_a_text_does_not_notice_its_neighbours(engine):
    batch = texts(3, 50, 17, 1)
    alone = np.concatenate([engine.forward([ids]) for ids in batch])
    assert cosines(engine.forward(batch), alone).min() >= 0.99999


def test_the_longest_text_in_steps_is_the_same_as_in_one_go(engine, reference, monkeypatch):
    monkeypatch.setattr(engine_module, "STEP_SECONDS", 0.0)
    monkeypatch.setattr(engine, "_slice_tokens", 16)
    monkeypatch.setattr(engine_module, "ATTENDING_TOKENS", 40)
    ids = texts(engine.max_tokens)[0]
    steps, pauses = run_steps(engine, ids)
    assert cosines(steps, reference([ids])[0]) >= 0.99999
    assert pauses == 0 or pauses > engine.max_tokens // 40


def test_others_may_run_between_the_steps_of_a_long_text(engine, reference, monkeypatch):
    monkeypatch.setattr(engine_module, "STEP_SECONDS", 0.0)
    monkeypatch.setattr(engine_module, "ATTENDING_TOKENS", 16)
    long, short = texts(100, 9)
    steps = engine.steps(long)
    while True:
        try:
            next(steps)
            assert cosines(engine.forward([short]), reference([short])).min() >= 0.99999
        except StopIteration as end:
            vector = end.value
            break
    assert cosines(vector, reference([long])[0]) >= 0.99999


@pytest.mark.parametrize("precision", ["bf16", "int8"])
def test_lower_precisions_stay_near(folder, shape, reference, precision):
    if precision == "bf16" and not HAS_BF16:
        pytest.skip("this CPU has no bf16")
    engine = OpenVINOEngine(open_checkpoint(folder), precision, threads=2)
    batch = texts(4, 40, 11, 25)
    assert cosines(engine.forward(batch), reference(batch)).min() >= (0.999 if precision == "bf16" else 0.99)


@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16"])
def test_weights_of_every_stored_type_are_read_right(tmp_path, dtype):
    folder = tiny.tiny_qwen3(tmp_path / dtype, dtype=dtype)
    engine = OpenVINOEngine(open_checkpoint(folder), "fp32")
    ids = texts(12)[0]
    with torch.no_grad():
        model = AutoModel.from_pretrained(folder, dtype=torch.float32).eval()
        expected = model(torch.tensor(ids.astype(np.int64)[None])).last_hidden_state[0, -1].numpy()
    assert cosines(engine.forward([ids])[0], expected) >= 0.99999


class TestOutliers:
    """Real models have channels of the residual stream a hundred times larger than the rest."""

    @pytest.fixture
    def planted(self, tmp_path) -> Path:
        from safetensors.torch import load_file, save_file

        folder = tiny.tiny_qwen3(tmp_path / "planted", dtype="float32", dim=256)
        weights = load_file(folder / "model.safetensors")
        for name, tensor in weights.items():
            if name.endswith("embed_tokens.weight"):
                tensor[:, [3, 17]] *= 100
            if name.endswith(("o_proj.weight", "down_proj.weight")):
                tensor[[3, 17]] *= 100
        save_file(weights, folder / "model.safetensors", {"format": "pt"})
        return folder

    def test_int8_survives_channels_a_hundred_times_the_others(self, planted, shape):
        checkpoint = open_checkpoint(planted)
        batch = texts(30, 8, 45, 20)
        exact = OpenVINOEngine(checkpoint, "fp32").forward(batch)
        assert cosines(OpenVINOEngine(checkpoint, "int8").forward(batch), exact).min() >= 0.995


class TestPreparedWeights:
    def test_a_second_start_reads_what_the_first_prepared_and_gives_the_same_vectors(self, tmp_path):
        checkpoint = open_checkpoint(tiny.tiny_qwen3(tmp_path / "model"))
        batch = texts(9, 20)
        first = OpenVINOEngine(checkpoint, "int8", cache_dir=tmp_path / "cache").forward(batch)
        files = sorted((tmp_path / "cache").rglob("*.npy"))
        times = [file.stat().st_mtime_ns for file in files]
        second = OpenVINOEngine(checkpoint, "int8", cache_dir=tmp_path / "cache").forward(batch)
        assert files
        assert times == [file.stat().st_mtime_ns for file in files]
        np.testing.assert_array_equal(first, second)

    def test_a_damaged_file_is_made_again(self, tmp_path):
        checkpoint = open_checkpoint(tiny.tiny_qwen3(tmp_path / "model"))
        batch = texts(9, 20)
        first = OpenVINOEngine(checkpoint, "int8", cache_dir=tmp_path / "cache").forward(batch)
        for number, file in enumerate(sorted((tmp_path / "cache").rglob("*.npy"))):
            file.write_bytes([b"", b"not an array", file.read_bytes()[:-5]][number % 3])
        np.testing.assert_array_equal(OpenVINOEngine(checkpoint, "int8", cache_dir=tmp_path / "cache").forward(batch), first)

    def test_a_folder_that_cannot_be_written_only_costs_time(self, tmp_path):
        checkpoint = open_checkpoint(tiny.tiny_qwen3(tmp_path / "model"))
        (tmp_path / "cache").write_text("a file where a folder should be")
        engine = OpenVINOEngine(checkpoint, "int8", cache_dir=tmp_path / "cache")
        assert np.isfinite(engine.forward(texts(9))).all()


def test_an_unknown_precision_names_those_there_are():
    with pytest.raises(InvalidInput, match="auto, fp32, bf16 or int8"):
        resolve_precision("fp16")


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="reads resident memory as Linux tells it")
def test_memory_does_not_grow_with_every_new_shape_of_a_batch(tmp_path: Path) -> None:
    folder = tiny.tiny_qwen3(tmp_path / "tiny")
    program = f"""
import numpy as np
from pathlib import Path
from huiyi.engines.checkpoint import open_checkpoint
from huiyi.engines.openvino import OpenVINOEngine

def resident_mb():
    return int(Path("/proc/self/status").read_text().partition("VmRSS:")[2].split()[0]) // 1024

engine, random = OpenVINOEngine(open_checkpoint(Path({str(folder)!r})), "fp32", 2), np.random.default_rng(0)
for i in range(900):
    if i == 500:
        before = resident_mb()
    engine.forward([random.integers(5, 300, random.integers(2, 60)).astype(np.int32) for _ in range(random.integers(1, 25))])
print(resident_mb() - before)
"""
    grown = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout
    assert int(grown) < 40
