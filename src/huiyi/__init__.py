"""huiyi (会意): one small embedding model put to all the work that a team has for it. Importing this loads nothing heavy."""

from typing import TYPE_CHECKING

from huiyi.errors import HuiyiError

if TYPE_CHECKING:
    from huiyi.model import Model

__all__ = ["HuiyiError", "__version__", "load"]
__version__ = "0.1.0"


def load(name_or_path: str | None = None, precision: str = "auto", threads: int | None = None) -> "Model":
    """A `Model` ready to encode: `huiyi.load("Qwen/Qwen3-Embedding-0.6B")`.

    name_or_path: a hub name or a local folder; default HUIYI_MODEL. precision: auto, fp32, bf16 or int8.
    threads: CPU threads; default all. Raises NotFound, UnsupportedModel, InvalidInput.
    """
    from huiyi import workspace

    return workspace.load(name_or_path, precision=precision, threads=threads)
