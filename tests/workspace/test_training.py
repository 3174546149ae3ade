"""Training as a user meets it: a folder that PEFT loads, a run that a kill does not change, and clear words for what cannot be trained."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from peft import PeftModel
from transformers import AutoModel, AutoTokenizer

import tiny
from huiyi.engines.adapters import open_adapter
from huiyi.engines.checkpoint import open_checkpoint
from huiyi.errors import Conflict, InvalidInput, TooLarge
from huiyi.training import adapters, loop, memory
from huiyi.training.data import Pairs, Queries, ScoredPairs, Training, Triplets
from huiyi.training.recipes import Scorer
from huiyi.training.runs import Settings, settings_of
from huiyi.workspace import training
from huiyi.workspace.training import Job, Reports, TrainedModel, train, train_file

TOPICS = ["包裹", "退款", "密码", "发票", "parcel", "refund", "password", "invoice"]
WAYS = ["{} 在哪里？", "请问 {} 怎么办", "where is my {}", "tell me about the {}", "{}!"]


def pairs(count: int = 96, seed: int = 0, name: str = "pairs.tsv") -> Pairs:
    """Two ways to ask, about the same thing or not."""
    random = np.random.default_rng(seed)
    first, second, labels = [], [], []
    for row in range(count):
        a, b = random.choice(len(TOPICS), 2, replace=False)
        same = row % 2
        ways = random.choice(len(WAYS), 2, replace=False)
        first.append(WAYS[ways[0]].format(TOPICS[a]) + f" {row}")
        second.append(WAYS[ways[1]].format(TOPICS[a if same else b]))
        labels.append(same)
    return Pairs(tuple(first), tuple(second), np.array(labels), name=name)


@pytest.fixture(scope="session")
def qwen(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.tiny_qwen3(tmp_path_factory.mktemp("qwen") / "m", dim=32, intermediate=48, head_dim=8)


@pytest.fixture(scope="session")
def roberta(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.tiny_roberta(tmp_path_factory.mktemp("roberta") / "m", dim=32, intermediate=48)


@pytest.fixture(scope="session")
def bert(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.tiny_bert(tmp_path_factory.mktemp("bert") / "m", dim=32, intermediate=48)


def quick(recipe: Any = "similarity", **given: Any) -> Settings:
    return settings_of(recipe, **({"epochs": 2, "batch_size": 16, "learning_rate": 5e-3, "precision": "fp32", "device": "cpu"} | given))


def trained(base: Path, out: Path, settings: Settings, examples: Training | None = None, judging: Training | None = None) -> TrainedModel:
    return train(examples or pairs(), judging or pairs(40, 1), Job("pairs.tsv", str(base), out), settings, Reports())


def weights_in(folder: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in folder.glob("*.safetensors")}


@pytest.mark.parametrize("recipe", ["similarity", "pair-classifier"])
@pytest.mark.parametrize("base", ["qwen", "bert", "roberta"])
def test_an_adapter_learns_and_peft_loads_it(recipe: str, base: str, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    folder = request.getfixturevalue(base)
    result = trained(folder, tmp_path / "a", quick(recipe, epochs=6, patience=0))
    assert result.after["auc"] > max(0.6, result.before["auc"])
    loaded = PeftModel.from_pretrained(AutoModel.from_pretrained(folder), tmp_path / "a")
    assert loaded.peft_config["default"].r == 8
    assert open_adapter(tmp_path / "a", open_checkpoint(folder)).parameters == result.trained
    about = adapters.read_about(tmp_path / "a")
    assert (tmp_path / "a" / "head.safetensors").exists() == (recipe == "pair-classifier")
    assert about["base"]["digest"] == open_checkpoint(folder).digest
    assert about["calibration"]["threshold"] == result.threshold
    assert "README.md" in {file.name for file in (tmp_path / "a").iterdir()}
    assert adapters.check(folder, tmp_path / "a") >= 0.9999


@pytest.mark.parametrize("task", ["pair-classifier", "bi-encoder"])
def test_full_fine_tuning_leaves_a_model_folder(task: str, bert: Path, tmp_path: Path) -> None:
    result = trained(bert, tmp_path / "a", quick("full", task=task, epochs=12, learning_rate=3e-3, patience=0))
    assert result.trained == result.parameters
    assert result.after["auc"] > max(0.6, result.before["auc"])
    checkpoint = open_checkpoint(tmp_path / "a")
    assert checkpoint.pooling == ("cls" if task == "pair-classifier" else "mean")
    assert checkpoint.digest != open_checkpoint(bert).digest
    assert adapters.read_about(tmp_path / "a")["huiyi"] == "model"


@pytest.mark.parametrize("recipe", ["similarity", "pair-classifier", "full"])
def test_what_is_loaded_scores_as_what_was_trained(recipe: str, bert: Path, tmp_path: Path) -> None:
    """The figures of the run come out of the folder again, token types, pooling and head included."""
    result = trained(bert, tmp_path / "a", quick(recipe))
    network = adapters.load(bert, tmp_path / "a")
    about, judging = adapters.read_about(tmp_path / "a"), pairs(40, 1)
    tokenizer = training.tokenizer_of(network.checkpoint, about["max_length"])
    scores = Scorer(tokenizer, adapters.template_in(about, "a"), judging.first, judging.second)(network)
    ones, zeros = scores[judging.labels == 1], scores[judging.labels == 0]
    auc = float(np.mean((ones[:, None] > zeros[None]) + 0.5 * (ones[:, None] == zeros[None])))
    assert auc == pytest.approx(result.after["auc"], abs=1e-9)


class Stopped(Exception):
    pass


@pytest.mark.parametrize("recipe", ["similarity", "pair-classifier", "full"])
def test_a_run_that_was_stopped_ends_with_the_same_weights(recipe: str, qwen: Path, tmp_path: Path) -> None:
    settings = quick(recipe, epochs=3, evaluations=4, accumulate=2 if recipe == "similarity" else None)
    whole = trained(qwen, tmp_path / "whole", settings)
    for stop in (2, 5, 7):

        def report(step: loop.Step, stop: int = stop) -> None:
            if step.step == stop:
                raise Stopped

        with pytest.raises(Stopped):
            train(pairs(), pairs(40, 1), Job("pairs.tsv", str(qwen), tmp_path / "parts"), settings, Reports(step=report))
    again = trained(qwen, tmp_path / "parts", settings)
    assert weights_in(tmp_path / "parts") == weights_in(tmp_path / "whole")
    assert (again.after, again.best_step, again.steps) == (whole.after, whole.best_step, whole.steps)
    lines = [
        [
            {**line, "tokens_per_s": 0}
            for line in map(json.loads, (tmp_path / part / "run" / "metrics.jsonl").read_text("utf-8").splitlines())
        ]
        for part in ("whole", "parts")
    ]
    assert [line["step"] for line in lines[0]] == [line["step"] for line in lines[1]]
    assert [line.get("figures") for line in lines[0]] == [line.get("figures") for line in lines[1]]


def test_the_same_seed_gives_the_same_weights_and_another_one_others(qwen: Path, tmp_path: Path) -> None:
    for name, seed in (("a", 3), ("b", 3), ("c", 4)):
        trained(qwen, tmp_path / name, quick(seed=seed, epochs=1))
    assert weights_in(tmp_path / "a") == weights_in(tmp_path / "b")
    assert weights_in(tmp_path / "a") != weights_in(tmp_path / "c")


def test_checkpointing_and_bf16_train_too(qwen: Path, tmp_path: Path) -> None:
    plain = trained(qwen, tmp_path / "plain", quick(dropout=0.0))
    less = trained(qwen, tmp_path / "less", quick(dropout=0.0, checkpointing=True))
    assert less.after["auc"] == pytest.approx(plain.after["auc"], abs=1e-6)
    half = trained(qwen, tmp_path / "half", quick(dropout=0.0, precision="bf16"))
    assert half.after["auc"] == pytest.approx(plain.after["auc"], abs=0.1)


def queries() -> Queries:
    asked = [way.format(topic) for topic in TOPICS for way in WAYS[:3]]
    answers = [(f"All about the {topic}: {topic} 说明",) for topic in TOPICS for _ in WAYS[:3]]
    return Queries(tuple(asked), tuple(answers), tuple(() for _ in asked), name="queries.jsonl")


@pytest.mark.parametrize("mined", [0, 2])
def test_queries_learn_by_contrast_with_their_instruction(mined: int, qwen: Path, tmp_path: Path) -> None:
    examples = queries()
    judging = examples.take(range(0, len(examples), 3))
    job = Job("queries.jsonl", str(qwen), tmp_path / "a", keep_leaks=True)
    settings = quick(mined=mined, epochs=8, patience=0, instruction="Find the page about it", dimensions=(16, 32))
    result = train(examples, judging, job, settings, Reports())
    assert result.after["mrr@10"] > result.before["mrr@10"]
    about = adapters.read_about(tmp_path / "a")
    assert (about["instruction"], about["dimensions"]) == ("Find the page about it", [32, 16])


def test_the_instruction_stands_before_queries_alone(qwen: Path) -> None:
    settings = quick(instruction="Find it")
    prepared = training.prepare(queries(), queries(), open_checkpoint(qwen), "base", settings)
    theirs, contrast = AutoTokenizer.from_pretrained(qwen), prepared.objective
    query = contrast.inputs.ids[contrast.queries[0]]
    document = contrast.inputs.ids[contrast.positives[0]]
    end = theirs.eos_token_id
    assert query.tolist() == theirs(f"Instruct: Find it\nQuery:{queries().queries[0]}", add_special_tokens=False)["input_ids"] + [end]
    assert document.tolist() == theirs(queries().positives[0][0], add_special_tokens=False)["input_ids"] + [end]


def test_a_cut_text_keeps_its_last_token(qwen: Path) -> None:
    prepared = training.prepare(pairs(), pairs(), open_checkpoint(qwen), "base", quick(max_length=8))
    ids, end = prepared.objective.inputs.ids, AutoTokenizer.from_pretrained(qwen).eos_token_id
    assert max(map(len, ids)) == 8
    assert all(row[-1] == end and (row[:-1] != end).all() for row in ids)


def test_triplets_and_scored_pairs_train(qwen: Path, tmp_path: Path) -> None:
    source = pairs(64)
    scored = ScoredPairs(source.first, source.second, source.labels * 4.5, name="scored.tsv")
    result = train(scored, scored, Job("s", str(qwen), tmp_path / "s", keep_leaks=True), quick(epochs=4), Reports())
    assert result.after["spearman"] > result.before["spearman"]
    three = Triplets(
        tuple(f"where is my {a}" for a in TOPICS),
        tuple(f"tell me about the {a}" for a in TOPICS),
        tuple(f"tell me about the {b}" for b in TOPICS[1:] + TOPICS[:1]),
    )
    result = train(three, three, Job("t", str(qwen), tmp_path / "t", keep_leaks=True), quick(epochs=12, patience=0), Reports())
    assert result.after["accuracy"] >= result.before["accuracy"]


def test_rows_that_the_judging_file_holds_too_are_left_out(qwen: Path, tmp_path: Path) -> None:
    examples, judging = pairs(60), pairs(60).take(range(10))
    job = Job("pairs.tsv", str(qwen), tmp_path / "a")
    said: list[str] = []
    result = train(examples, judging, job, quick(epochs=1), Reports(said.append))
    assert (result.leaked, result.rows) == (10, 50)
    assert any("left out" in line for line in said)


def test_the_head_and_lora_of_the_published_shape_have_the_published_counts(tmp_path: Path) -> None:
    """r = 8 on query, key and value of Qwen3-Embedding-0.6B: 1,605,632 numbers, 0.2688 % of 597,382,144."""
    from peft import get_peft_model
    from transformers import Qwen3Config, Qwen3Model

    from huiyi.training.networks import lora_config

    shape = Qwen3Config(
        hidden_size=1024,
        num_hidden_layers=28,
        num_attention_heads=16,
        num_key_value_heads=8,
        head_dim=128,
        intermediate_size=3072,
        vocab_size=151_669,
    )
    settings = settings_of("pair-classifier")
    assert (settings.epochs, settings.batch_size, settings.max_length) == (15, 128, 64)
    lora = lora_config(
        "qwen3", rank=settings.rank, alpha=settings.alpha, dropout=settings.dropout, targets=None, classifier=True, base="published"
    )
    assert (lora.task_type, lora.r, lora.lora_alpha, lora.lora_dropout) == ("SEQ_CLS", 8, 32, 0.1)
    assert set(lora.target_modules) == {"q_proj", "k_proj", "v_proj"}
    with torch.device("meta"):
        model = get_peft_model(Qwen3Model(shape), lora)
    learned = sum(p.numel() for p in model.parameters() if p.requires_grad)
    whole = sum(p.numel() for p in model.parameters())
    assert (learned, whole, f"{learned / whole:.4%}") == (1_605_632, 597_382_144, "0.2688%")


def test_a_planted_adapter_without_effect_and_one_of_another_base_are_refused(qwen: Path, tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    trained(qwen, tmp_path / "a", quick(epochs=1))
    other = tiny.tiny_qwen3(tmp_path / "other", dim=32, intermediate=48, head_dim=8, seed=5)
    with pytest.raises(InvalidInput, match="not those"):
        adapters.load(other, tmp_path / "a")
    file = tmp_path / "a" / "adapter_model.safetensors"
    tensors = load_file(file)
    save_file({name: t * 0 if "lora_B" in name else t for name, t in tensors.items()}, file, {"format": "pt"})
    with pytest.raises(InvalidInput, match="no effect"):
        adapters.check(qwen, tmp_path / "a")
    save_file(dict(list(tensors.items())[2:]), file, {"format": "pt"})
    with pytest.raises(InvalidInput, match="does not fit"):
        adapters.check(qwen, tmp_path / "a")


def test_memory_that_will_not_do_is_told_with_what_to_lower(qwen: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(training, "available_bytes", lambda: 10_000_000)
    with pytest.raises(TooLarge, match=r"lower --batch-size .* or --max-length, or pass --checkpointing"):
        trained(qwen, tmp_path / "a", quick())


def test_the_estimate_falls_with_what_the_error_says_to_lower(qwen: Path) -> None:
    def needed(**given: Any) -> memory.Estimate:
        return training.memory_of(training.prepare(pairs(), pairs(), open_checkpoint(qwen), "base", quick(**given)))

    whole = needed()
    assert needed(batch_size=4).total < whole.total
    assert needed(max_length=8).total < whole.total
    assert needed(checkpointing=True).total < whole.total
    assert needed(recipe="full").states > whole.states


def test_an_out_folder_is_never_mixed_with_another_run(qwen: Path, tmp_path: Path) -> None:
    trained(qwen, tmp_path / "a", quick(epochs=1))
    with pytest.raises(Conflict, match="finished run"):
        trained(qwen, tmp_path / "a", quick(epochs=1))
    result = train(pairs(), pairs(40, 1), Job("p", str(qwen), tmp_path / "a", overwrite=True), quick(epochs=2, patience=0), Reports())
    assert result.steps == 12
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "notes.txt").write_text("mine")
    with pytest.raises(Conflict, match="not empty"):
        trained(qwen, tmp_path / "mine", quick(epochs=1))


def test_a_run_does_not_go_on_with_other_settings(qwen: Path, tmp_path: Path) -> None:
    def stop(step: loop.Step) -> None:
        raise Stopped

    job = Job("p", str(qwen), tmp_path / "a")
    with pytest.raises(Stopped):
        train(pairs(), pairs(40, 1), job, quick(), Reports(step=stop))
    with pytest.raises(Conflict, match="rank was 8, now 4"):
        train(pairs(), pairs(40, 1), job, quick(rank=4), Reports())


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"recipe": "pair-classifier", "loss": "cosent"}, "--loss belongs to bi-encoders"),
        ({"recipe": "pair-classifier", "scale": 5.0}, "--scale belongs to bi-encoders"),
        ({"scale": 0.0}, "scale of cosines"),
        ({"recipe": "similarity", "task": "pair-classifier"}, "--task belongs to --recipe full"),
        ({"dimensions": (4096,)}, "cannot hold 4096"),
        ({"targets": ("wq",)}, "no linear 'wq'"),
        ({"mined": 3}, "--mine"),
        ({"instruction": "Find"}, "query side"),
        ({"max_length": 5000}, "at most"),
        ({"learning_rate": -1.0}, "learning rate"),
        ({"precision": "int8"}, "fp32 or bf16"),
        ({"epochs": 0}, "epochs must be 1"),
    ],
)
def test_settings_that_mean_nothing_are_refused(settings: dict[str, Any], told: str, qwen: Path, tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match=told):
        trained(qwen, tmp_path / "a", quick(**settings))


def test_files_are_read_and_a_tenth_is_held_back_without_an_eval_file(qwen: Path, tmp_path: Path) -> None:
    rows = pairs(120)
    file = tmp_path / "p.tsv"
    lines = [f"{a}\t{b}\t{label}" for a, b, label in rows.content()]
    file.write_text("sentence1\tsentence2\tlabel\n" + "\n".join(lines) + "\n", "utf-8")
    result = train_file(Job(file, str(qwen), tmp_path / "a"), quick(epochs=1))
    assert result.rows + result.judged == 120
    assert 4 <= result.judged <= 30
    file.write_text("sentence1\tsentence2\tlabel\na\tb\t2\n", "utf-8")
    with pytest.raises(InvalidInput, match=r"p\.tsv, line 2: label is '2'"):
        train_file(Job(file, str(qwen), tmp_path / "b"), quick())


@pytest.mark.parametrize("recipe", ["similarity", "pair-classifier"])
def test_what_was_trained_is_what_is_served(recipe: str, qwen: Path, tmp_path: Path, own_home: Path) -> None:
    """Vectors and logits of the engine with the adapter are torch's."""
    from huiyi import load
    from huiyi.encoding.classifier import PairClassifier

    trained(qwen, tmp_path / "a", quick(recipe, epochs=4, patience=0))
    judging, about = pairs(40, 1), adapters.read_about(tmp_path / "a")
    network = adapters.load(qwen, tmp_path / "a")
    tokenizer = training.tokenizer_of(network.checkpoint, about["max_length"])
    wanted = Scorer(tokenizer, adapters.template_in(about, "a"), judging.first, judging.second)(network)
    with load(str(qwen), precision="fp32", adapter=str(tmp_path / "a")) as model:
        if recipe == "pair-classifier":
            assert isinstance(model.encoder, PairClassifier)
            found = model.encoder.scores(judging.first, judging.second)
        else:
            found = np.einsum("nd,nd->n", model.encode(judging.first), model.encode(judging.second))
    assert found == pytest.approx(wanted, abs=1e-3)
