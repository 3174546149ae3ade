"""`Model`: an encoder under the method names and array shapes of sentence-transformers' SentenceTransformer.

Owns what those names mean here: numpy in and out, vectors always float32 of unit length, rows in input order. An option of theirs that
cannot be honoured is refused with a sentence, never ignored. Knows nothing of checkpoints, files or engines.
"""

import warnings
from collections.abc import Callable, Iterable, Mapping
from types import TracebackType
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike

from huiyi.encoding.encoder import LocalEncoder
from huiyi.encoding.machines import RayEncoder
from huiyi.encoding.tokenizer import MAX_CHARACTERS
from huiyi.errors import InvalidInput
from huiyi.types import Embedded, Encoder, Floats, Kind

Texts = str | Iterable[str]


class Model:
    """What `huiyi.load` returns; takes a SentenceTransformer's place.

    `encode` gives both sides of a comparison the same treatment (similarity, clustering, deduplication, features);
    `encode_query` and `encode_document` are for search, where the query side carries the model's instruction.

    The three take the same arguments. sentences: one string -> float32 [dim]; a list, tuple, array, Series or other iterable of strings
    -> float32 [n, dim] in its order, [0, dim] for an empty one. prompt: put in front of every text, as it is; prompt_name: one of
    `prompts`. batch_size: a hint without effect, since batches are made by tokens. show_progress_bar: None is False. truncate_dim:
    cut to this many numbers before unit length. Texts past `max_seq_length` tokens lose their end, with one warning a call.
    options: others of SentenceTransformer.encode, accepted where they ask for what is done anyway. Raise InvalidInput, which says what
    to do instead, for all that cannot be honoured; ModelFailed, Overloaded, Unavailable.
    """

    def __init__(
        self,
        encoder: Encoder,
        name: str,
        prompts: Mapping[str, str] | None = None,
        default_prompt_name: str | None = None,
        normalizes: bool = True,
        reopen: "Callable[[], Model] | None" = None,
        about: str = "",
    ) -> None:
        """name: as it was asked for. prompts: prefixes by name, as the checkpoint has them; default_prompt_name: the one `encode` uses.

        normalizes: the checkpoint itself ends in unit length. reopen: loads this model again; with it a Model can be pickled.
        about: how it computes, a sentence for people.
        """
        self.encoder = encoder
        self.name = name
        self.prompts = {"query": "", "document": "", **(prompts or {})}
        self.default_prompt_name = default_prompt_name
        self._normalizes = normalizes
        self._reopen = reopen
        self.about = about

    def encode(
        self,
        sentences: Texts,
        prompt_name: str | None = None,
        prompt: str | None = None,
        batch_size: int = 32,
        show_progress_bar: bool | None = None,
        truncate_dim: int | None = None,
        **options: Any,
    ) -> Floats:
        """Vectors of texts as they stand, for comparing like with like."""
        self._check(batch_size, truncate_dim, **options)
        prompt = self._prompt(prompt_name or self.default_prompt_name, prompt)
        return self._encode(sentences, "document", None, prompt or "", truncate_dim, show_progress_bar)

    def encode_query(
        self,
        sentences: Texts,
        prompt_name: str | None = None,
        prompt: str | None = None,
        batch_size: int = 32,
        show_progress_bar: bool | None = None,
        truncate_dim: int | None = None,
        *,
        instruction: str | None = None,
        **options: Any,
    ) -> Floats:
        """Vectors of search queries, with the model's query prompt. instruction: your own task in it, for models that take one."""
        self._check(batch_size, truncate_dim, **options)
        prompt = self._prompt(prompt_name, prompt)
        if instruction is not None and prompt is not None:
            raise InvalidInput("Give an instruction or a prompt, not both: the instruction is part of the model's own prompt.")
        return self._encode(sentences, "query", instruction, prompt, truncate_dim, show_progress_bar)

    def encode_document(
        self,
        sentences: Texts,
        prompt_name: str | None = None,
        prompt: str | None = None,
        batch_size: int = 32,
        show_progress_bar: bool | None = None,
        truncate_dim: int | None = None,
        **options: Any,
    ) -> Floats:
        """Vectors of what is searched, with the model's document prompt; most models have none."""
        self._check(batch_size, truncate_dim, **options)
        return self._encode(sentences, "document", None, self._prompt(prompt_name, prompt), truncate_dim, show_progress_bar)

    def similarity(self, embeddings1: ArrayLike, embeddings2: ArrayLike) -> Floats:
        """Cosines float32 [n, m] of every row of one with every row of the other, as a numpy array; [dim] is one row."""
        a, b = _unit_rows(embeddings1, embeddings2)
        cosines: Floats = a @ b.T
        return cosines

    def similarity_pairwise(self, embeddings1: ArrayLike, embeddings2: ArrayLike) -> Floats:
        """Cosines float32 [n] of row i of one with row i of the other."""
        a, b = _unit_rows(embeddings1, embeddings2)
        if len(a) != len(b):
            raise InvalidInput(f"Pairs need as many rows on both sides; these are {len(a)} and {len(b)}.")
        cosines: Floats = np.einsum("nd,nd->n", a, b)
        return cosines

    def get_embedding_dimension(self) -> int:
        return self.encoder.dim

    def get_sentence_embedding_dimension(self) -> int:
        """The older name of `get_embedding_dimension`."""
        return self.encoder.dim

    @property
    def max_seq_length(self) -> int:
        """Longest text in tokens, special tokens included."""
        return self.encoder.max_tokens

    def close(self) -> None:
        """Stop the worker behind the encoder, where it has one. Calls after that raise Unavailable."""
        if isinstance(self.encoder, LocalEncoder | RayEncoder):
            self.encoder.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"Model({self.name!r}, dim={self.encoder.dim}, max_seq_length={self.encoder.max_tokens})"

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        """Itself: a model never changes, and scikit-learn's `clone` copies every parameter."""
        return self

    def __reduce__(self) -> "tuple[Callable[[], Model], tuple[()]]":
        if self._reopen is None:
            raise InvalidInput("This Model cannot be pickled, since huiyi.load did not make it: pass on a model's name or folder instead.")
        return self._reopen, ()

    def _check(
        self,
        batch_size: int,
        truncate_dim: int | None,
        *,
        output_value: str = "sentence_embedding",
        precision: str = "float32",
        convert_to_numpy: bool = True,
        convert_to_tensor: bool = False,
        device: str | None = None,
        normalize_embeddings: bool | None = None,
    ) -> None:
        """Refuse what would otherwise be ignored."""
        if batch_size < 1:
            raise InvalidInput(f"batch_size must be 1 or more, not {batch_size}; it has no effect here and can be left out.")
        if output_value != "sentence_embedding":
            raise InvalidInput(f"There is no output_value={output_value!r}: this engine gives one vector a text and none a token.")
        if precision != "float32":
            raise InvalidInput(f"There is no precision={precision!r} here: take the float32 vectors and convert them.")
        if convert_to_tensor or not convert_to_numpy:
            raise InvalidInput("Vectors are numpy arrays. For a tensor: torch.from_numpy(model.encode(texts)).")
        if device not in (None, "cpu"):
            raise InvalidInput(f"There is no device {device!r}: this engine runs on the CPU.")
        if normalize_embeddings is False and (truncate_dim or not self._normalizes):
            raise InvalidInput("Vectors are of unit length here, always: leave out normalize_embeddings=False.")

    def _prompt(self, name: str | None, prompt: str | None) -> str | None:
        if prompt is not None or name is None:
            return prompt
        if name not in self.prompts:
            raise InvalidInput(f"This model has no prompt {name!r}. Choose from {', '.join(sorted(self.prompts))}, or give prompt= itself.")
        return self.prompts[name]

    def _encode(
        self,
        sentences: Texts,
        kind: Kind,
        instruction: str | None,
        prompt: str | None,
        dimensions: int | None,
        show_progress_bar: bool | None,
    ) -> Floats:
        """prompt: in the place of everything that `kind` and `instruction` would put in front."""
        texts, single = _listed(sentences)
        if show_progress_bar:
            from tqdm.auto import tqdm

            with tqdm(total=len(texts), unit=" texts") as bar:
                embedded = self._embed(texts, kind, instruction, prompt, dimensions, bar.update)
        else:
            embedded = self._embed(texts, kind, instruction, prompt, dimensions, None)
        full = int((embedded.tokens >= self.encoder.max_tokens).sum())
        if full:
            warnings.warn(
                f"{full} of {len(texts)} texts fill all {self.encoder.max_tokens} tokens that this model reads; "
                f"what they hold beyond is left out.",
                stacklevel=3,
            )
        return embedded.vectors[0] if single else embedded.vectors

    def _embed(
        self,
        texts: list[str],
        kind: Kind,
        instruction: str | None,
        prompt: str | None,
        dimensions: int | None,
        progress: Callable[[], Any] | None,
    ) -> Embedded:
        if isinstance(self.encoder, LocalEncoder):
            texts = [text[:MAX_CHARACTERS] if isinstance(text, str) else text for text in texts]
            return self.encoder.embed(texts, kind, instruction, dimensions, truncate="end", prompt=prompt, progress=progress)
        if prompt is None:
            return self.encoder.embed(texts, kind, instruction, dimensions)
        return self.encoder.embed([prompt + text for text in texts], "document", None, dimensions)


def _listed(sentences: Texts) -> tuple[list[str], bool]:
    """The texts, and whether it was a single one."""
    if isinstance(sentences, str):
        return [sentences], True
    if not isinstance(sentences, Iterable) or isinstance(sentences, bytes | Mapping) or getattr(sentences, "ndim", 1) != 1:
        raise InvalidInput(f"Give one string or one list or column of strings, not {type(sentences).__name__}.")
    return list(sentences), False


def _unit_rows(a: ArrayLike, b: ArrayLike) -> tuple[Floats, Floats]:
    try:
        left, right = (np.atleast_2d(np.asarray(vectors, np.float32)) for vectors in (a, b))
    except ValueError as error:
        raise InvalidInput("Similarity is of vectors, not of texts: model.similarity(model.encode(a), model.encode(b)).") from error
    if left.ndim != 2 or right.ndim != 2 or left.shape[1] != right.shape[1]:
        raise InvalidInput(f"Similarity needs vectors of one width on both sides; these are of shape {left.shape} and {right.shape}.")
    return _unit(left), _unit(right)


def _unit(rows: Floats) -> Floats:
    unit: Floats = rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-12)
    return unit
