"""LoRA adapters: what is supported gives torch's vectors, all else is refused with the reason, and the base stays as it was."""

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import lora
import tiny
from engine_kinds import cosines, texts
from huiyi.engines.adapters import open_adapter
from huiyi.engines.checkpoint import open_checkpoint
from huiyi.errors import NotFound, UnsupportedModel
from lora import Trained

FAMILIES = {"qwen3": tiny.tiny_qwen3, "bert": tiny.tiny_bert, "xlm-roberta": tiny.tiny_xlm_roberta}
SECOND_LAYER = ["1.self_attn.q_proj", "1.attention.self.query"]


@pytest.fixture(scope="module", params=FAMILIES)
def base(request, tmp_path_factory) -> Path:
    return FAMILIES[request.param](tmp_path_factory.mktemp(request.param))


@pytest.fixture(scope="module")
def engine(base, kind):
    return kind.start(open_checkpoint(base))


@pytest.fixture(scope="module")
def trained(base, tmp_path_factory) -> Trained:
    return Trained(base, tmp_path_factory.mktemp("adapter"))


@pytest.fixture(scope="module")
def qwen3(tmp_path_factory) -> Path:
    return tiny.tiny_qwen3(tmp_path_factory.mktemp("qwen3"))


@pytest.fixture(scope="module")
def of_qwen3(qwen3, tmp_path_factory) -> Trained:
    return Trained(qwen3, tmp_path_factory.mktemp("of-qwen3"))


def adapted(engine, base: Path, folder: Path):
    return engine.adapt(open_adapter(folder, open_checkpoint(base)))


@settings(max_examples=8)
@given(lengths=st.lists(st.integers(1, 60), min_size=1, max_size=16), seed=st.integers(0, 5))
def test_any_mix_of_lengths_gets_the_vectors_that_torch_gives_with_the_adapter(engine, base, trained, lengths, seed):
    batch = texts(*lengths, seed=seed)
    assert cosines(engine.forward(batch, adapted(engine, base, trained.folder)), trained.vectors(batch)).min() >= 0.99999


def test_values_and_not_only_directions_are_torchs(engine, base, trained):
    batch = texts(7, 31, 2)
    vectors = engine.forward(batch, adapted(engine, base, trained.folder))
    np.testing.assert_allclose(vectors, trained.vectors(batch), rtol=2e-3, atol=5e-4)


def test_without_the_adapter_the_same_engine_gives_the_bytes_it_gave_before(engine, base, trained):
    batch = texts(9, 22, 3)
    before = engine.forward(batch)
    adapter = adapted(engine, base, trained.folder)
    with_it = engine.forward(batch, adapter)
    assert cosines(engine.forward(batch), before).min() >= 0.99999
    assert cosines(with_it, before).max() < 0.999
    del adapter
    np.testing.assert_array_equal(engine.forward(batch), before)


def test_two_adapters_of_other_ranks_and_layers_take_turns(engine, base, trained, tmp_path):
    other = Trained(base, tmp_path / "other", seed=1, r=20, target_modules=SECOND_LAYER)
    one, two = adapted(engine, base, trained.folder), adapted(engine, base, other.folder)
    batch = texts(12, 40, 1)
    for _ in range(2):
        assert cosines(engine.forward(batch, one), trained.vectors(batch)).min() >= 0.99999
        assert cosines(engine.forward(batch, two), other.vectors(batch)).min() >= 0.99999


def test_a_long_text_in_steps_keeps_its_adapter_while_others_run_and_adapters_come_and_go(
    engine, kind, base, trained, tmp_path, monkeypatch
):
    monkeypatch.setattr(kind.module, "STEP_SECONDS", 0.0)
    monkeypatch.setattr(kind.module, "ATTENDING_TOKENS", 16)
    long, short = texts(100, 9)
    other = Trained(base, tmp_path / "other", seed=1)
    plain = engine.forward([short])
    steps = engine.steps(long, adapted(engine, base, trained.folder))
    while True:
        try:
            next(steps)
            assert cosines(engine.forward([short], adapted(engine, base, other.folder)), other.vectors([short])).min() >= 0.99999
            assert cosines(engine.forward([short]), plain).min() >= 0.99999
        except StopIteration as end:
            vector = end.value
            break
    assert cosines(vector, trained.vector(long)) >= 0.99999


def test_lower_precisions_stay_as_near_as_they_do_without_an_adapter(base, kind, trained):
    batch = texts(4, 40, 11, 25)
    for precision in kind.precisions:
        engine = kind.start(open_checkpoint(base), precision)
        vectors = engine.forward(batch, adapted(engine, base, trained.folder))
        assert cosines(vectors, trained.vectors(batch)).min() >= (0.999 if precision == "bf16" else 0.99)


@pytest.mark.parametrize(
    "options",
    [
        {"r": 64, "lora_alpha": 16},
        {"r": 1, "lora_alpha": 3},
        {"use_rslora": True},
        {"target_modules": ["q_proj", "v_proj"]},
        {"target_modules": ["down_proj"]},
        {"target_modules": SECOND_LAYER},
        {"rank_pattern": {"layers.1.self_attn.q_proj": 3, "mlp.*": 5}, "alpha_pattern": {"^layers.0.self_attn.v_proj": 40}},
        {"target_modules": "all-linear"},
        {"task_type": "SEQ_CLS", "target_modules": ["q_proj", "k_proj", "v_proj"], "lora_dropout": 0.1},
    ],
    ids=lambda options: " ".join(f"{name}={value}" for name, value in options.items()),
)
def test_every_setting_of_plain_lora_is_honoured(qwen3, kind, tmp_path, options):
    engine = kind.start(open_checkpoint(qwen3))
    trained = Trained(qwen3, tmp_path / "adapter", **options)
    batch = texts(5, 33)
    assert cosines(engine.forward(batch, adapted(engine, qwen3, trained.folder)), trained.vectors(batch)).min() >= 0.99999


@pytest.mark.parametrize("prefix", ["model.", ""])
def test_an_adapter_of_the_causal_language_model_fits_as_well(qwen3, of_qwen3, tmp_path, prefix):
    def rename(tensors) -> None:
        for name in list(tensors):
            tensors[name.replace("base_model.model.", f"base_model.model.{prefix}")] = tensors.pop(name)

    folder = lora.change_weights(shutil.copytree(of_qwen3.folder, tmp_path / "renamed"), rename)
    checkpoint = open_checkpoint(qwen3)
    assert open_adapter(folder, checkpoint).digest == open_adapter(of_qwen3.folder, checkpoint).digest


class TestRefusals:
    @pytest.fixture
    def copy(self, of_qwen3, tmp_path) -> Path:
        return shutil.copytree(of_qwen3.folder, tmp_path / "copy")

    def refusal(self, base: Path, folder: Path) -> str:
        with pytest.raises(UnsupportedModel) as refused:
            open_adapter(folder, open_checkpoint(base))
        return str(refused.value)

    @pytest.mark.parametrize(
        ("options", "reason"),
        [
            ({"use_dora": True}, "DoRA"),
            ({"bias": "lora_only"}, "trained biases"),
            ({"lora_bias": True}, "a trained bias"),
            ({"modules_to_save": ["norm"]}, "norm"),
            ({"init_lora_weights": "pissa"}, "pissa"),
            ({"trainable_token_indices": [3, 4]}, "trained token embeddings"),
            ({"target_modules": ["q_proj", "embed_tokens"]}, "embed_tokens"),
        ],
    )
    def test_what_is_not_plain_lora_is_refused_by_its_name(self, qwen3, tmp_path, options, reason):
        assert reason in self.refusal(qwen3, Trained(qwen3, tmp_path / "other", **options).folder)

    def test_another_method_of_peft_is_refused_by_its_name(self, qwen3, copy):
        assert "'IA3'" in self.refusal(qwen3, lora.change_config(copy, peft_type="IA3"))

    def test_a_setting_that_the_file_contradicts_is_found_in_the_file(self, qwen3, copy):
        def plant(tensors) -> None:
            tensors["base_model.model.layers.0.self_attn.q_proj.lora_magnitude_vector"] = torch.ones(64)

        assert "DoRA" in self.refusal(qwen3, lora.change_weights(copy, plant))

    @pytest.mark.parametrize("head", ["score", "classifier"])
    def test_the_heads_that_peft_always_lists_are_accepted_while_the_file_holds_none(self, qwen3, copy, head):
        lora.change_config(copy, task_type="SEQ_CLS", modules_to_save=["classifier", "score"])
        open_adapter(copy, open_checkpoint(qwen3))
        lora.change_weights(copy, lambda tensors: tensors.update({f"base_model.model.{head}.weight": torch.ones(2, 64)}))
        assert f"{head}.weight" in self.refusal(qwen3, copy)

    def test_an_adapter_that_was_never_trained_has_no_effect(self, qwen3, copy):
        def untrain(tensors) -> None:
            for name in tensors:
                if "lora_B" in name:
                    tensors[name] *= 0

        assert "no effect" in self.refusal(qwen3, lora.change_weights(copy, untrain))

    def test_an_adapter_of_a_deeper_model_does_not_fit(self, copy, tmp_path):
        shallow = tiny.tiny_qwen3(tmp_path / "shallow", layers=1)
        assert "layers.1." in self.refusal(shallow, copy)

    def test_an_adapter_of_a_wider_model_does_not_fit_and_the_message_names_its_base(self, copy, tmp_path):
        narrow = tiny.tiny_qwen3(tmp_path / "narrow", dim=32)
        message = self.refusal(narrow, lora.change_config(copy, base_model_name_or_path="Qwen/wide"))
        assert "does not fit" in message
        assert "Qwen/wide" in message

    def test_an_adapter_of_the_other_family_does_not_fit(self, copy, tmp_path):
        assert "no linear layers there" in self.refusal(tiny.tiny_bert(tmp_path / "bert"), copy)

    def test_files_of_two_adapters_do_not_belong_together(self, qwen3, copy):
        assert "do not belong together" in self.refusal(qwen3, lora.change_config(copy, r=4))

    def test_half_an_adapter_is_refused(self, qwen3, copy):
        first = "base_model.model.layers.0.self_attn.q_proj.lora_B.weight"
        assert "only one of" in self.refusal(qwen3, lora.change_weights(copy, lambda tensors: tensors.pop(first)))

    def test_numbers_that_are_none_are_refused(self, qwen3, copy):
        def spoil(tensors) -> None:
            next(iter(tensors.values()))[0, 0] = float("nan")

        assert "finite" in self.refusal(qwen3, lora.change_weights(copy, spoil))

    def test_pickled_weights_are_never_read(self, qwen3, copy):
        (copy / "adapter_model.safetensors").rename(copy / "adapter_model.bin")
        assert "pickled" in self.refusal(qwen3, copy)

    @pytest.mark.parametrize("content", [b"", b"\x00" * 20, b"cut"])
    def test_a_damaged_file_is_named(self, qwen3, copy, content):
        file = copy / "adapter_model.safetensors"
        file.write_bytes(file.read_bytes()[:-10] if content == b"cut" else content)
        assert file.name in self.refusal(qwen3, copy)

    @pytest.mark.parametrize("content", ["", "[]", "{", '{"peft_type": "LORA", "rank_pattern": {"(": 3}, "r": 8, "lora_alpha": 8}'])
    def test_a_damaged_configuration_is_named(self, qwen3, copy, content):
        (copy / "adapter_config.json").write_text(content, "utf-8")
        assert "adapter_config.json" in self.refusal(qwen3, copy)

    def test_a_folder_without_an_adapter_is_not_found(self, qwen3, tmp_path):
        with pytest.raises(NotFound, match=r"adapter_config\.json"):
            open_adapter(tmp_path, open_checkpoint(qwen3))
