"""One run of the command line: what `main` was given, and what the options before the command said."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from huiyi.workspace import Load, Loader


@dataclass
class Invocation:
    """load: in the place of `workspace.load`."""

    load: "Load | None" = None
    debug: bool = False

    def loader(self, model: str | None, precision: str, threads: int | None) -> "Loader":
        """Loads the model that the options name, when called."""
        from huiyi import workspace

        load = self.load or workspace.load
        return lambda: load(model, precision, threads)
