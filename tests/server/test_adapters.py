"""Adapters over HTTP: named in a request, loaded and unloaded while others are answered, by whom it may be, and from nowhere else."""

import base64
import shutil
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import numpy as np
import pytest

import tiny
from fakes import LIMIT_S, in_thread
from huiyi import workspace
from huiyi.encoding.encoder import LocalEncoder
from huiyi.errors import InvalidInput
from huiyi.server import auth
from huiyi.server.app import ServerSettings
from huiyi.server.guard import Admission
from live_server import live, post
from lora import Classifier, Trained

TEXTS = list(tiny.SENTENCES)


@pytest.fixture(scope="module")
def home(tmp_path_factory) -> Iterator[Path]:
    with pytest.MonkeyPatch.context() as patch:
        home = tmp_path_factory.mktemp("home")
        patch.setenv("HUIYI_HOME", str(home))
        yield home


@pytest.fixture(scope="module")
def base(home, tmp_path_factory) -> Path:
    return tiny.tiny_qwen3(tmp_path_factory.mktemp("models") / "tiny")


@pytest.fixture(scope="module")
def trained(home, base) -> Trained:
    return Trained(base, home / "adapters" / "shop")


@pytest.fixture(scope="module")
def classifier(home, base) -> Classifier:
    return Classifier(base, home / "adapters" / "same")


@pytest.fixture(scope="module")
def url(base, trained, classifier) -> Iterator[str]:
    with live(workspace.serve([str(base)], "fp32", adapters=[f"shop={trained.folder}", f"same={classifier.folder}"])) as url:
        yield url


def vectors(url: str, texts=TEXTS, **fields) -> np.ndarray:
    answer = post(url, input=texts, encoding_format="base64", **fields)
    assert answer.status_code == 200, answer.text
    return np.array([np.frombuffer(base64.b64decode(row["embedding"]), np.float32) for row in answer.json()["data"]])


def delete(url: str, name: str, headers: dict[str, str] | None = None) -> httpx.Response:
    return httpx.delete(f"{url}/v1/adapters/{name}", headers=headers, timeout=30, trust_env=False)


def expected(base: Path, adapter: Path | None = None) -> np.ndarray:
    with workspace.load(str(base), "fp32", adapter=adapter) as model:
        return model.encode(TEXTS)


def nearly(a: np.ndarray, b: np.ndarray) -> bool:
    return bool((np.einsum("nd,nd->n", a, b) >= 0.9999).all())


def test_a_request_names_its_adapter_or_gets_the_base(url, base, trained):
    adapted, plain = expected(base, trained.folder), expected(base)
    assert nearly(vectors(url, model="shop"), adapted)
    assert nearly(vectors(url, model="tiny"), plain)
    assert nearly(vectors(url), plain)
    assert not nearly(adapted, plain)


def test_requests_for_both_at_once_each_get_their_own(url, base, trained):
    wanted = {"shop": expected(base, trained.folder), "tiny": expected(base)}
    names = ["shop", "tiny"] * 8
    with ThreadPoolExecutor(8) as pool:
        for name, made in zip(names, pool.map(lambda name: vectors(url, [t + " " for t in TEXTS], model=name), names), strict=True):
            assert made.shape == wanted[name].shape
    assert nearly(vectors(url, model="shop"), wanted["shop"])


def test_the_list_of_models_says_what_belongs_to_what(url):
    cards = {card["id"]: card for card in httpx.get(f"{url}/v1/models", trust_env=False).json()["data"]}
    assert [cards[name]["parent"] for name in ("tiny", "shop", "same")] == [None, "tiny", "tiny"]
    assert [cards[name]["task"] for name in ("tiny", "shop", "same")] == ["embedding", "embedding", "pair-classifier"]
    assert cards["same"]["dimensions"] is None
    assert len({card["space"] for card in cards.values()}) == 3


def test_a_pair_classifier_gives_probabilities(url, classifier):
    logits = classifier.logits(TEXTS[:2], TEXTS[2:4])
    odds = logits[:, 1] - logits[:, 0]
    body = post(url, "/v1/similarity", model="same", pairs=[[TEXTS[0], TEXTS[2]], [TEXTS[1], TEXTS[3]]], truncate="end").json()
    assert body["probability"] == pytest.approx((1 / (1 + np.exp(-odds))).tolist(), abs=1e-3)
    assert body["scores"] == pytest.approx(odds.tolist(), abs=2e-3)
    assert body["usage"]["total_tokens"] > 0
    one = post(url, "/v1/similarity", model="same", text=TEXTS[0], others=[TEXTS[2]], truncate="end").json()
    assert one["probability"] == pytest.approx(body["probability"][:1], abs=1e-5)
    assert "probability" not in post(url, "/v1/similarity", model="shop", text=TEXTS[0], others=[TEXTS[2]]).json()


def test_a_pair_classifier_asked_for_vectors_says_what_it_is(url):
    for path, body in (("/v1/embeddings", {"input": "a"}), ("/v1/rerank", {"query": "a", "documents": ["b"]})):
        answer = post(url, path, model="same", **body)
        assert answer.status_code == 400
        assert "pair classifier" in answer.json()["error"]["message"]
    refused = post(url, "/v1/similarity", model="same", pairs=[["a", "b"]], dimensions=32)
    assert refused.json()["error"]["param"] == "dimensions"


def test_pairs_that_are_too_long_are_refused_unless_they_may_be_cut(url):
    pairs = [["a", "b"], ["word " * 100, "c"]]
    refused = post(url, "/v1/similarity", model="same", pairs=pairs)
    assert refused.status_code == 400
    assert "pair 1" in refused.json()["error"]["message"]
    assert post(url, "/v1/similarity", model="same", pairs=pairs, truncate="end").status_code == 200


def test_loaded_and_unloaded_by_name_while_serving(url, home, base):
    other = Trained(base, home / "adapters" / "second", seed=3)
    assert post(url, model="second", input="a").status_code == 404
    loaded = post(url, "/v1/adapters", name="second")
    assert loaded.status_code == 200
    assert loaded.json()["parent"] == "tiny"
    assert nearly(vectors(url, model="second"), expected(base, other.folder))
    assert post(url, "/v1/adapters", name="second").status_code == 409
    assert delete(url, "second").json() == {"id": "second", "object": "model", "deleted": True}
    assert post(url, model="second", input="a").status_code == 404
    assert delete(url, "second").status_code == 404
    assert nearly(vectors(url, [*TEXTS]), expected(base))


def test_what_is_loaded_anew_is_what_is_there_now(url, home, base):
    """The vector cache keeps both apart by their digests."""
    folder = home / "adapters" / "changing"
    for seed in (5, 6):
        shutil.rmtree(folder, ignore_errors=True)
        trained = Trained(base, folder, seed=seed)
        assert post(url, "/v1/adapters", name="changing").status_code == 200
        assert nearly(vectors(url, model="changing"), expected(base, trained.folder))
        assert delete(url, "changing").status_code == 200


@pytest.mark.parametrize("name", ["..", "../models/tiny", "/etc", "a/b", "", "a.b", "a b", "名", "x" * 65])
def test_a_name_cannot_be_a_path(url, name):
    answer = post(url, "/v1/adapters", name=name)
    assert answer.status_code == 400
    assert answer.json()["error"]["param"] == "name"


def test_an_unknown_one_is_not_found_and_the_message_lists_those_there_are(url):
    answer = post(url, "/v1/adapters", name="nobody")
    assert answer.status_code == 404
    assert "shop" in answer.json()["error"]["message"]


@pytest.mark.parametrize("name", ["tiny", "shop"])
def test_a_model_cannot_be_shadowed_and_a_base_not_unloaded(url, home, trained, name):
    shutil.copytree(trained.folder, home / "adapters" / "tiny", dirs_exist_ok=True)
    assert post(url, "/v1/adapters", name=name).status_code == 409
    assert delete(url, "tiny").status_code == 404


def test_one_that_does_not_fit_or_does_nothing_is_refused_with_the_reason(url, home, base, tmp_path):
    Trained(tiny.tiny_qwen3(tmp_path / "wide", dim=32), home / "adapters" / "misfit")
    Trained(base, home / "adapters" / "idle", strength=0.0)
    for name, reason in (("misfit", "does not fit"), ("idle", "no effect")):
        answer = post(url, "/v1/adapters", name=name)
        assert answer.status_code == 400
        assert reason in answer.json()["error"]["message"]
        assert post(url, model=name, input="a").status_code == 404


def test_only_an_admin_key_may_load_and_unload(base, trained, tmp_path):
    (tmp_path / "keys").write_text("admin:all-may-do-this\nread:only-embed-this\n")
    settings = ServerSettings(Admission(auth.keys(tmp_path / "keys", "127.0.0.1", False)))
    admin, read = ({"Authorization": f"Bearer {key}"} for key in ("all-may-do-this", "only-embed-this"))
    with live(workspace.serve([str(base)], "fp32"), settings) as url:
        assert post(url, "/v1/adapters", name="shop").status_code == 401
        assert post(url, "/v1/adapters", headers=read, name="shop").status_code == 403
        assert post(url, "/v1/adapters", headers=admin, name="shop").status_code == 200
        assert post(url, headers=read, input="a", model="shop").status_code == 200
        assert delete(url, "shop", read).status_code == 403
        assert delete(url, "shop", admin).status_code == 200


def test_what_is_in_flight_when_it_is_unloaded_is_answered(base, trained, monkeypatch):
    reached, go = threading.Event(), threading.Event()
    pooled = LocalEncoder._pooled

    def stalled(self, parts, encode, take, *arguments, **options):
        def slowly(i, row):
            reached.set()
            assert go.wait(LIMIT_S)
            take(i, row)

        return pooled(self, parts, encode, slowly, *arguments, **options)

    wanted = expected(base, trained.folder)
    with live(workspace.serve([str(base)], "fp32", adapters=[f"shop={trained.folder}"], cache=False)) as url:
        monkeypatch.setattr(LocalEncoder, "_pooled", stalled)
        asked = in_thread(vectors, url, model="shop")
        assert reached.wait(LIMIT_S)
        assert delete(url, "shop").status_code == 200
        go.set()
        assert nearly(asked.result(LIMIT_S), wanted)
        assert post(url, model="shop", input="a").status_code == 404


def test_figures_count_adapters_by_name_and_the_queue_once(url):
    vectors(url, model="shop")
    page = httpx.get(f"{url}/metrics", trust_env=False).text
    assert 'huiyi_texts_total{model="shop"}' in page
    assert 'huiyi_queue_texts{model="tiny"}' in page
    assert 'huiyi_queue_texts{model="shop"}' not in page


@pytest.mark.parametrize("given", ["shop", "shop=", "=x", "a b=x", "tiny=x"])
def test_options_that_cannot_be_meant_are_refused_before_anything_is_loaded(base, given):
    with pytest.raises(InvalidInput, match=r"NAME=DIR|served as tiny"):
        workspace.serve([str(base)], "fp32", adapters=[given])
