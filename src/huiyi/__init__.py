"""huiyi (会意): one small embedding model put to all the work that a team has for it. Importing this loads nothing heavy."""

from typing import TYPE_CHECKING

from huiyi.errors import HuiyiError

if TYPE_CHECKING:
    from pathlib import Path

    from huiyi.collection import Collection
    from huiyi.model import Model

__all__ = ["HuiyiError", "__version__", "load", "open"]
__version__ = "0.1.0"


def load(
    name_or_path: str | None = None,
    precision: str = "auto",
    threads: int | None = None,
    *,
    max_tokens: int | None = None,
    adapter: str | None = None,
    device: str | None = None,
) -> "Model":
    """A `Model` ready to encode: `huiyi.load("Qwen/Qwen3-Embedding-0.6B")`.

    name_or_path: a hub name, a local folder, or the address of a server that has the model (`http://gpu1:30000`, more after commas, its
    tokenizer's model after #); default HUIYI_MODEL. precision: auto, fp32, bf16 or int8.
    threads: CPU threads; default all. max_tokens: longest text; default the folder's own length (8,192 for Qwen3-Embedding, up to 32,768
    can be asked for). adapter: folder of a LoRA adapter to put on it, as `huiyi train` or PEFT wrote it.
    device: cpu, or cuda (cuda:1, …) for a GPU, which needs the extra `torch`; default HUIYI_DEVICE, else cpu. See docs/gpu.md.
    Raises NotFound, UnsupportedModel, InvalidInput, MissingExtra.
    """
    from huiyi import workspace

    return workspace.load(name_or_path, precision, threads, max_tokens=max_tokens, adapter=adapter, device=device)


def open(
    name: str,
    model: "Model | str | Path | None" = None,
    home: "str | Path | None" = None,
    store: str | None = None,
    *,
    instruction: str | None = None,
    dimensions: int | None = None,
) -> "Collection":
    """The collection `name`, made when it is not there: `faq = huiyi.open("faq", model=model)`.

    name: letters, digits, - and _. model: a `Model`, a name or a folder; default the collection's own, for a new one HUIYI_MODEL.
    home: the workspace folder, default HUIYI_HOME. store: where a new collection is kept, "local" (the default), "milvus:URI" or
    "pinecone". instruction: the task that queries carry. dimensions: cut the vectors of a new collection to this many numbers.
    Raises Conflict when the model does not give the vectors that the collection holds, NotFound, InvalidInput.
    """
    from huiyi import workspace

    return workspace.open_collection(name, model, home, store, instruction=instruction, dimensions=dimensions)
