"""Adapters' folders: used everywhere a model is named, judged, merged, refused with the reason."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import AutoModel

import huiyi
import lora
import tiny
from conftest import REPOSITORY
from huiyi import workspace
from huiyi.cli.app import main
from huiyi.encoding.tokenizer import query_prefix
from huiyi.engines.weights import open_file
from huiyi.errors import Conflict, InvalidInput, ModelFailed, NotFound, UnsupportedModel
from huiyi.server import connections
from huiyi.workspace import adapters
from lora import Classifier, Trained

TEXTS = list(tiny.SENTENCES[:6])
FAMILIES = {"qwen3": tiny.tiny_qwen3, "bert": tiny.tiny_bert}


@pytest.fixture(scope="module", params=FAMILIES)
def any_base(request, tmp_path_factory) -> Path:
    return FAMILIES[request.param](tmp_path_factory.mktemp(request.param) / "base", prefix_keys=True, sharded=True)


@pytest.fixture(scope="module")
def base(tmp_path_factory) -> Path:
    return tiny.tiny_qwen3(tmp_path_factory.mktemp("models") / "base")


@pytest.fixture(scope="module")
def trained(base, tmp_path_factory) -> Trained:
    return Trained(base, tmp_path_factory.mktemp("adapters") / "trained")


@pytest.fixture(scope="module")
def classifier(base, tmp_path_factory) -> Classifier:
    return Classifier(base, tmp_path_factory.mktemp("adapters") / "classifier")


@pytest.fixture
def copy(trained, tmp_path) -> Path:
    return shutil.copytree(trained.folder, tmp_path / "copy")


@pytest.fixture
def pairs(classifier, tmp_path) -> Path:
    return shutil.copytree(classifier.folder, tmp_path / "pairs")


def encode(model: Path, adapter: Path | None = None) -> np.ndarray:
    with workspace.load(str(model), "fp32", adapter=adapter) as loaded:
        return loaded.encode(TEXTS)


def run(*arguments: object) -> int:
    with pytest.raises(SystemExit) as ended:
        main([str(argument) for argument in arguments])
    return int(ended.value.code or 0)


class TestLoading:
    def test_a_loaded_adapter_gives_torchs_vectors(self, base, trained):
        with huiyi.load(str(base), "fp32", adapter=str(trained.folder)) as model:
            ids = model.encoder.token_ids(TEXTS)
            wanted = trained.vectors(ids)
            wanted /= np.linalg.norm(wanted, axis=1, keepdims=True)
            assert np.einsum("nd,nd->n", model.encode(TEXTS), wanted).min() >= 0.9999
            assert str(trained.folder) in model.about

    def test_its_space_is_its_own_and_that_of_no_other_adapter(self, base, trained, tmp_path):
        other = Trained(base, tmp_path / "other", seed=9)
        spaces = set()
        for adapter in (None, trained.folder, other.folder, shutil.copytree(other.folder, tmp_path / "same")):
            with workspace.load(str(base), "fp32", adapter=adapter) as model:
                spaces.add(model.encoder.space)
        assert len(spaces) == 3

    def test_a_task_of_its_own_stands_in_front_of_queries(self, base, copy):
        lora.write_about(copy, base, instruction="Find the same question")
        with workspace.load(str(base), "fp32", adapter=copy) as model:
            asked = model.encode([query_prefix("Find the same question") + "hello"])
            np.testing.assert_allclose(model.encode_query(["hello"]), asked, atol=1e-5)
            assert model.prompts["query"] == query_prefix("Find the same question")

    def test_widths_that_it_was_trained_for_are_the_ones_it_can_be_cut_to(self, base, copy):
        lora.write_about(copy, base, dimensions=[64, 32])
        with workspace.load(str(base), "fp32", adapter=copy) as model:
            assert model.encode(["a"], truncate_dim=32).shape == (1, 32)
            with pytest.raises(InvalidInput, match="one of 32, 64"):
                model.encode(["a"], truncate_dim=48)

    def test_closing_the_model_ends_its_worker(self, base, trained):
        model = workspace.load(str(base), "fp32", adapter=trained.folder)
        model.encode(["a"])
        model.close()
        assert model.encoder.scheduler.closed


class TestRefusals:
    def refusal(self, base: Path, folder: Path) -> str:
        with pytest.raises(UnsupportedModel) as refused:
            workspace.load(str(base), "fp32", adapter=folder)
        return str(refused.value)

    def test_an_adapter_of_other_weights_of_the_same_shape(self, copy, base, tmp_path):
        lora.write_about(copy, base)
        other = tiny.tiny_qwen3(tmp_path / "other", seed=1)
        assert "other weights" in self.refusal(other, copy)

    def test_a_newer_format(self, base, copy):
        lora.write_about(copy, base, version=2)
        assert "update huiyi" in self.refusal(base, copy)

    def test_another_pooling(self, base, copy):
        lora.write_about(copy, base, pooling="mean")
        assert "pooling" in self.refusal(base, copy)

    @pytest.mark.parametrize("text", ["", "[]", '{"huiyi": "model"}', "{"])
    def test_a_damaged_description(self, base, copy, text):
        (copy / "huiyi.json").write_text(text, "utf-8")
        assert "huiyi.json" in self.refusal(base, copy)

    @pytest.mark.parametrize(
        ("fields", "named"),
        [
            ({"labels": ["a", "b", "c"]}, "labels"),
            ({"pair": None}, "pair"),
            ({"pair": {"before": [], "between": [1]}}, "pair"),
            ({"pair": {"before": [10**6], "between": [], "after": [], "token_types": False}}, "token ids"),
            ({"pair": {"before": [], "between": [], "after": [], "token_types": True}}, "token_types"),
            ({"max_length": 2}, "max_length"),
            ({"max_length": 10**7}, "max_length"),
            ({"calibration": {"threshold": 1}}, "calibration"),
        ],
    )
    def test_a_pair_classifier_whose_description_cannot_be_used(self, base, pairs, fields, named):
        content = json.loads((pairs / "huiyi.json").read_text("utf-8"))
        (pairs / "huiyi.json").write_text(json.dumps(content | fields), "utf-8")
        assert named in self.refusal(base, pairs)

    def test_a_pair_classifier_without_its_head_or_with_another_models(self, base, pairs):
        from safetensors.torch import save_file

        save_file({"weight": torch.ones(2, 7), "bias": torch.ones(2)}, pairs / "head.safetensors")
        assert "weight" in self.refusal(base, pairs)
        (pairs / "head.safetensors").unlink()
        assert "head.safetensors" in self.refusal(base, pairs)

    def test_a_folder_that_is_not_there(self, base, tmp_path):
        with pytest.raises(NotFound):
            workspace.load(str(base), "fp32", adapter=tmp_path / "nowhere")


class TestMerging:
    def test_a_merged_model_is_a_model_like_any_other_with_the_adapters_vectors(self, any_base, tmp_path):
        trained = Trained(any_base, tmp_path / "adapter")
        merged = workspace.model_merge(str(any_base), trained.folder, tmp_path / "out")
        assert merged.same >= 0.9999
        assert np.einsum("nd,nd->n", encode(tmp_path / "out"), encode(any_base, trained.folder)).min() >= 0.9999
        names = {path.relative_to(any_base) for path in any_base.rglob("*")}
        assert names | {Path("README.md")} == {path.relative_to(tmp_path / "out") for path in (tmp_path / "out").rglob("*")}
        AutoModel.from_pretrained(tmp_path / "out")

    def test_all_that_the_adapter_does_not_change_is_the_bases_byte_for_byte_and_of_its_type(self, base, tmp_path):
        trained = Trained(base, tmp_path / "adapter", target_modules=["q_proj"])
        workspace.model_merge(str(base), trained.folder, tmp_path / "out")
        before, after = (open_file(folder / "model.safetensors") for folder in (base, tmp_path / "out"))
        assert list(before) == list(after)
        changed = {name for name in before if before[name].data.tobytes() != after[name].data.tobytes()}
        assert changed == {name for name in before if "q_proj" in name}
        assert all(before[name].dtype == after[name].dtype == "BF16" for name in before)

    def test_the_merged_matrix_is_what_peft_makes_of_it(self, tmp_path):
        base = tiny.tiny_qwen3(tmp_path / "base", dtype="float32")
        trained = Trained(base, tmp_path / "adapter", use_rslora=True)
        workspace.model_merge(str(base), trained.folder, tmp_path / "out")
        theirs, ours = trained.model.merge_and_unload().state_dict(), open_file(tmp_path / "out" / "model.safetensors")
        for name in ours:
            np.testing.assert_allclose(ours[name].float32(), theirs[name].numpy(), atol=1e-6)

    def test_nothing_is_overwritten_and_nothing_is_left_of_what_fails(self, base, trained, tmp_path, monkeypatch):
        (tmp_path / "there").mkdir()
        with pytest.raises(Conflict):
            workspace.model_merge(str(base), trained.folder, tmp_path / "there")
        monkeypatch.setattr(adapters.selfcheck, "MERGED", 1.1)
        with pytest.raises(ModelFailed, match="nothing was written"):
            workspace.model_merge(str(base), trained.folder, tmp_path / "out")
        assert [path.name for path in tmp_path.iterdir()] == ["there"]

    def test_a_pair_classifier_is_not_merged(self, base, classifier, tmp_path):
        with pytest.raises(InvalidInput, match="lose its head"):
            workspace.model_merge(str(base), classifier.folder, tmp_path / "out")

    def test_a_rank_too_high_to_be_used_as_it_is_can_be_merged(self, base, tmp_path):
        large = Trained(base, tmp_path / "large", r=80)
        with pytest.raises(UnsupportedModel, match="huiyi model merge"):
            workspace.load(str(base), "fp32", adapter=large.folder)
        merged = workspace.model_merge(str(base), large.folder, tmp_path / "out")
        assert merged.same >= 0.9999


class TestChecks:
    def test_a_trained_adapter_passes(self, base, trained):
        checked = workspace.model_check(str(base), "fp32", adapter=trained.folder)
        names = {check.name: check for check in checked.checks}
        assert checked.ok
        assert names["changes vectors"].ok
        assert names["merged = unmerged"].value >= 0.9999

    def test_one_that_changes_nothing_that_shows_fails(self, base, tmp_path):
        faint = Trained(base, tmp_path / "faint", strength=1e-9)
        checked = workspace.model_check(str(base), "fp32", adapter=faint.folder)
        assert [check.name for check in checked.checks if check.ok is False] == ["changes vectors"]
        with pytest.raises(ModelFailed, match="no effect"):
            workspace.serve([str(base)], "fp32", adapters=[f"faint={faint.folder}"])

    def test_a_pair_classifiers_adapter_is_judged_too(self, base, classifier):
        assert workspace.model_check(str(base), adapter=classifier.folder).ok


class TestCommands:
    @pytest.fixture(autouse=True)
    def _home(self, own_home) -> None:
        pass

    def test_similarity_of_an_adapter_is_the_cosine_of_its_vectors(self, base, trained, capsys):
        assert run("similarity", *TEXTS[:2], "--model", base, "--adapter", trained.folder, "--precision", "fp32") == 0
        a, b = encode(base, trained.folder)[:2]
        assert float(capsys.readouterr().out) == pytest.approx(float(a @ b), abs=2e-4)

    def test_similarity_of_a_pair_classifier_is_a_probability_and_says_so(self, base, classifier, capsys):
        assert run("similarity", *TEXTS[:2], "--model", base, "--adapter", classifier.folder, "--precision", "fp32") == 0
        logits = classifier.logits(TEXTS[:1], TEXTS[1:2])[0]
        word, value, *_ = capsys.readouterr().out.replace(":", "").split()
        assert word == "probability"
        assert float(value) == pytest.approx(1 / (1 + np.exp(logits[0] - logits[1])), abs=1e-3)

    def test_a_file_of_pairs_gets_probabilities_and_verdicts(self, base, classifier, tmp_path, capsys):
        rows = [f"{a}\t{b}" for a, b in zip(TEXTS[:3], TEXTS[3:], strict=True)]
        (tmp_path / "pairs.tsv").write_text("\n".join(["sentence1\tsentence2", *rows]), "utf-8")
        out = tmp_path / "out.jsonl"
        options = ("--model", base, "--adapter", classifier.folder, "--precision", "fp32")
        assert run("similarity", "--pairs", tmp_path / "pairs.tsv", "-o", out, *options) == 0
        made = [json.loads(line) for line in out.read_text("utf-8").splitlines()]
        odds = np.array([logits[1] - logits[0] for logits in classifier.logits(TEXTS[:3], TEXTS[3:])])
        assert [row["score"] for row in made] == pytest.approx(odds.tolist(), abs=2e-3)
        assert [row["probability"] for row in made] == pytest.approx((1 / (1 + np.exp(-odds))).tolist(), abs=1e-3)
        assert [row["same"] for row in made] == (odds >= 0).astype(int).tolist()

    def test_vectors_of_a_pair_classifier_are_refused_in_one_sentence(self, base, classifier, tmp_path, capsys):
        (tmp_path / "texts.txt").write_text("hello\n", "utf-8")
        out = tmp_path / "out.npy"
        assert run("embed", tmp_path / "texts.txt", "-o", out, "--model", base, "--adapter", classifier.folder) == 1
        assert "pair classifier" in capsys.readouterr().err
        assert not out.exists()

    def test_merge_and_check(self, base, trained, tmp_path, capsys):
        assert run("model", "merge", base, trained.folder, "--out", tmp_path / "merged") == 0
        assert str(tmp_path / "merged") in capsys.readouterr().out
        assert run("model", "check", base, "--adapter", trained.folder, "--precision", "fp32") == 0
        assert "merged = unmerged" in capsys.readouterr().out

    def test_the_commands_of_the_page_work(self, base, trained, own_home, tmp_path):
        shutil.copytree(trained.folder, tmp_path / "adapters" / "afqmc")
        shutil.copytree(trained.folder, own_home / "adapters" / "shop")
        (tmp_path / "tickets.csv").write_text("question\n在哪里退款\n", "utf-8")
        page = (REPOSITORY / "docs" / "adapters.md").read_text("utf-8")
        bound = connections.bound("127.0.0.1", 0)
        port = str(bound.getsockname()[1])
        bound.close()
        script = (
            "".join(re.findall(r"(?ms)^```bash\n(.*?)^```$", page)).replace("Qwen/Qwen3-Embedding-0.6B", str(base)).replace("30000", port)
        )
        env = {**os.environ, "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}
        command = ["bash", "-euo", "pipefail", "-c", script]
        done = subprocess.run(command, cwd=tmp_path, env=env, capture_output=True, text=True, check=False, timeout=240)
        assert done.returncode == 0, done.stdout + done.stderr
        assert done.stdout.count('"usage"') == 2
        assert '"deleted":true' in done.stdout
        assert (tmp_path / "models" / "afqmc" / "config.json").exists()

    def test_an_adapter_that_does_not_fit_ends_with_the_reason(self, trained, tmp_path, capsys):
        other = tiny.tiny_bert(tmp_path / "bert")
        assert run("similarity", "a", "b", "--model", other, "--adapter", trained.folder) == 1
        assert "does not fit" in capsys.readouterr().err
