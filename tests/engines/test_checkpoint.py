"""Model folders: what is read from them agrees with transformers and sentence-transformers, and what cannot be read is refused by name."""

import contextlib
import dataclasses
import json
import re
import shutil
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from huiyi.engines.checkpoint import BertConfig, Qwen3Config, open_checkpoint
from huiyi.errors import NotFound, UnsupportedModel
from tiny import QUERY_PROMPT, rewrite_json, tiny_bert, tiny_qwen3, tiny_roberta, tiny_xlm_roberta

BUILDERS: dict[str, Callable[..., Path]] = {
    "qwen3": tiny_qwen3,
    "bert": tiny_bert,
    "roberta": tiny_roberta,
    "xlm-roberta": tiny_xlm_roberta,
}
Edit = Callable[[Path], Path]


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return {name: build(tmp_path_factory.mktemp("tiny") / name) for name, build in BUILDERS.items()}


@pytest.fixture
def qwen3(folders: dict[str, Path], tmp_path: Path) -> Path:
    """A copy that a test may break."""
    return shutil.copytree(folders["qwen3"], tmp_path / "qwen3")


@pytest.fixture
def bert(folders: dict[str, Path], tmp_path: Path) -> Path:
    return shutil.copytree(folders["bert"], tmp_path / "bert")


def rewrite_header(file: Path, change: Callable[[dict[str, Any]], None]) -> None:
    """Change the JSON header of a safetensors file; the tensors' bytes stay."""
    content = file.read_bytes()
    (size,) = struct.unpack("<Q", content[:8])
    header = json.loads(content[8 : 8 + size])
    change(header)
    text = json.dumps(header).encode()
    file.write_bytes(struct.pack("<Q", len(text)) + text + content[8 + size :])


# What is read


@pytest.mark.parametrize("name", BUILDERS)
@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16"])
def test_every_tensor_has_the_numbers_that_transformers_reads(name: str, dtype: str, tmp_path: Path) -> None:
    import torch
    from transformers import AutoModel

    checkpoint = open_checkpoint(BUILDERS[name](tmp_path / "model", dtype=dtype))
    theirs = AutoModel.from_pretrained(tmp_path / "model", dtype=torch.float32).state_dict()
    assert set(checkpoint.weights) == {key for key in theirs if not key.startswith("pooler.") and "position_ids" not in key}
    for key, tensor in checkpoint.weights.items():
        assert tensor.dtype == {"float32": "F32", "float16": "F16", "bfloat16": "BF16"}[dtype]
        np.testing.assert_array_equal(tensor.float32(), theirs[key].numpy(), err_msg=key)


@pytest.mark.parametrize("name", BUILDERS)
def test_shards_and_prefixes_change_nothing(name: str, folders: dict[str, Path], tmp_path: Path) -> None:
    whole = open_checkpoint(folders[name])
    split = open_checkpoint(BUILDERS[name](tmp_path / "split", sharded=True, prefix_keys=True))
    assert len(list((tmp_path / "split").glob("*.safetensors"))) > 1
    assert "model.safetensors" not in {file.name for file in (tmp_path / "split").iterdir()}
    assert split.digest == whole.digest
    assert dataclasses.replace(split, path=whole.path, weights=whole.weights) == whole
    for key in whole.weights:
        np.testing.assert_array_equal(split.weights[key].data, whole.weights[key].data)


def test_tensors_are_views_into_the_file(folders: dict[str, Path]) -> None:
    weights = open_checkpoint(folders["qwen3"]).weights
    table = weights["embed_tokens.weight"].data
    assert isinstance(table, np.memmap)
    assert not table.flags.writeable
    assert table.dtype == np.uint16
    with pytest.raises(KeyError):
        weights["lm_head.weight"]


def test_the_shape_of_a_qwen3_is_read(folders: dict[str, Path]) -> None:
    checkpoint = open_checkpoint(folders["qwen3"])
    assert checkpoint.family == "qwen3"
    assert checkpoint.config == Qwen3Config(64, 2, 4, 2, 16, 128, 500, 1e6, 1e-6, 1024)
    assert (checkpoint.pooling, checkpoint.normalize, checkpoint.max_tokens) == ("last", True, 1024)
    assert checkpoint.prompts == {"query": QUERY_PROMPT}
    assert list(checkpoint.dimensions) == list(range(32, 65))


@pytest.mark.parametrize(("name", "offset", "types"), [("bert", 0, 2), ("roberta", 2, 1), ("xlm-roberta", 2, 1)])
def test_the_shape_of_a_bert_is_read(name: str, offset: int, types: int, folders: dict[str, Path]) -> None:
    checkpoint = open_checkpoint(folders[name])
    assert checkpoint.family == "bert"
    assert isinstance(checkpoint.config, BertConfig)
    assert (checkpoint.config.max_positions, checkpoint.config.position_offset, checkpoint.config.type_vocab_size) == (128, offset, types)
    assert len(checkpoint.weights["embeddings.position_embeddings.weight"].data) == 128 + offset
    assert (checkpoint.pooling, checkpoint.max_tokens, checkpoint.prompts) == ("mean", 128, {})
    assert list(checkpoint.dimensions) == [48]


def test_real_minilm_is_read(minilm: Path) -> None:
    checkpoint = open_checkpoint(minilm)
    assert checkpoint.config == BertConfig(384, 6, 12, 1536, 30522, 512, 2, 1e-12, "gelu", 0)
    assert (checkpoint.pooling, checkpoint.normalize, checkpoint.max_tokens) == ("mean", True, 256)


def test_the_first_berts_call_the_norms_gamma_and_beta(bert: Path) -> None:
    before = open_checkpoint(bert)

    def rename(header: dict[str, Any]) -> None:
        for key in list(header):
            old = key.replace("LayerNorm.weight", "LayerNorm.gamma").replace("LayerNorm.bias", "LayerNorm.beta")
            header[old] = header.pop(key)

    rewrite_header(bert / "model.safetensors", rename)
    assert open_checkpoint(bert).digest == before.digest


def test_config_as_transformers_4_writes_it(qwen3: Path) -> None:
    before = open_checkpoint(qwen3)
    old = {"rope_parameters": None, "dtype": None, "layer_types": None}
    rewrite_json(qwen3 / "config.json", **old, rope_theta=1_000_000, torch_dtype="bfloat16")
    after = open_checkpoint(qwen3)
    assert (after.config, after.digest) == (before.config, before.digest)


def test_rope_theta_is_the_folders_own(qwen3: Path) -> None:
    rewrite_json(qwen3 / "config.json", rope_parameters={"rope_theta": 5e6, "rope_type": "default"})
    config = open_checkpoint(qwen3).config
    assert isinstance(config, Qwen3Config)
    assert config.rope_theta == 5e6


@pytest.mark.parametrize(
    ("pooling", "expected"),
    [
        ({"pooling_mode": "lasttoken"}, "last"),
        ({"pooling_mode": "cls"}, "cls"),
        ({"pooling_mode": ["mean"]}, "mean"),
        ({"pooling_mode_cls_token": True, "pooling_mode_mean_tokens": False}, "cls"),
        ({"pooling_mode_mean_tokens": True, "pooling_mode_lasttoken": False}, "mean"),
        ({"pooling_mode_lasttoken": True, "include_prompt": True}, "last"),
        ({"word_embedding_dimension": 64}, "mean"),
    ],
)
def test_pooling_in_the_old_and_the_new_form(pooling: dict[str, Any], expected: str, qwen3: Path) -> None:
    from sentence_transformers.sentence_transformer.modules import Pooling

    folder = qwen3 / "1_Pooling"
    (folder / "config.json").write_text(json.dumps({"word_embedding_dimension": 64} | pooling))
    assert open_checkpoint(qwen3).pooling == expected
    theirs = Pooling.load(str(folder)).pooling_mode
    assert theirs.removesuffix("token") == expected


@pytest.mark.parametrize("name", BUILDERS)
def test_a_folder_that_sentence_transformers_saved_anew_is_the_same_model(name: str, folders: dict[str, Path], tmp_path: Path) -> None:
    from sentence_transformers import SentenceTransformer

    SentenceTransformer(str(folders[name]), device="cpu").save(str(tmp_path / "saved"))
    before, after = open_checkpoint(folders[name]), open_checkpoint(tmp_path / "saved")
    assert after.digest == before.digest
    assert (after.pooling, after.normalize, after.max_tokens) == (before.pooling, before.normalize, before.max_tokens)
    assert {name: prompt for name, prompt in after.prompts.items() if prompt} == before.prompts


@pytest.mark.parametrize(("name", "pooling"), [("qwen3", "last"), ("bert", "mean")])
def test_without_the_files_of_sentence_transformers_the_family_decides(name: str, pooling: str, tmp_path: Path) -> None:
    checkpoint = open_checkpoint(BUILDERS[name](tmp_path / "plain", pooling=None))
    assert (checkpoint.pooling, checkpoint.normalize, checkpoint.prompts) == (pooling, False, {})


def test_a_transformer_in_a_folder_of_its_own(bert: Path) -> None:
    before = open_checkpoint(bert)
    (bert / "0_Transformer").mkdir()
    for name in ("config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json", "sentence_bert_config.json"):
        (bert / name).rename(bert / "0_Transformer" / name)
    modules = json.loads((bert / "modules.json").read_text())
    modules[0]["path"] = "0_Transformer"
    (bert / "modules.json").write_text(json.dumps(modules))
    after = open_checkpoint(bert)
    assert after.path == bert / "0_Transformer"
    assert (after.digest, after.max_tokens) == (before.digest, before.max_tokens)


@pytest.mark.parametrize(
    ("max_seq_length", "model_max_length", "positions", "expected"),
    [
        (None, 131072, 40960, 8192),
        (None, 10**30, 40960, 8192),
        (None, None, 40960, 8192),
        (None, 131072, 4096, 4096),
        (None, 512, 40960, 512),
        (32768, 131072, 40960, 32768),
        (65536, 131072, 40960, 40960),
        (256, 512, 40960, 256),
    ],
)
def test_the_longest_text(max_seq_length: int | None, model_max_length: int | None, positions: int, expected: int, qwen3: Path) -> None:
    rewrite_json(qwen3 / "sentence_bert_config.json", max_seq_length=max_seq_length)
    rewrite_json(qwen3 / "tokenizer_config.json", model_max_length=model_max_length)
    rewrite_json(qwen3 / "config.json", max_position_embeddings=positions)
    assert open_checkpoint(qwen3).max_tokens == expected


def test_the_widths_that_a_folder_declares(bert: Path) -> None:
    rewrite_json(bert / "config.json", matryoshka_dimensions=[16, 32, 48, 4096])
    rewrite_json(bert / "config_sentence_transformers.json", truncate_dim=24)
    assert list(open_checkpoint(bert).dimensions) == [16, 24, 32, 48]


# The digest


def _other_weight(folder: Path) -> Path:
    with (folder / "model.safetensors").open("r+b") as file:
        file.seek(-1, 2)
        last = file.read(1)[0]
        file.seek(-1, 2)
        file.write(bytes([last ^ 1]))
    return folder


def _other_pooling(folder: Path) -> Path:
    (folder / "1_Pooling" / "config.json").write_text('{"pooling_mode": "cls"}')
    return folder


def _other_theta(folder: Path) -> Path:
    rewrite_json(folder / "config.json", rope_parameters={"rope_theta": 10_000.0, "rope_type": "default"})
    return folder


@pytest.mark.parametrize("edit", [_other_weight, _other_pooling, _other_theta])
def test_another_model_has_another_digest(edit: Edit, qwen3: Path) -> None:
    before = open_checkpoint(qwen3).digest
    assert open_checkpoint(edit(qwen3)).digest != before


def test_other_types_of_the_same_numbers_have_another_digest(folders: dict[str, Path], tmp_path: Path) -> None:
    assert open_checkpoint(tiny_qwen3(tmp_path / "fp32", dtype="float32")).digest != open_checkpoint(folders["qwen3"]).digest
    assert open_checkpoint(tiny_qwen3(tmp_path / "seed", seed=1)).digest != open_checkpoint(folders["qwen3"]).digest


@pytest.mark.skipif(not Path("/proc/self/smaps").exists(), reason="counts mapped pages as Linux tells them")
def test_of_a_gigabyte_only_headers_and_samples_are_read(tmp_path: Path) -> None:
    """The exact shape of Qwen3-Embedding-0.6B in a sparse file: no bytes on disk, all headers and samples real."""
    folder = tiny_qwen3(tmp_path / "model")
    shape = {"hidden_size": 1024, "num_hidden_layers": 28, "num_attention_heads": 16, "num_key_value_heads": 8, "head_dim": 128}
    rewrite_json(folder / "config.json", **shape, intermediate_size=3072, vocab_size=151669, layer_types=None)
    config = Qwen3Config(1024, 28, 16, 8, 128, 3072, 151669, 1e6, 1e-6, 1024)
    header, end = {}, 0
    for name, sizes in config.shapes().items():
        begin, end = end, end + 2 * int(np.prod(sizes))
        header[name] = {"dtype": "BF16", "shape": sizes, "data_offsets": [begin, end]}
    assert end == 2 * 595_776_512
    text = json.dumps(header).encode()
    with (folder / "model.safetensors").open("wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        file.truncate(8 + len(text) + end)
    checkpoint = open_checkpoint(folder)
    mapping = Path("/proc/self/smaps").read_text("utf-8", errors="replace").partition(str(folder / "model.safetensors"))[2]
    read = re.search(r"^Rss: +(\d+) kB", mapping, re.MULTILINE)
    assert read
    assert 0 < int(read[1]) < 100_000
    assert checkpoint.weights["embed_tokens.weight"].data.shape == (151669, 1024)


# What is refused


def _refused(folder: Path, *words: str) -> None:
    with pytest.raises(UnsupportedModel) as caught:
        open_checkpoint(folder)
    assert all(word in str(caught.value) for word in words), str(caught.value)


def test_no_folder(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match="is not a folder"):
        open_checkpoint(tmp_path / "nothing")


def test_an_empty_folder_says_what_a_model_folder_has(tmp_path: Path) -> None:
    _refused(tmp_path, "no config.json", "tokenizer.json", "model.safetensors")


def test_an_adapter_alone(tmp_path: Path) -> None:
    (tmp_path / "adapter_config.json").write_text("{}")
    _refused(tmp_path, "adapter", "base model")


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("model_type", "qwen2"),
        ("model_type", None),
        ("hidden_act", "gelu"),
        ("attention_bias", True),
        ("is_causal", False),
        ("use_bidirectional_attention", True),
        ("layer_types", ["full_attention", "sliding_attention"]),
        ("rope_parameters", {"rope_theta": 1e6, "rope_type": "yarn", "factor": 4.0}),
        ("rope_parameters", {"rope_theta": 1e6, "rope_type": "default", "partial_rotary_factor": 0.5}),
        ("rope_parameters", []),
        ("rope_scaling", {"type": "yarn", "factor": 4.0}),
        ("rope_scaling", {"rope_type": "linear", "factor": 2.0}),
        ("quantization_config", {"quant_method": "gptq"}),
        ("auto_map", {"AutoModel": "modeling.Model"}),
        ("hidden_size", "64"),
        ("num_hidden_layers", 0),
        ("num_hidden_layers", 10**15),
        ("num_key_value_heads", 3),
        ("head_dim", 15),
        ("rms_norm_eps", -1.0),
        ("vocab_size", None),
    ],
)
def test_a_qwen3_that_would_come_out_wrong_is_refused_by_its_field(field: str, value: Any, qwen3: Path) -> None:
    rewrite_json(qwen3 / "config.json", **{field: value})
    _refused(qwen3, field, "config.json")


def test_a_sliding_window_is_refused_where_it_slides(qwen3: Path) -> None:
    rewrite_json(qwen3 / "config.json", layer_types=None, sliding_window=128, use_sliding_window=True, max_window_layers=28)
    assert open_checkpoint(qwen3).family == "qwen3"
    rewrite_json(qwen3 / "config.json", max_window_layers=1)
    _refused(qwen3, "use_sliding_window")


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("position_embedding_type", "relative_key"),
        ("is_decoder", True),
        ("hidden_act", "silu"),
        ("num_attention_heads", 5),
        ("layer_norm_eps", "small"),
        ("max_position_embeddings", 0),
    ],
)
def test_a_bert_that_would_come_out_wrong_is_refused_by_its_field(field: str, value: Any, bert: Path) -> None:
    rewrite_json(bert / "config.json", **{field: value})
    _refused(bert, field)


@pytest.mark.parametrize(
    ("pooling", "word"),
    [
        ({"pooling_mode": "max"}, "max"),
        ({"pooling_mode": "weightedmean"}, "weightedmean"),
        ({"pooling_mode": ["cls", "mean"]}, "cls"),
        ({"pooling_mode_mean_sqrt_len_tokens": True}, "mean_sqrt_len_tokens"),
        ({"pooling_mode_cls_token": True, "pooling_mode_max_tokens": True}, "max"),
        ({"pooling_mode": "mean", "include_prompt": False}, "include_prompt"),
    ],
)
def test_other_poolings_are_refused_by_name(pooling: dict[str, Any], word: str, bert: Path) -> None:
    (bert / "1_Pooling" / "config.json").write_text(json.dumps(pooling))
    _refused(bert, word, "1_Pooling")


@pytest.mark.parametrize(
    "kind", ["sentence_transformers.models.Dense", "sentence_transformers.base.modules.dense.Dense", "custom_st.Transformer"]
)
def test_other_modules_are_refused_by_name(kind: str, bert: Path) -> None:
    modules = json.loads((bert / "modules.json").read_text())
    (bert / "modules.json").write_text(json.dumps([*modules, {"idx": 3, "name": "3", "path": "3_Dense", "type": kind}]))
    _refused(bert, kind, "modules.json")


def test_pickled_weights_are_never_read(bert: Path) -> None:
    (bert / "model.safetensors").unlink()
    _refused(bert, "lacks model.safetensors")
    (bert / "pytorch_model.bin").write_bytes(b"cos\nsystem\n(S'touch harm'\ntR.")
    _refused(bert, "pytorch_model.bin", "never read", "safe_serialization=True")


def test_a_file_cut_short_is_named_with_both_sizes(qwen3: Path) -> None:
    file = qwen3 / "model.safetensors"
    size = file.stat().st_size
    with file.open("r+b") as stream:
        stream.truncate(size - 1000)
    _refused(qwen3, "model.safetensors", f"{size:,}", f"{size - 1000:,}", "download it again")


def test_a_missing_shard_is_named(tmp_path: Path) -> None:
    folder = tiny_qwen3(tmp_path / "model", sharded=True)
    (folder / "model-00002-of-00004.safetensors").unlink()
    _refused(folder, "model-00002-of-00004.safetensors", "download it again")


def test_missing_tensors_are_counted_and_named(qwen3: Path) -> None:
    rewrite_json(qwen3 / "config.json", num_hidden_layers=3, layer_types=None)
    _refused(qwen3, "11 of 35", "layers.2.input_layernorm.weight")


def test_weights_of_another_shape_are_named_with_both_shapes(qwen3: Path) -> None:
    rewrite_json(qwen3 / "config.json", vocab_size=600)
    _refused(qwen3, "embed_tokens.weight", "[500, 64]", "[600, 64]")


def test_a_quantised_tensor_is_named_with_its_type(qwen3: Path) -> None:
    def eight_bits(header: dict[str, Any]) -> None:
        fields = header["norm.weight"]
        fields["dtype"] = "F8_E4M3"
        fields["data_offsets"][1] -= 64

    rewrite_header(qwen3 / "model.safetensors", eight_bits)
    _refused(qwen3, "norm.weight", "F8_E4M3", "BF16, F16 and F32")


def test_tensors_that_are_not_needed_may_be_of_any_type(qwen3: Path) -> None:
    def add_positions(header: dict[str, Any]) -> None:
        header["position_ids"] = {"dtype": "I64", "shape": [2], "data_offsets": [0, 16]}

    before = open_checkpoint(qwen3).digest
    rewrite_header(qwen3 / "model.safetensors", add_positions)
    assert open_checkpoint(qwen3).digest == before


@pytest.mark.parametrize(
    "fields",
    [
        {"dtype": "BF16", "shape": [64], "data_offsets": [0, 127]},
        {"dtype": "BF16", "shape": [64], "data_offsets": [0, 130]},
        {"dtype": "BF16", "shape": [-64], "data_offsets": [0, 128]},
        {"dtype": "BF16", "shape": [64], "data_offsets": [-128, 0]},
        {"dtype": "BF16", "shape": [64.0], "data_offsets": [0, 128]},
        {"dtype": "INT3", "shape": [64], "data_offsets": [0, 128]},
        {"dtype": "BF16", "shape": [64]},
        {"dtype": "BF16", "shape": 64, "data_offsets": [0, 128]},
        [],
    ],
)
def test_a_header_that_cannot_be_true_is_refused(fields: Any, qwen3: Path) -> None:
    rewrite_header(qwen3 / "model.safetensors", lambda header: header.update({"norm.weight": fields}))
    _refused(qwen3, "model.safetensors", "download it again")


def test_something_else_under_the_name_of_weights(qwen3: Path) -> None:
    for content in (b"", b"short", b"<html>not found</html>" * 100, struct.pack("<Q", 10) + b"[1, 2, 3]  ", b"\0" * 100):
        (qwen3 / "model.safetensors").write_bytes(content)
        _refused(qwen3, "model.safetensors")


# Laws

ANY_JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-3, 3) | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)
FILES = (
    "config.json",
    "modules.json",
    "1_Pooling/config.json",
    "sentence_bert_config.json",
    "tokenizer_config.json",
    "config_sentence_transformers.json",
)


@settings(max_examples=300)
@given(data=st.data(), name=st.sampled_from(["qwen3", "roberta"]), file=st.sampled_from(FILES))
def test_whatever_a_file_says_the_answer_is_a_checkpoint_or_a_refusal(
    folders: dict[str, Path], data: st.DataObject, name: str, file: str
) -> None:
    original = (folders[name] / file).read_text("utf-8")
    content = json.loads(original)
    if isinstance(content, dict) and data.draw(st.booleans()):
        content[data.draw(st.sampled_from([*content, "auto_map", "layer_types", "pooling_mode", "matryoshka_dimensions"]))] = data.draw(
            ANY_JSON
        )
    else:
        content = data.draw(ANY_JSON)
    try:
        (folders[name] / file).write_text(json.dumps(content), "utf-8")
        _opens_or_refuses(folders[name])
    finally:
        (folders[name] / file).write_text(original, "utf-8")


@settings(max_examples=200)
@given(data=st.data())
def test_whatever_byte_is_wrong_in_the_weights_the_answer_is_a_checkpoint_or_a_refusal(
    folders: dict[str, Path], data: st.DataObject
) -> None:
    file = folders["bert"] / "model.safetensors"
    original = file.read_bytes()
    (header_size,) = struct.unpack("<Q", original[:8])
    content = bytearray(original[: data.draw(st.integers(0, len(original)))] if data.draw(st.booleans()) else original)
    for place in data.draw(st.lists(st.integers(0, 8 + header_size), max_size=3)):
        if place < len(content):
            content[place] = data.draw(st.integers(0, 255))
    try:
        file.write_bytes(content)
        _opens_or_refuses(folders["bert"])
    finally:
        file.write_bytes(original)


def _opens_or_refuses(folder: Path) -> None:
    with contextlib.suppress(UnsupportedModel):
        checkpoint = open_checkpoint(folder)
        assert 1 <= checkpoint.max_tokens <= checkpoint.config.max_positions
        for name, shape in checkpoint.config.shapes().items():
            assert checkpoint.weights[name].data.shape == shape
