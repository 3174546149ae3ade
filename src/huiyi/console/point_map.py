"""A map of texts as points, drawn in WebGL by point_map.js: what it shows, and how that gets to the browser in few bytes."""

import base64
from dataclasses import dataclass
from typing import Any

import numpy as np
from nicegui import ui
from numpy.typing import NDArray

from huiyi.types import Floats
from huiyi.workspace.topics_report import COLORS, OUTSIDE

FULL = 65535  # of a coordinate, on its way


@dataclass(frozen=True)
class Shown:
    """labels: int32 [points], -1 for none. names: topic, name, and the place where it stands. on: the only topic that is not dimmed.

    keep: uint8 [points], 0 for those to dim; None keeps all.
    """

    labels: NDArray[np.int32]
    names: list[tuple[int, str, tuple[float, float]]]
    on: int | None
    keep: NDArray[np.uint8] | None


class PointMap(ui.element, component="point_map.js"):
    """place: [points, 2]. missing: said where there is no WebGL. Emits point and over (with a point's number), and all."""

    def __init__(self, place: Floats, shown: Shown, missing: str) -> None:
        super().__init__()
        self._low = place.min(axis=0)
        self._span = max(float((place.max(axis=0) - self._low).max()), 1e-9)
        self._props["points"] = packed(np.rint((place - self._low) * (FULL / self._span)).astype("<u2"))
        self._props["first"] = self._arguments(shown)
        self._props["colors"], self._props["outside"], self._props["missing"] = list(COLORS), OUTSIDE, missing

    def show(self, shown: Shown) -> None:
        self.run_method("show", *self._arguments(shown))

    def pick(self, topic: int | None) -> None:
        """As `show` with another `on`."""
        self.run_method("pick", topic)

    def _arguments(self, shown: Shown) -> list[Any]:
        names = [[topic, name, *((np.array(at) - self._low) / self._span).round(5).tolist()] for topic, name, at in shown.names]
        return [packed(shown.labels.astype("<i4")), names, shown.on, None if shown.keep is None else packed(shown.keep)]


def packed(values: NDArray[Any]) -> str:
    return base64.b64encode(np.ascontiguousarray(values).tobytes()).decode()
