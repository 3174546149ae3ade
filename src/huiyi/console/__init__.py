"""The console: pages in the browser over the user's own collections and models, in English and Chinese.

One module a page, texts of both languages in texts/PAGE.toml. A page calls `workspace` and nothing else, in threads, so that the event
loop which answers the API never waits. Importing this loads nothing; `furnish` loads NiceGUI.
"""

import os
from importlib.util import find_spec
from typing import Any

from huiyi import settings


def available() -> bool:
    """Whether the extra `console` is installed."""
    return find_spec("nicegui") is not None


def furnish(shell: Any, secret: str, **services: Any) -> frozenset[str]:
    """Put the console into the FastAPI application `shell`, once a process; the paths of its pages.

    secret: signs the cookie by which a browser's language and colours are remembered. services: as in `console.frame.Services`.
    """
    os.environ.update(NICEGUI_STORAGE_PATH=str(settings.home() / "console"))  # read when NiceGUI is imported
    os.environ.pop("NICEGUI_REDIS_URL", None)
    from huiyi.console import frame, pages

    return frame.mount(shell, secret, frame.Services(**services), pages.PAGES)
