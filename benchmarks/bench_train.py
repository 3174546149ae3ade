"""Training beside sentence-transformers' trainer, and LoRA on the 0.6B shape: real (non-padding) tokens a second, seconds a step, memory.

Time is the processor's, of one thread, so that a machine that does other things as well is fair to both. Same texts (AFQMC), same batches
in size, same LoRA, same loss, same numbers; each run is a process of its own, in turns. Without arguments on the starter; `--shape FOLDER`
measures the 0.6B shape as well, and from two sizes of batch what the article's would take.
"""

import argparse
import gzip
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from time import process_time

import numpy as np
from measure import HERE, peak_mb, ratio, write

SKIPPED = 2  # steps before the clock starts
DATA = Path(os.environ.get("HUIYI_TEST_DATA") or HERE.parent.parent / "shared" / "data")


def texts(count: int) -> list[tuple[str, str, int]]:
    """Pairs of AFQMC's train file, from the start."""
    with gzip.open(DATA / "pairs" / "afqmc_train.tsv.gz", "rt", encoding="utf-8") as file:
        rows = [line.rstrip("\n").split("\t") for _, line in zip(range(count + 1), file, strict=False)][1:]
    return [(a, b, int(label)) for a, b, label in rows]


def ours(folder: Path, options: argparse.Namespace) -> dict:
    """The loop's own step, without evaluations, as `huiyi train` takes it."""
    from huiyi.engines.checkpoint import open_checkpoint
    from huiyi.training import loop, networks
    from huiyi.training.data import Pairs
    from huiyi.training.runs import settings_of
    from huiyi.workspace.training import memory_of, network_of, prepare

    networks.use_threads(options.threads)
    rows = texts(options.steps * options.batch)
    pairs = Pairs(tuple(a for a, _, _ in rows), tuple(b for _, b, _ in rows), np.array([label for _, _, label in rows]))
    settings = settings_of(
        options.recipe,
        batch_size=options.batch,
        precision=options.precision,
        device="cpu",
        epochs=1,
        max_length=64,
        checkpointing=options.checkpointing,
    )
    prepared = prepare(pairs, pairs, open_checkpoint(folder), "base", settings)
    network, objective = network_of(prepared), prepared.objective
    optimizer = loop._optimizer(network, prepared.settings)
    network.train()
    tokens = []
    for step in range(options.steps):
        if step == SKIPPED:
            began = process_time()
        tokens.append(loop._step(network, objective, optimizer, prepared.settings, step, options.steps)[1])
    seconds = process_time() - began
    return {"tokens_per_s": sum(tokens[SKIPPED:]) / seconds, "step_s": seconds / (options.steps - SKIPPED), "peak_mb": peak_mb(),
            "most_tokens": max(tokens), "estimate_mb": round(memory_of(prepared).total / 2**20)}  # fmt: skip


def theirs(folder: Path, options: argparse.Namespace) -> dict:
    import torch
    from datasets import Dataset
    from peft import LoraConfig
    from sentence_transformers import SentenceTransformer, SentenceTransformerTrainer, SentenceTransformerTrainingArguments
    from sentence_transformers.losses import CoSENTLoss
    from transformers import TrainerCallback

    torch.set_num_threads(options.threads)
    dtype = torch.bfloat16 if options.precision == "bf16" else torch.float32
    model = SentenceTransformer(str(folder), device="cpu", model_kwargs={"dtype": dtype})
    model.max_seq_length = 64
    model.add_adapter(LoraConfig(task_type="FEATURE_EXTRACTION", r=8, lora_alpha=32, lora_dropout=0.1,
                                 target_modules=["q_proj", "k_proj", "v_proj"]))  # fmt: skip
    rows = texts(options.steps * options.batch)
    data = Dataset.from_dict({"a": [a for a, _, _ in rows], "b": [b for _, b, _ in rows], "score": [float(label) for _, _, label in rows]})
    sizes = [len(ids) for column in ("a", "b") for ids in model.tokenizer(list(data[column]), truncation=True, max_length=64)["input_ids"]]

    class Clock(TrainerCallback):
        began = ended = 0.0

        def on_step_end(self, args, state, control, **more):
            if state.global_step == SKIPPED:
                self.began = process_time()
            self.ended = process_time()

    clock = Clock()
    with tempfile.TemporaryDirectory() as out:
        arguments = SentenceTransformerTrainingArguments(
            out, per_device_train_batch_size=options.batch, num_train_epochs=1, bf16=options.precision == "bf16", use_cpu=True,
            report_to="none", save_strategy="no", logging_strategy="no", disable_tqdm=True, learning_rate=5e-4, warmup_ratio=0.1,
        )  # fmt: skip
        SentenceTransformerTrainer(model, arguments, data, loss=CoSENTLoss(model), callbacks=[clock]).train()
    seconds = clock.ended - clock.began
    share = (options.steps - SKIPPED) / options.steps
    return {"tokens_per_s": sum(sizes) * share / seconds, "step_s": seconds / (options.steps - SKIPPED), "peak_mb": peak_mb()}


def one(who: str, folder: Path, **options) -> dict:
    words = [word for name, value in options.items() for word in ([f"--{name}"] if value is True else [f"--{name}", str(value)])]
    done = subprocess.run([sys.executable, __file__, "--one", who, "--folder", str(folder), *words], capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"{who}: {done.stderr[-2000:]}")
    return json.loads(done.stdout.strip().splitlines()[-1])


def with_published_tokenizer(shape: Path, folder: Path) -> Path:
    """The random 0.6B weights beside the published tokenizer, so that AFQMC has the lengths that it has there."""
    for name in ("config.json", "model.safetensors", "modules.json"):
        (folder / name).symlink_to(shape / name)
    (folder / "1_Pooling").symlink_to(shape / "1_Pooling")
    tokenizer = DATA / "tokenizer" / "qwen3"
    (folder / "tokenizer.json").write_bytes(gzip.decompress((tokenizer / "tokenizer.json.gz").read_bytes()))
    (folder / "tokenizer_config.json").write_bytes((tokenizer / "tokenizer_config.json").read_bytes())
    return folder


def compared(folder: Path, name: str, rounds: int, **options) -> list[dict]:
    runs = {who: [] for who in ("ours", "theirs")}
    for _ in range(rounds):
        for who, found in runs.items():
            found.append(one(who, folder, **options))
            print(name, who, found[-1], file=sys.stderr)
    faster = ratio([run["tokens_per_s"] for run in runs["ours"]], [run["tokens_per_s"] for run in runs["theirs"]])
    called = {"ours": "huiyi", "theirs": "sentence-transformers"}
    return [
        {
            "trainer": f"{called[who]}, {name}",
            "real tokens/s": round(float(np.median([run["tokens_per_s"] for run in found]))),
            "s a step": round(float(np.median([run["step_s"] for run in found])), 2),
            "peak MB": max(run["peak_mb"] for run in found),
            "times theirs": faster if who == "ours" else 1.0,
        }
        for who, found in runs.items()
    ]


def of_the_article(less: dict, more: dict) -> str:
    """What its batch would take, by the tokens and peaks of two smaller ones."""
    each = (more["peak_mb"] - less["peak_mb"]) / (more["most_tokens"] - less["most_tokens"])
    needed = (more["peak_mb"] + each * (128 * 64 - more["most_tokens"])) / 1024
    return f"A token of a batch takes {each:.2f} MB by these two sizes, so 128 inputs of 64 tokens would take {needed:.0f} GB."


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--one", choices=["ours", "theirs"])
    parser.add_argument("--folder", type=Path)
    parser.add_argument("--shape", type=Path, help="folder of the 0.6B shape, as benchmarks/checkpoint.py makes it")
    parser.add_argument("--recipe", default="similarity")
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--steps", type=int, default=30)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--precision", default="fp32")
    parser.add_argument("--checkpointing", action="store_true")
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    if options.one:
        print(json.dumps({"ours": ours, "theirs": theirs}[options.one](options.folder, options)))
        return
    if not DATA.exists():
        print(f"bench_train: AFQMC is not in {DATA} (HUIYI_TEST_DATA names the folder)", file=sys.stderr)
        return
    from huiyi.engines.hub import locate

    note = (
        "LoRA of rank 8 on query, key and value, at most 64 tokens. Real tokens are those without padding; "
        "seconds are the processor's, of one thread."
    )
    rows = compared(locate("starter"), "starter fp32, batch 64", options.rounds, batch=64, steps=options.steps, threads=options.threads)
    if options.shape:
        with tempfile.TemporaryDirectory() as folder:
            shape = with_published_tokenizer(options.shape, Path(folder))
            same = {"batch": 16, "steps": 6, "precision": "bf16", "threads": options.threads}
            rows += compared(shape, "0.6B shape bf16, batch 16", 1, **same)
            tried = [("similarity", 16, 20), ("pair-classifier", 16, 20), ("pair-classifier", 64, 5)]
            runs = [one("ours", shape, recipe=recipe, **same | {"batch": batch, "steps": steps}) for recipe, batch, steps in tried]
            for (recipe, batch, steps), found in zip(tried, runs, strict=True):
                print(recipe, batch, found, file=sys.stderr)
                name = f"huiyi, 0.6B shape bf16, {batch} a batch, {recipe}, {steps} steps"
                rows.append({"trainer": name, "real tokens/s": round(found["tokens_per_s"]), "s a step": round(found["step_s"], 2),
                             "peak MB": found["peak_mb"], "times theirs": None})  # fmt: skip
            note += " " + of_the_article(*runs[1:])
    write("train", "Training on AFQMC", rows, {"threads": options.threads, "rounds": options.rounds}, note)


if __name__ == "__main__":
    main()
