"""A checkpoint of Qwen3-Embedding-0.6B's exact shape with random weights, and texts whose lengths are those of real work.

Speed does not depend on the values of weights. The tokenizer is a small one trained on the spot; its ids are a part of the vocabulary.
"""

import json
import struct
import sys
from pathlib import Path

import numpy as np

REPOSITORY = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(REPOSITORY / "tests"))

import tiny  # noqa: E402

HIDDEN, LAYERS, HEADS, KV_HEADS, HEAD_DIM, INNER, VOCAB = 1024, 28, 16, 8, 128, 3072, 151_669
LINEAR_WEIGHTS = LAYERS * (HIDDEN * HEAD_DIM * (HEADS + 2 * KV_HEADS) + HEADS * HEAD_DIM * HIDDEN + 3 * HIDDEN * INNER)
EOS = "<|endoftext|>"


def checkpoint(folder: Path) -> Path:
    """Made once: 1.2 GB of bf16, standard deviation 0.02."""
    if (folder / "model.safetensors").exists():
        return folder
    tiny.tiny_qwen3(folder, dim=HIDDEN, layers=1, heads=HEADS, kv_heads=KV_HEADS, head_dim=HEAD_DIM, intermediate=INNER, positions=32_768)
    tiny.rewrite_json(
        folder / "config.json", num_hidden_layers=LAYERS, vocab_size=VOCAB, layer_types=None, max_window_layers=LAYERS, rms_norm_eps=1e-6
    )
    _write_weights(folder / "model.safetensors")
    return folder


def _write_weights(file: Path) -> None:
    random = np.random.default_rng(0)
    shapes = {"embed_tokens.weight": (VOCAB, HIDDEN), "norm.weight": (HIDDEN,)}
    for layer in range(LAYERS):
        name = f"layers.{layer}."
        shapes |= {
            name + "self_attn.q_proj.weight": (HEADS * HEAD_DIM, HIDDEN),
            name + "self_attn.k_proj.weight": (KV_HEADS * HEAD_DIM, HIDDEN),
            name + "self_attn.v_proj.weight": (KV_HEADS * HEAD_DIM, HIDDEN),
            name + "self_attn.o_proj.weight": (HIDDEN, HEADS * HEAD_DIM),
            name + "self_attn.q_norm.weight": (HEAD_DIM,),
            name + "self_attn.k_norm.weight": (HEAD_DIM,),
            name + "mlp.gate_proj.weight": (INNER, HIDDEN),
            name + "mlp.up_proj.weight": (INNER, HIDDEN),
            name + "mlp.down_proj.weight": (HIDDEN, INNER),
            name + "input_layernorm.weight": (HIDDEN,),
            name + "post_attention_layernorm.weight": (HIDDEN,),
        }
    header, offset = {}, 0
    for name, shape in shapes.items():
        size = 2 * int(np.prod(shape))
        header[name] = {"dtype": "BF16", "shape": shape, "data_offsets": [offset, offset + size]}
        offset += size
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    part = file.with_suffix(".part")
    with part.open("wb") as stream:
        stream.write(struct.pack("<Q", len(text)) + text)
        for shape in shapes.values():
            values = random.standard_normal(shape, dtype=np.float32)
            values = 1 + 0.05 * values if len(shape) == 1 else 0.02 * values
            stream.write(((values.view(np.uint32) + 0x8000) >> 16).astype(np.uint16).tobytes())
    part.replace(file)


def workload(folder: Path, count: int, median: int, seed: int = 0) -> list[str]:
    """`count` texts, token counts (EOS included) lognormal around `median` with sigma 0.5, as short messages and passages have them."""
    import tokenizers

    tokenizer = tokenizers.Tokenizer.from_file(str(folder / "tokenizer.json"))
    random = np.random.default_rng(seed)
    words = [word for word in (tokenizer.decode([i]) for i in range(300, tokenizer.get_vocab_size())) if word.isalpha()]
    texts = []
    for length in np.maximum(3, random.lognormal(np.log(median), 0.5, count).astype(int)):
        text = ""
        while len(tokenizer.encode(text).ids) < length:
            text += " " + words[random.integers(len(words))]
        texts.append(text)
    return texts
