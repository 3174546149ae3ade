"""What the CPU engine has alone: int8, prepared weights, one shape after another without growing."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import tiny
from engine_kinds import KINDS, cosines, texts
from huiyi.engines.checkpoint import open_checkpoint
from huiyi.engines.openvino import OpenVINOEngine, resolve_precision
from huiyi.errors import InvalidInput


@pytest.fixture(params=["openvino, one graph", "openvino, a graph a layer"])
def shape(request):
    """Both ways to run a model, whatever its size."""
    with KINDS[request.param].at_work():
        yield request.param


class TestOutliers:
    """Real models have channels of the residual stream a hundred times larger than the rest."""

    @pytest.fixture
    def planted(self, tmp_path):
        """A checkpoint with everything that writes to two channels made larger, as far as its name ends so."""
        from safetensors.torch import load_file, save_file

        def plant(*names: str) -> Path:
            folder = tiny.tiny_qwen3(tmp_path / "planted", dtype="float32", dim=256)
            weights = load_file(folder / "model.safetensors")
            for name, tensor in weights.items():
                if name.endswith(names):
                    (tensor.T if "embed" in name else tensor)[[3, 17]] *= 100
            save_file(weights, folder / "model.safetensors", {"format": "pt"})
            return folder

        return plant

    @pytest.mark.parametrize(
        "names",
        [
            ("embed_tokens.weight", "o_proj.weight", "down_proj.weight"),
            ("embed_tokens.weight",),
            ("layers.0.mlp.down_proj.weight",),
        ],
        ids=["everywhere", "embeddings", "one layer"],
    )
    def test_int8_survives_channels_a_hundred_times_the_others(self, planted, shape, names):
        checkpoint = open_checkpoint(planted(*names))
        batch = texts(30, 8, 45, 20)
        exact = OpenVINOEngine(checkpoint, "fp32").forward(batch)
        assert cosines(OpenVINOEngine(checkpoint, "int8").forward(batch), exact).min() >= 0.995

    def test_only_the_layer_that_writes_them_stays_in_bf16(self, planted, tmp_path):
        checkpoint = open_checkpoint(planted("layers.0.mlp.down_proj.weight"))
        OpenVINOEngine(checkpoint, "int8", cache_dir=tmp_path / "cache")
        kinds = {
            layer: {np.load(file).dtype.name for file in tmp_path.rglob(f"layers.{layer}.*_proj*.npy") if "scales" not in file.name}
            for layer in (0, 1)
        }
        assert kinds == {0: {"uint16"}, 1: {"int8"}}


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
