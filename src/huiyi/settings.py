"""What the environment decides, read when asked and nowhere else: HUIYI_HOME and HUIYI_MODEL."""

import os
from pathlib import Path


def home() -> Path:
    """The workspace folder: HUIYI_HOME, else `~/.huiyi`. Not created here."""
    return Path(os.environ.get("HUIYI_HOME") or Path.home() / ".huiyi").expanduser()


def default_model() -> str | None:
    """HUIYI_MODEL: name or path of the model to use where none is given; None when unset or empty."""
    return os.environ.get("HUIYI_MODEL") or None
