"""Weight matrices derived from a checkpoint (fused, rotated, quantised), kept as plain arrays in a folder: made once, mapped ever after.

Mapped matrices cost no memory of their own once the plugin has packed them. A file that is missing or damaged is made again; where
the folder cannot be written, everything is made in memory. Safe for several processes: a file appears whole or not at all.
"""

import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from huiyi.engines.graph import Quantized
from huiyi.engines.weights import Tensor, release_pages

_VERSION = 2  # of what the files mean; a change of quantisation or rotation needs another


class Prepared:
    """folder: where the files of one checkpoint and precision lie, or None to keep nothing."""

    def __init__(self, folder: Path | None) -> None:
        self._folder = folder and folder / f"v{_VERSION}"
        self._mapped: list[np.memmap[Any, Any]] = []

    def __call__(self, name: str, make: Callable[[], Tensor | Quantized]) -> Tensor | Quantized:
        """What `make` gives, from the folder where it is there."""
        kept = self._read(name)
        if kept is None:
            kept = make()
            arrays = [kept.values, kept.scales] if isinstance(kept, Quantized) else [kept.data]
            if self._write(name, arrays):
                kept = self._read(name) or kept
        return kept

    def release(self) -> None:
        """Give the pages that were read back to the system; they are read again if they are needed again."""
        for array in self._mapped:
            release_pages(array)

    def _read(self, name: str) -> Tensor | Quantized | None:
        values = self._load(name + ".npy")
        if values is None:
            return None
        if values.dtype != np.int8:
            return Tensor("BF16" if values.dtype == np.uint16 else "F32", values)
        scales = self._load(name + ".scales.npy")
        return None if scales is None else Quantized(values, np.array(scales))

    def _load(self, name: str) -> "np.memmap[Any, Any] | None":
        if self._folder is None or not (self._folder / name).is_file():
            return None
        try:
            array: np.memmap[Any, Any] = np.load(self._folder / name, mmap_mode="r", allow_pickle=False)
        except (ValueError, OSError, EOFError):  # cut short or not an array: made again by the caller
            return None
        self._mapped.append(array)
        return array

    def _write(self, name: str, arrays: list[NDArray[Any]]) -> bool:
        if self._folder is None:
            return False
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            for array, suffix in zip(arrays, (".npy", ".scales.npy"), strict=False):
                with tempfile.NamedTemporaryFile(dir=self._folder, delete=False) as stream:
                    np.save(stream, array)
                os.replace(stream.name, self._folder / (name + suffix))
        except OSError:  # full or read-only: the matrices stay in memory
            return False
        return True
