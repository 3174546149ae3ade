"""What the environment decides, read when asked and nowhere else: HUIYI_HOME, HUIYI_MODEL, HUIYI_DEVICE, HUIYI_HUB and the keys."""

import os
from pathlib import Path


def home() -> Path:
    """The workspace folder: HUIYI_HOME, else `~/.huiyi`. Not created here."""
    return Path(os.environ.get("HUIYI_HOME") or Path.home() / ".huiyi").expanduser()


def default_model() -> str | None:
    """HUIYI_MODEL: name or path of the model to use where none is given; None when unset or empty."""
    return os.environ.get("HUIYI_MODEL") or None


def default_device() -> str | None:
    """HUIYI_DEVICE: where models compute when no device is given; None when unset or empty."""
    return os.environ.get("HUIYI_DEVICE") or None


def compiled() -> bool | None:
    """HUIYI_COMPILE: 1 has torch compile the layers, 0 keeps it from doing so; None when unset or empty."""
    value = os.environ.get("HUIYI_COMPILE")
    return value != "0" if value else None


def hub() -> str:
    """HUIYI_HUB: where a model's name is looked up, `hf` (Hugging Face, the default) or `modelscope`."""
    return os.environ.get("HUIYI_HUB") or "hf"


def api_key() -> str | None:
    """HUIYI_API_KEY: the key that a server asks for; None when unset or empty."""
    return os.environ.get("HUIYI_API_KEY") or None


def namer_key() -> str | None:
    """HUIYI_NAMER_KEY: the key of the chat server that names topics; None when unset or empty."""
    return os.environ.get("HUIYI_NAMER_KEY") or None


def llm_key() -> str | None:
    """HUIYI_LLM_KEY: the key of the chat server that writes replies; None when unset or empty."""
    return os.environ.get("HUIYI_LLM_KEY") or None


def upstream_key() -> str | None:
    """HUIYI_UPSTREAM_KEY: the key that upstream servers ask for; None when unset or empty."""
    return os.environ.get("HUIYI_UPSTREAM_KEY") or None


def upstream_key_file() -> Path | None:
    """HUIYI_UPSTREAM_KEY_FILE: a file with their keys, in the place of that; None when unset or empty."""
    named = os.environ.get("HUIYI_UPSTREAM_KEY_FILE")
    return Path(named).expanduser() if named else None
