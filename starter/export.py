"""The trained network as a model folder: what huiyi, transformers and sentence-transformers read. The card beside it is written by hand."""

import json
from pathlib import Path

import tokenizers
import torch
from network import Shape
from safetensors.torch import save_file
from vocabulary import END

LONGEST = 512


def export(folder: Path, shape: Shape, weights: dict[str, torch.Tensor], tokenizer: tokenizers.Tokenizer) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    rounded = {name: weight.to(torch.bfloat16).contiguous() for name, weight in weights.items()}
    unfinished = folder / "model.safetensors.tmp"
    save_file(rounded, unfinished, metadata={"format": "pt"})
    unfinished.replace(folder / "model.safetensors")
    (folder / "tokenizer.json").write_text(tokenizer.to_str(), "utf-8")
    write(folder / "config.json", shape.config())
    special = {"eos_token": END, "pad_token": END}
    write(
        folder / "tokenizer_config.json",
        {
            "tokenizer_class": "PreTrainedTokenizerFast",
            "model_max_length": shape.max_position_embeddings,
            "padding_side": "right",
            **special,
        },
    )
    modules = [("", "Transformer"), ("1_Pooling", "Pooling"), ("2_Normalize", "Normalize")]
    write(
        folder / "modules.json",
        [
            {"idx": number, "name": str(number), "path": path, "type": f"sentence_transformers.models.{kind}"}
            for number, (path, kind) in enumerate(modules)
        ],
    )
    (folder / "1_Pooling").mkdir(exist_ok=True)
    switches = {"pooling_mode_mean_tokens": False, "pooling_mode_lasttoken": True}  # before its version 5 the mean is on until it is off
    write(folder / "1_Pooling" / "config.json", {"word_embedding_dimension": shape.hidden_size, **switches})
    write(folder / "sentence_bert_config.json", {"max_seq_length": LONGEST, "do_lower_case": False})
    prompts = {"query": "", "document": ""}
    write(
        folder / "config_sentence_transformers.json",
        {"prompts": prompts, "default_prompt_name": None, "similarity_fn_name": "cosine"},
    )


def write(file: Path, content: object) -> None:
    file.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", "utf-8")
