"""One run of the command line: what `main` was given, and what the options before the command said."""

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from huiyi.cli.printing import note

if TYPE_CHECKING:
    from huiyi.model import Model
    from huiyi.workspace import Load, Loader


@dataclass
class Invocation:
    """load: in the place of `workspace.load`. joined: models on clusters, which are left when the command ends."""

    load: "Load | None" = None
    debug: bool = False
    joined: "list[Model]" = field(default_factory=list)

    def loader(
        self,
        model: str | None,
        precision: str,
        threads: int | None,
        introduced: bool = False,
        ray: str | None = None,
        **options: Any,
    ) -> "Loader":
        """Loads the model that the options name, when called. introduced: and says how it computes, as long work should.

        ray: on all machines of that cluster. options: of `workspace.load` (max_tokens, offline, adapter, device); those that were not given
        are left out. Raises InvalidInput for both of ray and device.
        """
        from huiyi import workspace
        from huiyi.errors import InvalidInput

        if ray is not None and options.pop("device", None) is not None:
            raise InvalidInput("--ray computes on the CPUs of its machines: leave --device out, or --ray")

        def load() -> "Model":
            given = {name: value for name, value in options.items() if value}
            if ray is not None:
                loaded = workspace.load_on_machines(ray, model, precision, threads, load=self.load, say=note, **given)
                self.joined.append(loaded)
            else:
                loaded = (self.load or workspace.load)(model, precision, threads, **given)
            if introduced and loaded.about:
                note(loaded.about)
            return loaded

        return load
