"""Text to token ids: the folder's own tokenizer, the query template, and the special tokens put on exactly once.

Knows no engine. Ids come back whole: whether a long text is refused or cut is the caller's choice (`truncate`). What counts as
exactly once: the tokenizer's own post-processor decides; only where a Qwen3 folder pools the last token and its post-processor
appends nothing, `<|endoftext|>` is appended here, because the vector is read at that token.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import tokenizers
from tokenizers import models, normalizers, pre_tokenizers, processors

from huiyi.errors import InvalidInput, TooLong, UnsupportedModel
from huiyi.types import Ids, Kind

DEFAULT_TASK = "Given a web search query, retrieve relevant passages that answer the query"
END_OF_TEXT = "<|endoftext|>"
# Tokenising takes about 1 s and 0.2 GB for a million characters, and 32,768 tokens, the most that any supported model takes,
# are rarely more than 150,000 characters: what is longer than this is refused unread.
MAX_CHARACTERS = 1_000_000
_BERT_TOKENS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
_DOCUMENT_PROMPTS = ("document", "passage", "corpus")  # in the order in which sentence-transformers looks


class Tokenizer:
    """eos_id: the last special token at the end of every text (Qwen3: 151643, BERT: [SEP]); None where the model has none.

    vocab_size: ids are below it. Safe to call from many threads.
    """

    def __init__(self, path: Path, *, family: str, max_tokens: int, vocab_size: int, prompts: Mapping[str, str], pooling: str) -> None:
        """path: the folder with tokenizer.json. vocab_size: rows of the weights' embedding table. Raises UnsupportedModel, InvalidInput."""
        self._family, self._prompts = family, dict(prompts)
        self.vocab_size = vocab_size
        self._tokenizer = _load(path, family)
        if family == "qwen3" and pooling == "last" and not _special_tokens(self._tokenizer)[1]:
            _append_end_of_text(self._tokenizer, path)
        self._head, self._tail = _special_tokens(self._tokenizer)
        self.eos_id: int | None = self._tail[-1] if self._tail else None
        self.max_tokens = max_tokens
        if max_tokens <= len(self._head) + len(self._tail):
            raise InvalidInput(f"a limit of {max_tokens} tokens leaves no room for text beside the special tokens; raise it")
        # Added tokens may lie beyond the weights (the larger Qwen3 embedding models); a text that spells one is refused by itself.
        needed = max([self._tokenizer.get_vocab_size(with_added_tokens=False), *(id_ + 1 for id_ in self._head + self._tail)])
        if needed > vocab_size:
            raise UnsupportedModel(
                f"{path}: the tokenizer does not fit the weights: it has {needed:,} tokens, the weights have rows for {vocab_size:,}; "
                f"take both from the same model"
            )

    def encode(self, texts: Sequence[str], kind: Kind = "document", instruction: str | None = None, prompt: str | None = None) -> list[Ids]:
        """int32 ids of each text in input order, special tokens included, not cut.

        kind: a query gets the model's query template or prompt, a document the model's document prompt if it has one.
        instruction: the task in place of the default one, for queries of Qwen3. prompt: the whole prefix in place of all that.
        Raises InvalidInput, and TooLong beyond MAX_CHARACTERS.
        """
        prefix = self.prefix(kind, instruction, prompt)
        _check(prefix, "the instruction or prompt")
        names = ["the text"] if len(texts) == 1 else [f"texts[{number}]" for number in range(len(texts))]
        for name, text in zip(names, texts, strict=True):
            _check(text, name)
        rows: list[Ids] = []
        for part in _slices([prefix + text for text in texts]):
            rows += [np.array(encoding.ids, dtype=np.int32) for encoding in self._tokenizer.encode_batch_fast(part)]
        for name, row in zip(names, rows, strict=True):
            if not len(row):
                raise InvalidInput(f"{name} is empty, and this model has no special token to stand for it")
            if row.max() >= self.vocab_size:
                token = self._tokenizer.id_to_token(int(row.max()))
                raise InvalidInput(f"{name} holds the token {token!r}, which the tokenizer knows and the model's weights do not")
        return rows

    def truncate(self, ids: Ids, side: Literal["start", "end"] = "end") -> Ids:
        """At most max_tokens ids: text is cut at its start or its end, the special tokens around it stay."""
        if len(ids) <= self.max_tokens:
            return ids
        head, tail = len(self._head), len(self._tail)
        body = ids[head : len(ids) - tail]
        room = self.max_tokens - head - tail
        body = body[:room] if side == "end" else body[len(body) - room :]
        return np.concatenate([ids[:head], body, ids[len(ids) - tail :]])

    def decode(self, ids: Ids) -> str:
        """The text of ids, without the special tokens around it, as far as the tokenizer keeps what it reads."""
        head, tail = len(self._head), len(self._tail)
        row = ids.tolist()
        body = row[head : len(row) - tail] if row[:head] == self._head and row[len(row) - tail :] == self._tail else row
        return self._tokenizer.decode(body, skip_special_tokens=False).rstrip("\ufffd")  # half a character at the cut

    @property
    def end_of_text(self) -> str:
        """`eos_id` as it is spelt; empty where there is none."""
        return "" if self.eos_id is None else str(self._tokenizer.id_to_token(self.eos_id))

    @property
    def ends(self) -> tuple[list[int], list[int]]:
        """The special tokens before and after every text."""
        return self._head, self._tail

    def prefix(self, kind: Kind, instruction: str | None, prompt: str | None) -> str:
        """What `encode` puts before every text. Raises InvalidInput."""
        if kind not in ("document", "query"):
            raise InvalidInput(f"kind must be document or query, not {kind!r}")
        if instruction is not None:
            if prompt is not None:
                raise InvalidInput("give an instruction or a prompt, not both: a prompt is the whole prefix")
            if self._family != "qwen3":
                raise InvalidInput("this model has no template for an instruction; leave it out, or give the whole prefix as prompt")
            if kind == "document":
                raise InvalidInput("an instruction belongs to queries: documents are embedded as they are")
            return query_prefix(instruction)
        if prompt is not None:
            return prompt
        if kind == "query":
            return self._prompts.get("query", query_prefix(DEFAULT_TASK) if self._family == "qwen3" else "")
        return next((self._prompts[name] for name in _DOCUMENT_PROMPTS if name in self._prompts), "")


def query_prefix(task: str) -> str:
    """Qwen3's template for queries."""
    return f"Instruct: {task}\nQuery:"


def _check(text: Any, name: str) -> None:
    if not isinstance(text, str):
        raise InvalidInput(f"{name} is a {type(text).__name__}, not text")
    if len(text) > MAX_CHARACTERS:
        raise TooLong(f"{name} has {len(text):,} characters; at most {MAX_CHARACTERS:,} are read as one text: split it")
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise InvalidInput(
            f"{name} is not valid Unicode: half a surrogate pair ({text[error.start]!r}) at character {error.start}; "
            f"read the source again with its own encoding"
        ) from error


def _slices(texts: list[str]) -> Iterator[list[str]]:
    """Runs of texts with MAX_CHARACTERS or little more in each, so that memory does not grow with the list."""
    part: list[str] = []
    characters = 0
    for text in texts:
        part.append(text)
        characters += len(text)
        if characters >= MAX_CHARACTERS:
            yield part
            part, characters = [], 0
    yield part


def _load(path: Path, family: str) -> tokenizers.Tokenizer:
    """tokenizer.json (or vocab.txt, the older form of BERT's) with the settings of the files beside it that change the ids."""
    file, vocabulary = path / "tokenizer.json", path / "vocab.txt"
    if file.is_file():
        try:
            tokenizer = tokenizers.Tokenizer.from_file(str(file))
        except Exception as error:  # the library raises nothing narrower
            raise UnsupportedModel(f"{file} cannot be read ({error}): download it again") from error
    elif vocabulary.is_file() and family == "bert":
        tokenizer = _word_pieces(vocabulary)
    else:
        raise UnsupportedModel(
            f"{path} has no tokenizer.json. Make it once with transformers: AutoTokenizer.from_pretrained(folder).save_pretrained(folder)"
        )
    tokenizer.no_truncation()
    tokenizer.no_padding()
    config, normalizer = _read_json(path / "tokenizer_config.json"), tokenizer.normalizer
    if isinstance(normalizer, normalizers.BertNormalizer):
        normalizer = normalizers.BertNormalizer(
            clean_text=normalizer.clean_text,
            handle_chinese_chars=config.get("tokenize_chinese_chars", normalizer.handle_chinese_chars),
            strip_accents=config.get("strip_accents", normalizer.strip_accents),
            lowercase=config.get("do_lower_case", normalizer.lowercase),
        )
    if _read_json(path / "sentence_bert_config.json").get("do_lower_case"):
        normalizer = normalizers.Sequence([normalizers.Lowercase(), *filter(None, [normalizer])])
    tokenizer.normalizer = normalizer
    return tokenizer


def _word_pieces(vocabulary: Path) -> tokenizers.Tokenizer:
    tokenizer = tokenizers.Tokenizer(models.WordPiece.from_file(str(vocabulary), unk_token="[UNK]"))
    missing = [token for token in _BERT_TOKENS if tokenizer.token_to_id(token) is None]
    if missing:
        raise UnsupportedModel(f"{vocabulary} lacks {', '.join(missing)}: it is not the vocabulary of a BERT model")
    tokenizer.add_special_tokens(_BERT_TOKENS)
    tokenizer.normalizer = normalizers.BertNormalizer()
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    ends = [(token, tokenizer.token_to_id(token)) for token in ("[CLS]", "[SEP]")]
    tokenizer.post_processor = processors.TemplateProcessing(single="[CLS] $A [SEP]", special_tokens=ends)
    return tokenizer


def _read_json(file: Path) -> dict[str, Any]:
    if not file.is_file():
        return {}
    try:
        fields = json.loads(file.read_text("utf-8"))
    except ValueError as error:
        raise UnsupportedModel(f"{file} is not readable JSON ({error}): download it again") from error
    return dict(fields)


def _special_tokens(tokenizer: tokenizers.Tokenizer) -> tuple[list[int], list[int]]:
    """What the post-processor puts before and after a text."""
    probe = tokenizer.encode("a")
    text = [number for number, special in enumerate(probe.special_tokens_mask) if not special]
    if not text:
        raise UnsupportedModel("the tokenizer gives no token for the letter a: tokenizer.json is not whole, download it again")
    return probe.ids[: text[0]], probe.ids[text[-1] + 1 :]


def _append_end_of_text(tokenizer: tokenizers.Tokenizer, path: Path) -> None:
    id_ = tokenizer.token_to_id(END_OF_TEXT)
    if id_ is None:
        raise UnsupportedModel(
            f"{path}: tokenizer.json neither appends a token to the text nor knows {END_OF_TEXT}, which is read for the vector"
        )
    template = processors.TemplateProcessing(single=f"$A {END_OF_TEXT}", special_tokens=[(END_OF_TEXT, id_)])
    tokenizer.post_processor = processors.Sequence([*filter(None, [tokenizer.post_processor]), template])
