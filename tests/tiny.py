"""Tiny random checkpoints in the layout of the real ones, built in well under a second: `tiny_qwen3(folder)`, `tiny_bert(folder)`, ….

transformers makes the model and writes config.json and the safetensors; the tokenizer is trained on the sentences below; the
sentence-transformers files are written in the form that its releases 2 to 5 use. All numbers come from `seed`.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import tokenizers
from tokenizers import decoders, models, normalizers, pre_tokenizers, processors, trainers

SENTENCES = (
    "The parcel left the warehouse on Monday and should arrive within three days.",
    "How do I return a jacket that is too small? The zip is broken as well.",
    "Your refund of 45.90 euros was paid to the card you ordered with.",
    "Please reset my password, the link in the e-mail does not open.",
    "We could not find the invoice; ask the shop for order 20417 again.",
    "包裹星期一已经从仓库发出，三天之内会送到。",
    "衣服买小了怎么退？拉链也坏了。",
    "退款已经退回到您付款的银行卡里。",
    "请帮我重置密码，邮件里的链接打不开。",
    "找不到发票，请联系商家补开。",
    "Wann kommt mein Paket an? Die Lieferung ist überfällig.",
    "注文した商品がまだ届きません。",
)
QUERY_PROMPT = "Instruct: Given a web search query, retrieve relevant passages that answer the query\nQuery:"
_SWITCHES = {
    "cls": "pooling_mode_cls_token",
    "mean": "pooling_mode_mean_tokens",
    "max": "pooling_mode_max_tokens",
    "mean_sqrt_len_tokens": "pooling_mode_mean_sqrt_len_tokens",
    "weightedmean": "pooling_mode_weightedmean_tokens",
    "lasttoken": "pooling_mode_lasttoken",
}


def tiny_qwen3(
    folder: Path,
    *,
    dim: int = 64,
    layers: int = 2,
    heads: int = 4,
    kv_heads: int = 2,
    head_dim: int = 16,
    intermediate: int = 128,
    positions: int = 1024,
    dtype: str = "bfloat16",
    sharded: bool = False,
    prefix_keys: bool = False,
    append_eos: bool = True,
    pooling: str | None = "lasttoken",
    normalize: bool = True,
    prompts: Mapping[str, str] | None = None,
    max_seq_length: int | None = None,
    seed: int = 0,
) -> Path:
    """prefix_keys: tensor names begin with `model.`. append_eos: whether the tokenizer's post-processor does so.

    pooling: sentence-transformers' name of the mode; None writes no sentence-transformers files at all.
    """
    from transformers import Qwen3Config, Qwen3ForCausalLM

    tokenizer = qwen_tokenizer("<|endoftext|>", "<|im_start|>", "<|im_end|>")
    if append_eos:
        _template(tokenizer, "$A <|endoftext|>")
    config = Qwen3Config(
        vocab_size=tokenizer.get_vocab_size(),
        hidden_size=dim,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        num_key_value_heads=kv_heads,
        head_dim=head_dim,
        intermediate_size=intermediate,
        max_position_embeddings=positions,
        rope_parameters={"rope_theta": 1_000_000.0, "rope_type": "default"},
        tie_word_embeddings=True,
        initializer_range=0.1,
        eos_token_id=tokenizer.token_to_id("<|endoftext|>"),
    )
    model = _random(Qwen3ForCausalLM, config, seed)
    _save(folder, model if prefix_keys else model.model, dtype, sharded)
    _save_tokenizer(folder, tokenizer, "Qwen2Tokenizer", model_max_length=131072, eos_token="<|endoftext|>", pad_token="<|endoftext|>")
    if pooling:
        _save_sentence_transformers(
            folder, dim, pooling, normalize, {"query": QUERY_PROMPT} if prompts is None else prompts, max_seq_length
        )
    return folder


def tiny_bert(folder: Path, **options: Any) -> Path:
    """BERT: WordPiece, [CLS] and [SEP]. Options as `_tiny_bert_like`."""
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    normalizer, cutter = normalizers.BertNormalizer(), pre_tokenizers.BertPreTokenizer()
    words = sorted({word for text in SENTENCES for word, _ in cutter.pre_tokenize_str(normalizer.normalize_str(text))})
    letters = sorted(set("".join(words)))
    # Every second word, so that the others come in pieces; made by hand because the trainer's order changes from run to run.
    pieces = dict.fromkeys([*special, *letters, *("##" + letter for letter in letters), *words[::2]])
    vocabulary = {piece: number for number, piece in enumerate(pieces)}
    tokenizer = tokenizers.Tokenizer(models.WordPiece(vocabulary, unk_token="[UNK]"))
    tokenizer.add_special_tokens(special)
    tokenizer.normalizer, tokenizer.pre_tokenizer = normalizer, cutter
    tokenizer.decoder = decoders.WordPiece()
    _template(tokenizer, "[CLS] $A [SEP]")
    words = dict(zip(("pad_token", "unk_token", "cls_token", "sep_token", "mask_token"), special, strict=True))
    return _tiny_bert_like(folder, "Bert", tokenizer, {"do_lower_case": True, **words}, offset=0, **options)


def tiny_roberta(folder: Path, **options: Any) -> Path:
    """RoBERTa: byte-level BPE, <s> and </s>, positions counted from the padding id + 1. Options as `_tiny_bert_like`."""
    tokenizer = tokenizers.Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    _train_byte_pairs(tokenizer, "<s>", "<pad>", "</s>", "<unk>", "<mask>")
    tokenizer.post_processor = processors.RobertaProcessing(("</s>", 2), ("<s>", 0), trim_offsets=True, add_prefix_space=False)
    return _tiny_bert_like(folder, "Roberta", tokenizer, _ROBERTA_WORDS, offset=2, **options)


def tiny_xlm_roberta(folder: Path, **options: Any) -> Path:
    """XLM-R: Unigram on ▁, <s> and </s>, positions counted from the padding id + 1. Options as `_tiny_bert_like`."""
    special = ["<s>", "<pad>", "</s>", "<unk>"]
    letters = sorted(set("".join(SENTENCES)) - {" "})
    words = sorted({"▁" + word for sentence in SENTENCES for word in sentence.split()})
    scores = [(piece, -float(rank)) for rank, piece in enumerate(["▁", *words, *letters])]  # no trainer, for the same reason
    tokenizer = tokenizers.Tokenizer(models.Unigram([*((word, 0.0) for word in special), *scores], unk_id=3))
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Metaspace()])
    tokenizer.decoder = decoders.Metaspace()
    tokenizer.add_special_tokens([*special, "<mask>"])
    _template(tokenizer, "<s> $A </s>")
    return _tiny_bert_like(folder, "XLMRoberta", tokenizer, _ROBERTA_WORDS, offset=2, **options)


_ROBERTA_WORDS = {
    "bos_token": "<s>",
    "eos_token": "</s>",
    "cls_token": "<s>",
    "sep_token": "</s>",
    "unk_token": "<unk>",
    "pad_token": "<pad>",
    "mask_token": "<mask>",
}


def _tiny_bert_like(
    folder: Path,
    architecture: str,
    tokenizer: tokenizers.Tokenizer,
    tokenizer_config: Mapping[str, Any],
    *,
    offset: int,
    dim: int = 48,
    layers: int = 2,
    heads: int = 4,
    intermediate: int = 96,
    positions: int = 128,
    activation: str = "gelu",
    dtype: str = "float32",
    sharded: bool = False,
    prefix_keys: bool = False,
    pooling: str | None = "mean",
    normalize: bool = True,
    prompts: Mapping[str, str] | None = None,
    max_seq_length: int | None = None,
    seed: int = 0,
) -> Path:
    """positions: usable ones. prefix_keys: saved as a masked language model, so that names begin with `bert.` or `roberta.`."""
    import transformers

    config = getattr(transformers, f"{architecture}Config")(
        vocab_size=tokenizer.get_vocab_size(),
        hidden_size=dim,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        intermediate_size=intermediate,
        max_position_embeddings=positions + offset,
        type_vocab_size=1 if offset else 2,
        hidden_act=activation,
        layer_norm_eps=1e-5 if offset else 1e-12,
        pad_token_id=1 if offset else 0,
        initializer_range=0.1,
    )
    model = _random(getattr(transformers, f"{architecture}ForMaskedLM"), config, seed)
    _save(folder, model if prefix_keys else model.base_model, dtype, sharded)
    _save_tokenizer(folder, tokenizer, f"{architecture}Tokenizer", model_max_length=positions, **tokenizer_config)
    if pooling:
        _save_sentence_transformers(folder, dim, pooling, normalize, prompts or {}, max_seq_length)
    return folder


def qwen_tokenizer(*special: str) -> tokenizers.Tokenizer:
    """Byte-level BPE with NFC, cut as Qwen's; no post-processor yet."""
    words = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
    tokenizer = tokenizers.Tokenizer(models.BPE())
    tokenizer.normalizer = normalizers.NFC()
    split = pre_tokenizers.Split(tokenizers.Regex(words), "isolated")
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([split, pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])
    _train_byte_pairs(tokenizer, *special)
    return tokenizer


def _train_byte_pairs(tokenizer: tokenizers.Tokenizer, *special: str) -> None:
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=500, special_tokens=list(special), initial_alphabet=alphabet, show_progress=False)
    tokenizer.train_from_iterator(SENTENCES, trainer)


def rewrite_json(file: Path, **fields: Any) -> None:
    """Set fields of a JSON file in place; a field set to None is taken out."""
    content = json.loads(file.read_text("utf-8")) | fields
    _write_json(file, {name: value for name, value in content.items() if value is not None})


def _template(tokenizer: tokenizers.Tokenizer, single: str) -> None:
    special = [(word, tokenizer.token_to_id(word)) for word in single.split() if word != "$A"]
    tokenizer.post_processor = processors.TemplateProcessing(single=single, special_tokens=special)


def _random(architecture: Any, config: Any, seed: int) -> Any:
    import torch

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = architecture(config).eval()
        for parameter in model.parameters():  # norms and biases start at 1 and 0, where a mix-up would not show
            if parameter.ndim == 1:
                parameter.data += 0.1 * torch.randn_like(parameter)
    return model


def _save(folder: Path, model: Any, dtype: str, sharded: bool) -> None:
    import torch

    model.to(getattr(torch, dtype)).save_pretrained(folder, max_shard_size="64KB" if sharded else "5GB")


def _save_tokenizer(folder: Path, tokenizer: tokenizers.Tokenizer, tokenizer_class: str, **fields: Any) -> None:
    tokenizer.save(str(folder / "tokenizer.json"))
    _write_json(folder / "tokenizer_config.json", {"tokenizer_class": tokenizer_class, **fields})


def _save_sentence_transformers(
    folder: Path, dim: int, pooling: str, normalize: bool, prompts: Mapping[str, str], max_seq_length: int | None
) -> None:
    modules = [("", "Transformer"), ("1_Pooling", "Pooling"), ("2_Normalize", "Normalize")][: 3 if normalize else 2]
    _write_json(
        folder / "modules.json",
        [
            {"idx": number, "name": str(number), "path": path, "type": f"sentence_transformers.models.{kind}"}
            for number, (path, kind) in enumerate(modules)
        ],
    )
    for path, _ in modules[1:]:
        (folder / path).mkdir()
    switches = {switch: mode == pooling for mode, switch in _SWITCHES.items()}
    _write_json(folder / "1_Pooling" / "config.json", {"word_embedding_dimension": dim, **switches, "include_prompt": True})
    _write_json(folder / "sentence_bert_config.json", {"max_seq_length": max_seq_length, "do_lower_case": False})
    _write_json(
        folder / "config_sentence_transformers.json",
        {
            "__version__": {"sentence_transformers": "3.0.0", "transformers": "4.51.0", "pytorch": "2.6.0"},
            "prompts": dict(prompts),
            "default_prompt_name": None,
            "similarity_fn_name": "cosine",
        },
    )


def _write_json(file: Path, content: Any) -> None:
    file.write_text(json.dumps(content, indent=2, ensure_ascii=False), "utf-8")
