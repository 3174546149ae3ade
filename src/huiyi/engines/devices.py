"""Where a model computes: OpenVINO on the CPU, torch on a GPU. The one place that knows both engines; torch is loaded when it is asked for.

`cpu` is the default. `torch-cpu` is torch without a GPU: slower, to compare with, or for CPUs that OpenVINO does not know.
"""

import os
import re
from typing import Any, Protocol

from huiyi import settings
from huiyi.engines.adapters import Adapter
from huiyi.engines.checkpoint import Checkpoint
from huiyi.errors import InvalidInput, MissingExtra
from huiyi.types import Engine

CPU = "cpu"
_KNOWN = re.compile(r"cpu|torch-cpu|cuda(:\d{1,3})?")


class LocalEngine(Engine, Protocol):
    """An engine of this process. precision: of the numbers it computes with. threads: None for all. adapt: what `forward` takes."""

    precision: Any
    threads: int | None

    def adapt(self, adapter: Adapter) -> Any: ...


def named(device: str | None) -> str:
    """The device that is meant: the one given, else HUIYI_DEVICE, else the CPU. Raises InvalidInput for what is none."""
    name = device or settings.default_device() or CPU
    if not _KNOWN.fullmatch(name):
        raise InvalidInput(f"device {name!r} is unknown: use cpu, cuda, cuda:1 for the second GPU, or torch-cpu for torch without a GPU")
    return name


def start(checkpoint: Checkpoint, precision: str = "auto", threads: int | None = None, device: str | None = None) -> LocalEngine:
    """The engine for a device; it keeps what it prepares in HUIYI_HOME/cache/weights.

    Raises InvalidInput for a device that is not there and a precision that it does not have, MissingExtra without torch.
    """
    name = named(device)
    if name == CPU:
        from huiyi.engines.openvino import OpenVINOEngine

        return OpenVINOEngine(checkpoint, precision, threads, settings.home() / "cache" / "weights")
    try:
        from huiyi.engines.torch import TorchEngine
    except ModuleNotFoundError as error:
        if error.name != "torch":
            raise
        raise MissingExtra(f"device {name}", "torch") from error
    return TorchEngine(checkpoint, precision, name.removeprefix("torch-"), threads)


def place(device: str | None, threads: int | None) -> str:
    """Where it computes, in words."""
    name = named(device)
    on_cpu = f"{threads or os.cpu_count() or 1} threads"
    return on_cpu if name == CPU else f"{on_cpu} by torch" if name == "torch-cpu" else name
