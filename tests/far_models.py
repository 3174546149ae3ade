"""Loaders in the place of `workspace.load`, for machines with this module on their path: they refuse, differ, or die of a text."""

import os
from pathlib import Path
from typing import Any

from huiyi.encoding.encoder import LocalEncoder
from huiyi.errors import InvalidInput
from huiyi.model import Model
from huiyi.workspace import load


def refusing(name: str, precision: str, threads: int, **options: Any) -> Model:
    raise InvalidInput("no such model on this machine")


def deadly(name: str, precision: str, threads: int, **options: Any) -> Model:
    """A model whose process dies of one text."""
    model = load(name, precision, threads, **options)
    encoder = model.encoder
    assert isinstance(encoder, LocalEncoder)
    embed = encoder.embed

    def dies(texts: list[str], *given: Any, **how: Any) -> Any:
        if "☠" in texts:
            os._exit(1)
        return embed(texts, *given, **how)

    encoder.embed = dies  # type: ignore[method-assign]
    return model


def differing(name: str, precision: str, threads: int, **options: Any) -> Model:
    """The first process to load it has fp32, the others int8."""
    try:
        (Path(os.environ["HUIYI_HOME"]) / "loaded").touch(exist_ok=False)
    except FileExistsError:
        return load(name, "int8", threads, **options)
    return load(name, "fp32", threads, **options)
