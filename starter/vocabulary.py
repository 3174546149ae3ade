"""The starter's tokens: Chinese in tokens of one or two characters, other scripts in word pieces, bytes for what is left.

Both parts are byte-pair merges learned apart, on text of one kind each; they share no character, so one list holds both.
"""

from collections import Counter
from collections.abc import Iterable

import tokenizers
from tokenizers import decoders, models, normalizers, pre_tokenizers, processors, trainers

END = "<|endoftext|>"
HAN = r"[\p{Han}]+"


def learn(texts: Iterable[str], han: int, other: int) -> tokenizers.Tokenizer:
    """han, other: tokens for Chinese characters, and for everything else (256 bytes come on top). texts: may repeat, as they weigh."""
    texts = list(texts)
    parts = []
    for size, longest, wanted in ((han, 2, True), (other, 16, False)):
        tokenizer = _blank(models.BPE())
        trainer = trainers.BpeTrainer(
            vocab_size=size, min_frequency=3, max_token_length=longest, show_progress=False, limit_alphabet=4500 if wanted else 600
        )
        chunks: Counter[str] = Counter()
        for text in texts:
            for chunk, _ in tokenizer.pre_tokenizer.pre_tokenize_str(tokenizer.normalizer.normalize_str(text)):
                if _is_han(chunk) == wanted:
                    chunks[chunk] += 1
        tokenizer.train_from_iterator((c for c, n in sorted(chunks.items()) for _ in range(n)), trainer)
        import json

        model = json.loads(tokenizer.to_str())["model"]
        parts.append((sorted(model["vocab"], key=model["vocab"].get), [tuple(m) for m in model["merges"]]))
    names = dict.fromkeys([END, *(f"<0x{byte:02X}>" for byte in range(256))])
    for tokens, _ in parts:
        names |= dict.fromkeys(tokens)
    vocabulary = {token: number for number, token in enumerate(names)}
    tokenizer = _blank(models.BPE(vocabulary, [merge for _, merges in parts for merge in merges], byte_fallback=True))
    tokenizer.add_special_tokens([END])
    tokenizer.post_processor = processors.TemplateProcessing(single=f"$A {END}", special_tokens=[(END, 0)])
    tokenizer.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()])
    return tokenizer


def _is_han(chunk: str) -> bool:
    return "\u3400" <= chunk[0] <= "\u9fff" or chunk[0] >= "\U00020000"


def _blank(model: models.Model) -> tokenizers.Tokenizer:
    tokenizer = tokenizers.Tokenizer(model)
    tokenizer.normalizer = normalizers.Sequence(
        [normalizers.NFKC(), normalizers.Lowercase(), normalizers.Replace(tokenizers.Regex(r"\s+"), " "), normalizers.Strip()]
    )
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([
        pre_tokenizers.WhitespaceSplit(),
        pre_tokenizers.Split(tokenizers.Regex(HAN), "isolated"),
        pre_tokenizers.Split(tokenizers.Regex(r"[\p{L}\p{M}]+|\p{N}|[^\p{L}\p{N}]"), "isolated"),
        ])  # fmt: skip
    return tokenizer
