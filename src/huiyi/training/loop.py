"""Steps: batches, AdamW, evaluations, the best step, and a state from which a stopped run goes on as if it had not stopped.

Everything random is a function of the seed and the step (order of rows, dropout), so the state is one file: what is trained, the
optimizer's moments, and a few numbers. It is safetensors, never a pickle, and replaced at once.
"""

import json
from collections.abc import Callable
from dataclasses import dataclass
from math import ceil
from pathlib import Path
from time import monotonic
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor

from huiyi.errors import Conflict, TooLarge
from huiyi.training.batches import batch_at, steps_per_epoch
from huiyi.training.networks import Network, require_finite
from huiyi.training.recipes import Objective, Validated, Validation
from huiyi.training.runs import Run, Settings, writing

CLIP = 1.0
LOG_EVERY = 10
SAVE_EVERY_S = 60.0
LOWER = "lower --batch-size (with --accumulate for the same effect) or --max-length, or pass --checkpointing"


@dataclass(frozen=True)
class Step:
    """Where a run stands. tokens_per_s: real tokens, no padding, of this process. figures: of the last evaluation."""

    step: int
    steps: int
    epoch: float
    loss: float
    tokens_per_s: float
    seconds_left: float
    figures: dict[str, float]


@dataclass(frozen=True, eq=False)
class Trained:
    """before: as the base did. best: the step whose weights the network holds now. stopped: whether patience ended it."""

    before: Validated
    best: Validated
    best_step: int
    steps: int
    stopped: bool
    tokens_per_s: float
    seconds: float


@dataclass
class _State:
    step: int = 0
    best_figure: float = float("-inf")
    best_step: int = 0
    waited: int = 0
    stopped: bool = False
    seconds: float = 0.0
    tokens: int = 0


def train(
    network: Network,
    objective: Objective,
    validation: Validation,
    settings: Settings,
    run: Run,
    report: Callable[[Step], None] = lambda step: None,
    save_every_s: float = SAVE_EVERY_S,
) -> Trained:
    """Train to the end, from where `run` stands; the network ends with the weights of its best step."""
    steps = total_steps(len(objective), settings)
    every = max(1, ceil(steps / settings.evaluations))
    optimizer = _optimizer(network, settings)
    state = _resume(network, optimizer, run)
    network.train()
    before = _before(network, validation, run, state)
    figures: dict[str, float] = dict(before.figures)
    began = saved = monotonic()
    seconds, tokens, recent = state.seconds, state.tokens, _Mean()
    while state.step < steps and not state.stopped:
        try:
            loss, count = _step(network, objective, optimizer, settings, state.step, steps)
        except (RuntimeError, MemoryError) as error:
            raise _memory(error) from error
        state.step += 1
        recent.add(loss)
        state.tokens += count
        state.seconds = seconds + monotonic() - began
        rate = (state.tokens - tokens) / max(state.seconds - seconds, 1e-9)
        if state.step % LOG_EVERY == 0 or state.step == steps:
            run.log(
                {
                    "step": state.step,
                    "loss": recent.take(),
                    "tokens_per_s": round(rate, 1),
                    "learning_rate": _rate(state.step, steps, settings),
                }
            )
        judged = state.step % every == 0 or state.step == steps
        if judged:
            found = validation(network)
            figures = dict(found.figures)
            run.log({"step": state.step, "figures": figures})
            _judge(network, run, state, found.figure, settings.patience)
        now = monotonic()
        # a large state takes seconds to write: at most a fiftieth of the time goes there
        if judged or now - saved > save_every_s:
            _save(network, optimizer, run, state)
            saved = monotonic()
            save_every_s = max(save_every_s, 50 * (saved - now))
        left = (steps - state.step) * (state.seconds - seconds) / max(1, (state.tokens - tokens)) * _per_step(state)
        epoch = state.step / max(1, steps) * settings.epochs
        report(Step(state.step, steps, epoch, loss, rate, left, figures))
    _put(network, load_file(run.best, device=str(network.device)), run.best)
    best = validation(network)
    rate = (
        (state.tokens - tokens) / max(state.seconds - seconds, 1e-9) if state.tokens > tokens else state.tokens / max(state.seconds, 1e-9)
    )
    return Trained(before, best, state.best_step, state.step, state.stopped, rate, state.seconds)


def total_steps(rows: int, settings: Settings) -> int:
    """Of the optimizer. A last step may have fewer batches than the others."""
    steps = ceil(settings.epochs * steps_per_epoch(rows, settings.batch_size) / settings.accumulate)
    return min(steps, settings.max_steps) if settings.max_steps else steps


def _per_step(state: _State) -> float:
    return state.tokens / max(1, state.step)


class _Mean:
    """Of losses since it was last taken."""

    def __init__(self) -> None:
        self._sum, self._count = 0.0, 0

    def add(self, value: float) -> None:
        self._sum, self._count = self._sum + value, self._count + 1

    def take(self) -> float:
        mean = self._sum / max(1, self._count)
        self._sum, self._count = 0.0, 0
        return round(mean, 6)


def _step(network: Network, objective: Objective, optimizer: Any, settings: Settings, step: int, steps: int) -> tuple[float, int]:
    """One step of the optimizer; its loss, and the real tokens that went through."""
    torch.manual_seed((settings.seed << 32) + step)
    for group in optimizer.param_groups:
        group["lr"] = _rate(step, steps, settings)
    total, tokens, parts = 0.0, 0, settings.accumulate
    for part in range(parts):
        rows = batch_at(step * parts + part, len(objective), settings.batch_size, settings.seed)
        places = objective.needs(rows)
        ids = [objective.inputs.ids[i] for i in places]
        types = [objective.inputs.types[i] for i in places] if objective.inputs.types else None
        loss = objective.loss(network(ids, types), places, rows) / parts
        if loss.requires_grad:
            loss.backward()  # type: ignore[no-untyped-call]
        total += float(loss.detach())
        tokens += sum(map(len, ids))
    require_finite(total, step)
    torch.nn.utils.clip_grad_norm_(network.trained().values(), CLIP)
    optimizer.step()
    optimizer.zero_grad(set_to_none=True)
    return total, tokens


def _rate(step: int, steps: int, settings: Settings) -> float:
    """The learning rate: up over the share `warmup` of all steps, then down to nothing, both straight."""
    warm = max(1, round(settings.warmup * steps))
    if step < warm:
        return settings.learning_rate * (step + 1) / warm
    return settings.learning_rate * max(0.0, (steps - step) / max(1, steps - warm))


def _optimizer(network: Network, settings: Settings) -> torch.optim.AdamW:
    trained = network.trained()
    decayed = [p for name, p in trained.items() if p.ndim == 2 and "lora_" not in name]
    plain = [p for name, p in trained.items() if not (p.ndim == 2 and "lora_" not in name)]
    groups = [{"params": decayed, "weight_decay": settings.weight_decay}, {"params": plain, "weight_decay": 0.0}]
    return torch.optim.AdamW([group for group in groups if group["params"]], lr=settings.learning_rate)


def _judge(network: Network, run: Run, state: _State, figure: float, patience: int) -> None:
    if figure > state.best_figure:
        state.best_figure, state.best_step, state.waited = figure, state.step, 0
        _write(run.best, {name: parameter.detach().cpu() for name, parameter in network.trained().items()}, {})
        return
    state.waited += 1
    state.stopped = 0 < patience <= state.waited


def _before(network: Network, validation: Validation, run: Run, state: _State) -> Validated:
    """The base's own figures, from the first line of the log where a run goes on."""
    for line in run.lines():
        if line["step"] == 0 and "figures" in line:
            name = line["name"]
            return Validated(name, line["figures"][name], line["figures"], None)
    found = validation(network)
    run.log({"step": 0, "name": found.name, "figures": found.figures})
    return found


def _save(network: Network, optimizer: torch.optim.AdamW, run: Run, state: _State) -> None:
    tensors: dict[str, Tensor] = {}
    for name, parameter in network.trained().items():
        tensors[f"weight {name}"] = parameter.detach().cpu().contiguous()
        for key, value in optimizer.state[parameter].items():
            tensors[f"{key} {name}"] = value.detach().cpu().contiguous()
    _write(run.state, tensors, vars(state))


def _resume(network: Network, optimizer: torch.optim.AdamW, run: Run) -> _State:
    if not run.state.exists():
        run.forget_after(-1)
        return _State()
    try:
        with safe_open(run.state, "pt") as file:
            state = _State(**json.loads(file.metadata()["huiyi"]))
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  (not a mapping)
    except Exception as error:  # the library's own error type is not exported
        raise Conflict(f"{run.state} cannot be read ({error}); pass --force to begin anew") from error
    _put(network, {name.removeprefix("weight "): t for name, t in tensors.items() if name.startswith("weight ")}, run.state)
    for name, parameter in network.trained().items():
        for key in ("step", "exp_avg", "exp_avg_sq"):
            if f"{key} {name}" in tensors:
                value = tensors[f"{key} {name}"]
                optimizer.state[parameter][key] = value if key == "step" else value.to(parameter.device)
    run.forget_after(state.step)
    return state


def _put(network: Network, weights: dict[str, Tensor], file: Path) -> None:
    trained = network.trained()
    if weights.keys() != trained.keys():
        raise Conflict(f"{file} holds other weights than are trained here; pass --force to begin anew")
    with torch.no_grad():
        for name, parameter in trained.items():
            parameter.copy_(weights[name])


def _write(file: Path, tensors: dict[str, Tensor], state: dict[str, Any]) -> None:
    with writing(file) as part:
        save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, part, {"huiyi": json.dumps(state)})


def _memory(error: BaseException) -> BaseException:
    told = str(error).lower()
    if isinstance(error, MemoryError | torch.OutOfMemoryError) or "can't allocate memory" in told or "not enough memory" in told:
        return TooLarge(f"memory ran out in a training step; {LOWER}")
    return error
