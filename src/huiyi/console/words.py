"""The console's texts in both languages: texts/PAGE.toml, a line a text: key = ["English", "中文"], with {places} for values."""

import tomllib
from collections.abc import Callable
from functools import cache
from importlib.resources import files
from typing import Literal

Language = Literal["en", "zh"]
LANGUAGES: dict[Language, tuple[str, str]] = {"en": ("English", "en-US"), "zh": ("中文", "zh-CN")}
FRAME = "frame"


@cache
def texts(page: str) -> dict[str, tuple[str, str]]:
    """The texts of a page, or of the FRAME, by key: English and Chinese."""
    given = tomllib.loads(files("huiyi.console").joinpath("texts", f"{page}.toml").read_text("utf-8"))
    return {key: (english, chinese) for key, (english, chinese) in given.items()}


def speaker(page: str, language: Language) -> Callable[..., str]:
    """A function from a key, and values for its places, to the text; of the page, else of the frame. KeyError for others."""
    at = list(LANGUAGES).index(language)
    known = texts(FRAME) | texts(page)

    def say(key: str, **values: object) -> str:
        text = known[key][at]
        return text.format(**values) if values else text

    return say


def accepted(header: str) -> Language:
    """The one that a browser's Accept-Language asks for first."""
    for part in header.lower().split(","):
        for language in LANGUAGES:
            if part.strip().startswith(language):
                return language
    return "en"
