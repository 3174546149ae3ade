"""safetensors files as a mapping of names to memory-mapped tensors: single file or shards, names without the saver's prefix.

Knows the file format and no model. Nothing is read before it is asked for and nothing is copied; every header is checked in full
(sizes, offsets, types) before the first tensor is handed out, so a broken file fails here and by name.
"""

import json
import math
import mmap
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from huiyi.errors import UnsupportedModel
from huiyi.types import Floats

SINGLE = "model.safetensors"
INDEX = "model.safetensors.index.json"
_BYTES = {
    "BOOL": 1, "U8": 1, "I8": 1, "F8_E4M3": 1, "F8_E5M2": 1, "F8_E8M0": 1, "U16": 2, "I16": 2, "F16": 2, "BF16": 2,
    "U32": 4, "I32": 4, "F32": 4, "U64": 8, "I64": 8, "F64": 8, "C64": 8,
}  # fmt: skip
_READABLE: dict[str, type[np.generic]] = {"BF16": np.uint16, "F16": np.float16, "F32": np.float32}
_MAX_HEADER_BYTES = 100_000_000  # the limit of the safetensors library itself


@dataclass(frozen=True)
class Tensor:
    """dtype: BF16, F16 or F32. data: a read-only view into the mapped file in the tensor's shape; BF16 as its uint16 bit patterns."""

    dtype: str
    data: NDArray[Any]

    def float32(self) -> Floats:
        """The values as float32: a copy for BF16 and F16, the mapped view itself for F32."""
        if self.dtype == "BF16":
            return (self.data.astype(np.uint32) << 16).view(np.float32)
        return self.data.astype(np.float32, copy=False)


@dataclass(frozen=True)
class Entry:
    """Where a tensor lies: begin is the offset of its first byte in the file."""

    file: Path
    dtype: str
    shape: tuple[int, ...]
    begin: int

    @property
    def size_bytes(self) -> int:
        return math.prod(self.shape) * _BYTES[self.dtype]


class Weights(Mapping[str, Tensor]):
    """The tensors of a checkpoint by name, mapped when first asked for. entries: where they lie."""

    def __init__(self, entries: Mapping[str, Entry]) -> None:
        self.entries = dict(entries)
        self._maps: dict[Path, np.memmap[Any, np.dtype[np.uint8]]] = {}

    def __getitem__(self, name: str) -> Tensor:
        entry = self.entries[name]
        if entry.file not in self._maps:
            self._maps[entry.file] = np.memmap(entry.file, np.uint8, mode="r")
        raw = self._maps[entry.file][entry.begin : entry.begin + entry.size_bytes]
        return Tensor(entry.dtype, raw.view(_READABLE[entry.dtype]).reshape(entry.shape))

    def __iter__(self) -> Iterator[str]:
        return iter(self.entries)

    def __len__(self) -> int:
        return len(self.entries)

    def release(self) -> None:
        """Give the pages that were read back to the system; what is needed again is read again."""
        for array in self._maps.values():
            release_pages(array)

    def only(self, shapes: Mapping[str, tuple[int, ...]], where: Path) -> "Weights":
        """These tensors alone, each in the shape given. Raises UnsupportedModel naming those that are missing or of another shape."""
        missing = [name for name in shapes if name not in self.entries]
        if missing:
            some = ", ".join(missing[:3]) + (", …" if len(missing) > 3 else "")
            raise UnsupportedModel(f"{where}: {len(missing)} of {len(shapes)} tensors are missing from the weights: {some}")
        for name, shape in shapes.items():
            entry = self.entries[name]
            if entry.shape != shape:
                raise UnsupportedModel(
                    f"{entry.file}: tensor {name!r} has shape {list(entry.shape)}, but config.json asks for {list(shape)}: "
                    f"the two files are of different models"
                )
            self.require_readable(name)
        return Weights({name: self.entries[name] for name in shapes})

    def require_readable(self, name: str) -> None:
        """Raises UnsupportedModel for a tensor of a type that is not read."""
        entry = self.entries[name]
        if entry.dtype not in _READABLE:
            raise UnsupportedModel(
                f"{entry.file}: tensor {name!r} is {entry.dtype}; only BF16, F16 and F32 are supported: use an unquantised model"
            )


def release_pages(array: Any) -> None:
    """Drop a mapped file's pages from this process (Linux); harmless for an array without a file behind it."""
    mapped = getattr(array, "_mmap", None)
    if mapped is not None and hasattr(mmap, "MADV_DONTNEED"):
        mapped.madvise(mmap.MADV_DONTNEED)


def open_weights(folder: Path, rename: Callable[[str], str]) -> Weights:
    """All tensors of a folder under the names that `rename` gives them. Raises UnsupportedModel."""
    entries: dict[str, Entry] = {}
    for file in weight_files(folder):
        for saved_name, entry in _read_header(file).items():
            name = rename(saved_name)
            if name in entries:
                raise UnsupportedModel(f"{folder} holds tensor {name!r} twice ({entries[name].file.name} and {file.name}): save it again")
            entries[name] = entry
    return Weights(entries)


def open_file(file: Path) -> Weights:
    """The tensors of one file under their own names. Raises UnsupportedModel."""
    return Weights(_read_header(file))


def weight_files(folder: Path) -> list[Path]:
    """The safetensors files of a model folder. Raises UnsupportedModel where it has none."""
    if (folder / SINGLE).is_file():
        return [folder / SINGLE]
    if (folder / INDEX).is_file():
        try:
            names = sorted(set(json.loads((folder / INDEX).read_text("utf-8"))["weight_map"].values()))
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise UnsupportedModel(f"{folder / INDEX} is not a safetensors index ({error!r}): download it again") from error
        missing = [name for name in names if not (folder / name).is_file()]
        if missing:
            raise UnsupportedModel(f"{folder} lacks {', '.join(missing)}, which {INDEX} names: download it again")
        return [folder / name for name in names]
    pickled = [path.name for pattern in ("*.bin", "*.pt", "*.pth", "*.ckpt") for path in sorted(folder.glob(pattern))]
    if pickled:
        raise UnsupportedModel(
            f"{folder} holds only pickled weights ({pickled[0]}), which can run code and are never read. Convert them with transformers: "
            f"AutoModel.from_pretrained(folder).save_pretrained(folder, safe_serialization=True)"
        )
    raise UnsupportedModel(f"{folder} lacks {SINGLE} (or {INDEX} with its shards)")


def _read_header(file: Path) -> dict[str, Entry]:
    size = file.stat().st_size
    with file.open("rb") as stream:
        start = stream.read(8)
        header_bytes = int.from_bytes(start, "little")
        if len(start) == 8 and header_bytes > _MAX_HEADER_BYTES:
            raise UnsupportedModel(f"{file} is not a safetensors file (a header of {header_bytes:,} bytes is announced)")
        if size < 8 + header_bytes:
            raise _truncated(file, size, 8 + header_bytes)
        text = stream.read(header_bytes)
    try:
        header = json.loads(text)
        header.pop("__metadata__", None)
        entries = {name: _entry(file, name, fields, 8 + header_bytes) for name, fields in header.items()}
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise UnsupportedModel(f"{file} has an unreadable safetensors header ({error!r}): download it again") from error
    expected = max((e.begin + e.size_bytes for e in entries.values()), default=8 + header_bytes)
    if size < expected:
        raise _truncated(file, size, expected)
    return entries


def _entry(file: Path, name: str, fields: Mapping[str, Any], data_start: int) -> Entry:
    dtype, shape, (begin, end) = fields["dtype"], tuple(fields["shape"]), fields["data_offsets"]
    if not all(type(n) is int and n >= 0 for n in (*shape, begin, end)):
        raise ValueError(f"tensor {name!r} has impossible numbers")
    if dtype not in _BYTES:
        raise ValueError(f"tensor {name!r} is of unknown type {dtype!r}")
    entry = Entry(file, dtype, shape, data_start + begin)
    if entry.size_bytes != end - begin:
        raise ValueError(f"tensor {name!r} of shape {list(shape)} and type {dtype} takes {entry.size_bytes:,} bytes, not {end - begin:,}")
    return entry


def _truncated(file: Path, size: int, expected: int) -> UnsupportedModel:
    return UnsupportedModel(f"{file} is cut short: {size:,} bytes instead of {expected:,}; download it again")
