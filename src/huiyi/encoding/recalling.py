"""`RecallingTokenizer`: a tokenizer that knows which text its ids were made of, for servers that take texts only.

Many tokenizers lose blanks or case, so ids alone do not give the text back. Texts are kept within a bound; of ids that came without
a text it is decoded, and refused where that text would be read differently.
"""

import threading
from collections import OrderedDict
from collections.abc import Sequence

from huiyi.encoding.encoder import Side
from huiyi.encoding.tokenizer import Tokenizer
from huiyi.errors import InvalidInput
from huiyi.types import Ids, Kind

MAX_CHARACTERS = 64 * 2**20
ENTRY_CHARACTERS = 200  # that a kept text costs beside its own


class RecallingTokenizer:
    """As the `Tokenizer` that it wraps. recalls: set once a server turns out to take texts only; nothing is kept before."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._tokenizer = tokenizer
        self.max_tokens, self.vocab_size, self.eos_id = tokenizer.max_tokens, tokenizer.vocab_size, tokenizer.eos_id
        self.recalls = False
        self._texts: OrderedDict[bytes, str] = OrderedDict()
        self._characters = 0
        self._lock = threading.Lock()

    def encode(self, texts: Sequence[str], kind: Kind = "document", instruction: str | None = None, prompt: str | None = None) -> list[Ids]:
        rows = self._tokenizer.encode(texts, kind, instruction, prompt)
        if self.recalls:
            prefix = self._tokenizer.prefix(kind, instruction, prompt)
            for row, text in zip(rows, texts, strict=True):
                self._keep(row, prefix + text)
        return rows

    def truncate(self, ids: Ids, side: Side = "end") -> Ids:
        cut = self._tokenizer.truncate(ids, side)
        if self.recalls and len(cut) < len(ids):
            self._keep(cut, self._fitting(self.decode(ids), side))
        return cut

    def decode(self, ids: Ids) -> str:
        """The text that a server has to be sent for these ids. Raises InvalidInput where there is none."""
        with self._lock:
            kept = self._texts.get(ids.tobytes())
        if kept is not None:
            return kept
        text = self._tokenizer.decode(ids)
        if self._tokenizer.encode([text], prompt="")[0].tolist() != ids.tolist():
            raise InvalidInput("these token ids are those of no text, and the model's server takes texts only: send the text")
        return text

    def _fitting(self, text: str, side: Side) -> str:
        """The longest start, or end, of a text that the model reads whole."""
        fits, fails = 0, len(text) + 1
        while fails - fits > 1:
            middle = (fits + fails) // 2
            part = text[:middle] if side == "end" else text[-middle:]
            if len(self._tokenizer.encode([part], prompt="")[0]) <= self.max_tokens:
                fits = middle
            else:
                fails = middle
        return text[:fits] if side == "end" else text[len(text) - fits :]

    def _keep(self, row: Ids, text: str) -> None:
        with self._lock:
            if self._texts.setdefault(row.tobytes(), text) is text:
                self._characters += len(text) + ENTRY_CHARACTERS
            while self._characters > MAX_CHARACTERS and len(self._texts) > 1:
                _, oldest = self._texts.popitem(last=False)
                self._characters -= len(oldest) + ENTRY_CHARACTERS
