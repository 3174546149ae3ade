"""What the torch engine has alone: attention without padding, compiled layers, memory that is short, devices that are not there.

Without a GPU the kernel for texts of varying lengths is held by what its documentation says: by a function of the same arguments that
computes text by text, and by torch's own shapes and types for GPU tensors that exist in name only.
"""

import subprocess
import sys
from itertools import pairwise

import numpy as np
import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.nn.attention.varlen import varlen_attn
from torch.nn.functional import scaled_dot_product_attention

import tiny
from engine_kinds import cosines, texts
from huiyi.encoding.scheduler import Scheduler
from huiyi.engines import torch_attention
from huiyi.engines.checkpoint import open_checkpoint
from huiyi.engines.torch import Batches, TorchEngine, resolve_device
from huiyi.engines.torch_attention import attentions
from huiyi.errors import InvalidInput


@pytest.fixture(scope="module")
def qwen3(tmp_path_factory):
    return open_checkpoint(tiny.tiny_qwen3(tmp_path_factory.mktemp("qwen3")))


def by_text(q, k, v, q_offsets, k_offsets, most_q, most_k, *, window_size, enable_gqa):
    """`varlen_attn` as documented, on any device. Its causal mask ends with the last key: (-1, 0) is for as many queries as keys here."""
    rows = []
    for (a, b), (c, d) in zip(pairwise(q_offsets.tolist()), pairwise(k_offsets.tolist()), strict=True):
        assert 0 < b - a <= most_q
        assert 0 < d - c <= most_k
        assert window_size == (-1, -1) or (window_size == (-1, 0) and b - a == d - c)
        of_text = (x[None].transpose(1, 2) for x in (q[a:b], k[c:d], v[c:d]))
        rows.append(scaled_dot_product_attention(*of_text, is_causal=window_size == (-1, 0), enable_gqa=enable_gqa)[0].transpose(0, 1))
    assert q_offsets[-1] == len(q)
    assert k_offsets[-1] == len(k)
    return torch.cat(rows)


@pytest.mark.parametrize("pooling", ["cls", "mean", "lasttoken"])
@pytest.mark.parametrize("make", [tiny.tiny_qwen3, tiny.tiny_bert], ids=["qwen3", "bert"])
def test_attention_without_padding_gives_what_padded_rows_give(tmp_path, monkeypatch, make, pooling):
    engine, batch = TorchEngine(open_checkpoint(make(tmp_path / "model", pooling=pooling)), "fp32", "cpu"), texts(9, 30, 1, 17)
    padded = engine.forward(batch)
    monkeypatch.setattr(torch_attention, "varlen_attn", by_text)
    monkeypatch.setattr(engine, "_varying", True)
    assert cosines(engine.forward(batch), padded).min() >= 0.999999


@pytest.mark.parametrize("pooling", ["cls", "mean", "last"])
@pytest.mark.parametrize(("causal", "kv_heads"), [(True, 2), (False, 4)], ids=["qwen3", "bert"])
def test_the_kernel_takes_what_it_is_given_on_a_gpu(pooling, causal, kv_heads):
    lengths = np.array([9, 30, 1, 17])
    every, last, picked = attentions(lengths, causal, pooling, torch.bfloat16, torch.device("cpu"), varying=True)
    assert torch_attention.varlen_attn is varlen_attn
    for attention, queries in ((every, 57), (last, 57 if picked is None else 4)):
        given = vars(attention).items()
        with FakeTensorMode(), torch.device("cuda"):
            there = {
                name: torch.empty(value.shape, dtype=value.dtype) if isinstance(value, torch.Tensor) else value for name, value in given
            }
            q, k, v = (torch.empty(57, heads, 16, dtype=torch.bfloat16) for heads in (4, kv_heads, kv_heads))
            answer = type(attention)(**there)(q, k, v)
        assert answer.shape == (queries, 64)
        assert answer.dtype == torch.bfloat16
        assert answer.device.type == "cuda"


def test_a_batch_that_memory_is_too_short_for_goes_in_halves(qwen3, monkeypatch):
    engine, batch, sizes = TorchEngine(qwen3, "fp32", "cpu"), texts(9, 30, 1, 17, 4), []
    whole, forward = engine.forward(batch), engine._forward

    def short_of_memory(part, adapter):
        sizes.append(len(part))
        if len(part) > 2:
            raise torch.OutOfMemoryError("there is no room")
        return forward(part, adapter)

    monkeypatch.setattr(engine, "_forward", short_of_memory)
    assert cosines(engine.forward(batch), whole).min() >= 0.99999
    assert sizes == [5, 2, 3, 1, 2]


def test_a_text_too_long_for_memory_is_its_own_failure(qwen3, monkeypatch):
    engine = TorchEngine(qwen3, "fp32", "cpu")

    def full(part, adapter):
        raise torch.OutOfMemoryError("there is no room")

    monkeypatch.setattr(engine, "_forward", full)
    with pytest.raises(torch.OutOfMemoryError):
        engine.forward(texts(9))


def test_the_queue_makes_the_batches_that_an_engine_wants(qwen3):
    class Wide:
        dim, max_tokens, long_tokens, batches = 4, 100, 100, Batches(tokens=3000, padding=100_000, workers=2)

        def __init__(self):
            self.sizes = []

        def forward(self, batch, adapter=None):
            self.sizes.append(sum(map(len, batch)))
            return np.ones((len(batch), 4), np.float32)

    engine = Wide()
    scheduler = Scheduler(engine)
    scheduler.run(iter(texts(*[10, 90] * 60)), lambda row: None)
    scheduler.close()
    assert sum(engine.sizes) == 6000
    assert 2900 <= max(engine.sizes) <= 3000


@pytest.mark.slow
def test_compiled_layers_give_the_same_vectors_and_are_compiled_once(tmp_path):
    """A compiler of C++ is needed, as it is for torch.compile."""
    for make in (tiny.tiny_qwen3, tiny.tiny_bert):
        checkpoint, batches = open_checkpoint(make(tmp_path / make.__name__)), [texts(9, 30, 1), texts(17), texts(1, 1), texts(40, 2, 3, 5)]
        plain, compiled = (TorchEngine(checkpoint, "fp32", "cpu", compiled=way) for way in (False, True))
        assert compiled.compiled
        made = torch._dynamo.utils.counters["stats"]["unique_graphs"]
        for batch in batches:
            assert cosines(compiled.forward(batch), plain.forward(batch)).min() >= 0.99999
        assert torch._dynamo.utils.counters["stats"]["unique_graphs"] == made


def test_where_torch_cannot_compile_the_model_runs_as_it_is_and_says_so(qwen3, monkeypatch, caplog):
    def compile(function):
        def broken(*arguments):
            raise RuntimeError("no C compiler was found")

        return broken

    monkeypatch.setattr(torch, "compile", compile)
    engine = TorchEngine(qwen3, "fp32", "cpu", compiled=True)
    assert not engine.compiled
    assert "no C compiler was found" in caplog.text
    assert cosines(engine.forward(texts(9)), TorchEngine(qwen3, "fp32", "cpu").forward(texts(9))).min() >= 0.99999


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU here")
def test_a_gpu_that_torch_does_not_see_is_an_error_with_the_ways_out():
    with pytest.raises(InvalidInput, match="nvidia-smi"):
        resolve_device("cuda")


def test_int8_is_refused_with_the_way_out(qwen3):
    with pytest.raises(InvalidInput, match="leave the device out"):
        TorchEngine(qwen3, "int8", "cpu")


def test_without_torch_the_extra_is_named(tmp_path):
    folder = tiny.tiny_qwen3(tmp_path / "model")
    program = f"""
import sys
sys.modules["torch"] = None
import huiyi
try:
    huiyi.load({str(folder)!r}, device="cuda")
except huiyi.HuiyiError as error:
    print(error.code, error)
huiyi.load({str(folder)!r}, device="cpu").encode(["text"])
"""
    said = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout
    assert said.startswith("missing_extra")
    assert "pip install 'huiyi[torch]'" in said
