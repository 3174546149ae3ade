"""Trains the bundled starter model: `python starter/train.py`, from scratch, on public data, in stages.

    tokens   the vector is the mean of the tokens' embeddings, as the network gives it when it begins (`Network.mean`): many fast steps
    unseen   a few more, after `Network.level` has made room for words that training hardly saw
    layers   the whole network, which starts from there

A trial of every stage on real data, which leaves the bundled model alone:

    python starter/train.py --steps 20 10 5 --work build/trial --out build/trial/starter

A run that was ended anywhere, by kill -9 too, goes on from its last saved step and ends as it would have ended (tests/test_starter.py):
what a step trains on depends on the seed and its number alone. The sources and figures are in src/huiyi/starter/README.md, what was
tried in docs/decisions.md.
"""

import argparse
import os
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import tokenizers
import torch
from cooccurrence import embeddings
from data import Group, groups
from export import export
from losses import loss
from network import Network, Shape
from torch import Tensor
from vocabulary import learn

REPOSITORY = Path(__file__).resolve().parent.parent
LONGEST = 64  # tokens of a text in training
LANGUAGES = ("de", "es", "fr", "it", "ja", "nl", "pl", "pt", "ru")
# Share of the steps by group; each group is gone through in an order of its own, again and again.
SHARES = {
    "lcqmc": 0.30,
    "bq": 0.20,
    "atec": 0.08,
    "cnsd": 0.06,
    "stsb-en": 0.09,
    "stsb-zh": 0.04,
    "en-zh": 0.04,
    "clinc": 0.04,
    "banking": 0.03,
    "kuake": 0.05,
    "triclue": 0.02,
    **{f"stsb-{language}": 0.008 for language in LANGUAGES},
    **{f"en-{language}": 0.008 for language in LANGUAGES},
    **{f"xquad-{language}": 0.002 for language in ("zh", "de", "es", "ru", "ar", "vi", "tr")},
}
BATCH = 256


@dataclass(frozen=True)
class Stage:
    """name: `layers` trains the whole network, the others the mean of the embeddings. random: what its choices begin from, beside the seed.

    token_rate, rate: largest learning rates of the embeddings and of all else. dropped: share of a text's tokens left out.
    pairs: size of a batch of labelled pairs; all other batches are of BATCH examples.
    """

    name: str
    random: int
    steps: int
    token_rate: float
    rate: float = 0.0
    dropped: float = 0.0
    pairs: int = 512


STAGES = (
    Stage("tokens", 6, 5000, token_rate=0.01),
    Stage("unseen", 6, 600, token_rate=0.003),
    Stage("layers", 8, 0, token_rate=0.0005, rate=0.0005, pairs=256),  # brought nothing yet, --steps 5000 600 2000 tries
)
WARM_UP = 100
LEVELLED_BY = 30_000  # texts, at most
AVERAGED = 0.995  # weights are averaged over about 200 steps; the average is the model


class Texts:
    """Groups as token ids, and the batch of any step."""

    def __init__(self, found: Sequence[Group], tokenizer: tokenizers.Tokenizer, seed: int) -> None:
        self.groups = {group.name: group for group in found if SHARES.get(group.name) and group.texts}
        unique = sorted({text for group in self.groups.values() for texts in group.texts for text in texts})
        number = {text: i for i, text in enumerate(unique)}
        encoded = tokenizer.encode_batch_fast(unique)
        self.ids = [torch.tensor([*e.ids[:-1][: LONGEST - 1], e.ids[-1]], dtype=torch.int32) for e in encoded]
        self.places = {name: np.array([[number[t] for t in texts] for texts in g.texts]) for name, g in self.groups.items()}
        self.marks = {name: np.array(g.marks, np.float32) for name, g in self.groups.items()}
        self.seed = seed

    def batches(self, stage: Stage) -> Iterator[tuple[str, np.ndarray]]:
        """(group, rows) of every step of a stage, in order; a resumed run draws those again that it has done, which costs nothing."""
        random = np.random.default_rng([self.seed, stage.random])
        names = list(self.groups)
        shares = np.array([SHARES[name] for name in names])
        orders: dict[str, np.ndarray] = {}
        for name in random.choice(names, stage.steps, p=shares / shares.sum()):
            total = len(self.marks[name])
            size = min(stage.pairs if self.groups[name].kind == "pairs" else BATCH, total)
            if len(orders.get(name, ())) < size:
                orders[name] = random.permutation(total)
            rows, orders[name] = orders[name][:size], orders[name][size:]
            yield str(name), rows

    def batch(self, name: str, rows: np.ndarray, dropped: float) -> tuple[list[Tensor], np.ndarray, Tensor]:
        """Texts as ids (all first ones, then all second ones, …), their keys [places, rows], and the marks."""
        keys = self.places[name][rows].T
        texts = [self.ids[i] for i in keys.flatten()]
        if dropped:
            texts = [_thinned(ids, dropped) for ids in texts]
        return texts, keys, torch.from_numpy(self.marks[name][rows])


def _thinned(ids: Tensor, dropped: float) -> Tensor:
    if len(ids) < 5:
        return ids
    kept = torch.rand(len(ids)) >= dropped
    kept[-1] = True
    return ids[kept] if kept.sum() > 1 else ids


class Run:
    """One training run: network, optimizer, average of the weights, and how far it is; in one file on disk."""

    def __init__(self, texts: Texts, tokenizer: tokenizers.Tokenizer, stages: Sequence[Stage], work: Path, saved_every: int) -> None:
        self.texts, self.tokenizer, self.stages, self.work, self.saved_every = texts, tokenizer, stages, work, saved_every
        self.seed, shape = texts.seed, Shape(tokenizer.get_vocab_size())
        self.network = Network(shape, self.seed)
        if not self._file.is_file():
            company = embeddings([ids[:-1].numpy() for ids in texts.ids], shape.vocab_size, shape.hidden_size, self.seed)
            self.network.begin_from(torch.from_numpy(company), texts.ids)
        self.average = [parameter.detach().clone() for parameter in self.network.parameters()]
        self.stage, self.step, self.seconds = 0, 0, 0.0
        self._begin_stage()
        if self._file.is_file():
            self._load()

    @property
    def _file(self) -> Path:
        return self.work / "run.pt"

    def _begin_stage(self) -> None:
        tokens = self.network.embed_tokens.weight
        others = [parameter for parameter in self.network.parameters() if parameter is not tokens]
        self.optimizer = torch.optim.AdamW([{"params": [tokens]}, {"params": others}], betas=(0.9, 0.98), weight_decay=0.0, fused=True)

    def train(self) -> None:
        while self.stage < len(self.stages):
            stage = self.stages[self.stage]
            for number, (name, rows) in enumerate(self.texts.batches(stage)):
                if number < self.step:
                    continue
                began = time.perf_counter()
                value = self._one_step(stage, name, rows)
                self.seconds += time.perf_counter() - began
                self.step += 1
                if self.step % self.saved_every == 0:
                    self._save()
                    print(f"{stage.name} {self.step}/{stage.steps}, {self.seconds:.0f} s, {name} {value:.3f}", file=sys.stderr, flush=True)
            with torch.no_grad():  # the next stage starts from the average
                for parameter, mean in zip(self.network.parameters(), self.average, strict=True):
                    parameter.copy_(mean)
            self.stage, self.step = self.stage + 1, 0
            if self.stage < len(self.stages) and self.stages[self.stage].name == "unseen":
                self.network.level(self.texts.ids[:: 1 + len(self.texts.ids) // LEVELLED_BY], characters(self.tokenizer))
                self.average = [parameter.detach().clone() for parameter in self.network.parameters()]
            self._begin_stage()
            self._save()

    def _one_step(self, stage: Stage, name: str, rows: np.ndarray) -> float:
        torch.manual_seed(self.seed * 1_000_003 + self.step)
        texts, keys, marks = self.texts.batch(name, rows, stage.dropped)
        factor = min(1.0, (self.step + 1) / WARM_UP) * (1 - self.step / stage.steps)
        for group, rate in zip(self.optimizer.param_groups, (stage.token_rate, stage.rate), strict=True):
            group["lr"] = rate * factor
        vectors = (self.network if stage.name == "layers" else self.network.mean)(texts)
        value = loss(self.texts.groups[name].kind, list(vectors.view(*keys.shape, -1)), marks, list(torch.from_numpy(keys)))
        self.optimizer.zero_grad()
        value.backward()
        if stage.name == "unseen":
            self.network.embed_tokens.weight.grad[0] = 0  # the end token stays as `level` left it
        torch.nn.utils.clip_grad_norm_(self.optimizer.param_groups[1]["params"], 1.0)
        self.optimizer.step()
        kept = min(AVERAGED, (self.step + 1) / (self.step + 20))
        with torch.no_grad():
            torch._foreach_lerp_(self.average, list(self.network.parameters()), 1 - kept)
        return value.item()

    def export(self, folder: Path) -> None:
        names = [name for name, _ in self.network.named_parameters()]
        export(folder, self.network.shape, dict(zip(names, self.average, strict=True)), self.tokenizer)

    def _identity(self) -> dict[str, object]:
        return {
            "shape": asdict(self.network.shape),
            "stages": [asdict(stage) for stage in self.stages[: self.stage + 1]],
            "seed": self.seed,
        }

    def _save(self) -> None:
        state = {
            "identity": self._identity(),
            "network": self.network.state_dict(),
            "average": self.average,
            "optimizer": self.optimizer.state_dict(),
            "at": [self.stage, self.step, self.seconds],
        }
        unfinished = self._file.with_suffix(".tmp")
        with unfinished.open("wb") as file:
            torch.save(state, file)
            file.flush()
            os.fsync(file.fileno())
        unfinished.replace(self._file)

    def _load(self) -> None:
        state = torch.load(self._file, weights_only=True)
        self.stage, self.step, self.seconds = state["at"]
        if state["identity"] != self._identity():  # settings of stages that have not begun may change
            sys.exit(f"{self._file} is of a run with other settings: name another folder with --work, or delete it")
        self.network.load_state_dict(state["network"])
        self.average = state["average"]
        self.optimizer.load_state_dict(state["optimizer"])


def vocabulary(found: Sequence[Group], work: Path, han: int, other: int) -> tokenizers.Tokenizer:
    """Learned once a work folder."""
    file = work / "tokenizer.json"
    if not file.is_file():
        texts = sorted({text for group in found for texts in group.texts for text in texts})
        unfinished = file.with_suffix(".tmp")
        unfinished.write_text(learn(texts, han, other).to_str(), "utf-8")
        unfinished.replace(file)
    return tokenizers.Tokenizer.from_file(str(file))


def characters(tokenizer: tokenizers.Tokenizer) -> list[tuple[int, ...]]:
    """The tokens of the two characters of which a token is made, for each token; none for other tokens."""
    numbers = tokenizer.get_vocab()
    found: list[tuple[int, ...]] = [()] * len(numbers)
    for token, number in numbers.items():
        if len(token) == 2 and all("\u3400" <= letter <= "\u9fff" for letter in token):
            found[number] = tuple(numbers[letter] for letter in token if letter in numbers)
    return found


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument(
        "--data", type=Path, default=REPOSITORY.parent / "shared" / "data", help="folder with pairs/, intents/, parallel/"
    )
    arguments.add_argument("--work", type=Path, default=REPOSITORY / "build" / "starter", help="where a broken run goes on from")
    arguments.add_argument("--out", type=Path, default=REPOSITORY / "src" / "huiyi" / "starter")
    arguments.add_argument("--steps", type=int, nargs=len(STAGES), default=[stage.steps for stage in STAGES], help="of each stage")
    arguments.add_argument("--seed", type=int, default=0)
    arguments.add_argument("--save-every", type=int, default=100, help="steps")
    options = arguments.parse_args()
    options.work.mkdir(parents=True, exist_ok=True)
    found, dropped = groups(options.data)
    print(f"left out, since a dev or test split holds the pair: {dropped}", file=sys.stderr)
    tokenizer = vocabulary(found, options.work, han=12_000, other=7_000)
    texts = Texts(found, tokenizer, options.seed)
    stages = [Stage(**asdict(stage) | {"steps": steps}) for stage, steps in zip(STAGES, options.steps, strict=True)]
    run = Run(texts, tokenizer, stages, options.work, options.save_every)
    run.train()
    run.export(options.out)
    print(f"wrote {options.out} after {run.seconds / 60:.0f} minutes of training", file=sys.stderr)


if __name__ == "__main__":
    main()
