"""What the environment decides, read when asked and nowhere else: HUIYI_HOME, HUIYI_MODEL, HUIYI_HUB, HUIYI_API_KEY, HUIYI_NAMER_KEY."""

import os
from pathlib import Path


def home() -> Path:
    """The workspace folder: HUIYI_HOME, else `~/.huiyi`. Not created here."""
    return Path(os.environ.get("HUIYI_HOME") or Path.home() / ".huiyi").expanduser()


def default_model() -> str | None:
    """HUIYI_MODEL: name or path of the model to use where none is given; None when unset or empty."""
    return os.environ.get("HUIYI_MODEL") or None


def hub() -> str:
    """HUIYI_HUB: where a model's name is looked up, `hf` (Hugging Face, the default) or `modelscope`."""
    return os.environ.get("HUIYI_HUB") or "hf"


def api_key() -> str | None:
    """HUIYI_API_KEY: the key that a server asks for; None when unset or empty."""
    return os.environ.get("HUIYI_API_KEY") or None


def namer_key() -> str | None:
    """HUIYI_NAMER_KEY: the key of the chat server that names topics; None when unset or empty."""
    return os.environ.get("HUIYI_NAMER_KEY") or None
