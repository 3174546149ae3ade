"""Where a model computes: everything that is built on an engine works on torch as on OpenVINO, and the device is chosen as documented."""

from pathlib import Path

import numpy as np
import pytest

import huiyi
import tiny
import tiny_rerankers
from engine_kinds import cosines
from huiyi import workspace
from huiyi.cli.app import main
from huiyi.engines import devices
from huiyi.engines.torch import TorchEngine
from huiyi.errors import InvalidInput
from huiyi.serving import Origin
from huiyi.workspace import job_process, jobfile
from lora import Trained

TORCH = "torch-cpu"


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    return tiny.tiny_qwen3(tmp_path_factory.mktemp("models") / "qwen3")


def engine_of(model):
    return model.encoder.engine


def test_a_model_on_torch_gives_the_vectors_of_the_default_engine(own_home, folder):
    with huiyi.load(str(folder), "fp32") as default, huiyi.load(str(folder), "fp32", device=TORCH) as model:
        assert isinstance(engine_of(model), TorchEngine)
        assert model.encoder.space == default.encoder.space
        texts = [*tiny.SENTENCES, "", "短 " * 900]
        assert cosines(model.encode(texts), default.encode(texts)).min() >= 0.99999
        assert "by torch" in model.about
        assert "int8" not in model.about


def test_the_environment_decides_where_no_device_is_given(own_home, folder, monkeypatch):
    monkeypatch.setenv("HUIYI_DEVICE", TORCH)
    with huiyi.load(str(folder)) as model:
        assert isinstance(engine_of(model), TorchEngine)
    with huiyi.load(str(folder), device="cpu") as model:
        assert not isinstance(engine_of(model), TorchEngine)


@pytest.mark.parametrize("device", ["tpu", "cuda:", "cuda:x", "GPU", "cpu:1"])
def test_an_unknown_device_names_those_there_are(own_home, folder, device):
    with pytest.raises(InvalidInput, match="cpu, cuda, cuda:1"):
        huiyi.load(str(folder), device=device)


def test_a_server_of_others_computes_where_it_was_started(own_home):
    with pytest.raises(InvalidInput, match="device"):
        huiyi.load("http://127.0.0.1:1", device="cuda")


def test_a_device_is_named_in_words(monkeypatch):
    monkeypatch.delenv("HUIYI_DEVICE", raising=False)
    assert devices.place(None, 3) == "3 threads"
    assert devices.place("cuda:1", 3) == "cuda:1"


def test_adapters_and_rerankers_are_served_from_torch(own_home, folder, tmp_path):
    trained = Trained(folder, tmp_path / "adapter")
    reranker = tiny_rerankers.bert(tmp_path / "reranker")
    both = [
        workspace.serve([str(folder)], "fp32", adapters=[f"own={trained.folder}"], rerankers=[str(reranker)], device=device)
        for device in (TORCH, None)
    ]
    try:
        (model, scores, own), (of_default, scores_of_default, own_of_default) = both
        assert isinstance(model.encoder.engine, TorchEngine)
        assert own.encoder.engine is model.encoder.engine
        texts = list(tiny.SENTENCES)
        for one, other in ((model, of_default), (own, own_of_default)):
            assert cosines(one.encoder.embed(texts).vectors, other.encoder.embed(texts).vectors).min() >= 0.9999
        asked = ("Where is my parcel?", texts)
        np.testing.assert_allclose(scores.encoder.relevance(*asked), scores_of_default.encoder.relevance(*asked), atol=1e-3)
        assert model.origin.device == TORCH
    finally:
        for served in both:
            for each in reversed(served):
                each.close()


def test_vectors_of_two_engines_are_kept_apart(own_home, folder):
    """What is kept is, bit for bit, what that engine computed."""
    for device in (None, TORCH):
        (served,) = workspace.serve([str(folder)], "fp32", device=device)
        try:
            served.embed(served.token_ids(["Where is my parcel?"]))
            assert served.cache_stats().hits == 0
        finally:
            served.close()


def test_a_job_computes_where_its_server_does(own_home, folder):
    origin = Origin(str(folder), "auto", device=TORCH)
    job = jobfile.Job("1", "cluster", "running", None, {}, created=0.0, origin=origin)
    with job_process._loader(job)(None) as model:
        assert isinstance(engine_of(model), TorchEngine)


def test_a_collection_built_on_one_engine_is_searched_through_the_other(own_home, folder):
    with huiyi.load(str(folder)) as model, huiyi.open("faq", model=model) as faq:
        faq.add([{"id": "1", "text": "Your parcel is on its way."}, {"id": "2", "text": "We are hiring a cook."}])
    with huiyi.load(str(folder), device=TORCH) as model, huiyi.open("faq", model=model) as faq:
        assert faq.search("Your parcel is on its way.", k=1)[0].text == "Your parcel is on its way."


def test_check_holds_another_device_against_the_cpu_in_fp32(own_home, folder, capsys):
    with pytest.raises(SystemExit) as end:
        main(["model", "check", str(folder), "--device", TORCH])
    assert end.value.code == 0
    assert "beside fp32" in capsys.readouterr().out


def test_ray_and_a_device_do_not_go_together(own_home, tmp_path, capsys):
    (tmp_path / "texts.txt").write_text("text", "utf-8")
    with pytest.raises(SystemExit) as end:
        main(["embed", str(tmp_path / "texts.txt"), "-o", str(tmp_path / "out"), "--ray", "local", "--device", "cuda"])
    assert end.value.code == 1
    assert "leave --device out" in capsys.readouterr().err


def test_embed_and_index_take_a_device(own_home, folder, tmp_path, capsys):
    (tmp_path / "texts.txt").write_text("\n".join(tiny.SENTENCES), "utf-8")
    for words in (
        ["embed", str(tmp_path / "texts.txt"), "-o", str(tmp_path / "v.npy")],
        ["index", "faq", str(tmp_path / "texts.txt")],
        ["reindex", "faq"],
    ):
        with pytest.raises(SystemExit) as end:
            main([*words, "--model", str(folder), "--device", TORCH])
        assert end.value.code == 0
        assert "by torch" in capsys.readouterr().err
    assert np.load(tmp_path / "v.npy").shape == (len(tiny.SENTENCES), 64)
