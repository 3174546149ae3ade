"""The transformer in TF-IDF's place: in pipelines, grid searches, clones and pickles, and better than it on reworded texts."""

import pickle
import runpy
import subprocess
import sys

import numpy as np
import pandas
import pytest
from sklearn.base import clone
from sklearn.compose import make_column_transformer
from sklearn.feature_extraction.text import HashingVectorizer, TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.utils.estimator_checks import estimator_checks_generator

from conftest import REPOSITORY, minilm_folder
from fake_encoder import FakeEncoder
from huiyi.errors import InvalidInput, NotFound
from huiyi.model import Model
from huiyi.vectorizer import EmbeddingVectorizer

TICKETS = runpy.run_path(str(REPOSITORY / "examples" / "sklearn_pipeline.py"))
TEXTS, LABELS = list(TICKETS["TEXTS"]), list(TICKETS["LABELS"])
MINILM = str(minilm_folder())


@pytest.fixture
def fake() -> Model:
    return Model(FakeEncoder(), "fake")


def test_texts_become_the_vectors_of_the_model(fake: Model) -> None:
    vectorizer = EmbeddingVectorizer(fake)
    assert (vectorizer.fit_transform(TEXTS, LABELS) == fake.encode_document(TEXTS)).all()
    assert (vectorizer.transform(TEXTS[:2]) == fake.encode_document(TEXTS[:2])).all()
    assert (EmbeddingVectorizer(fake, kind="query").fit_transform(TEXTS) == fake.encode_query(TEXTS)).all()
    assert (EmbeddingVectorizer(fake, dimensions=32).fit_transform(TEXTS) == fake.encode(TEXTS, truncate_dim=32)).all()


def test_it_needs_no_fitting_and_learns_nothing(fake: Model) -> None:
    before = EmbeddingVectorizer(fake).transform(TEXTS[:3])
    assert (EmbeddingVectorizer(fake).fit(TEXTS).transform(TEXTS[:3]) == before).all()


def test_it_is_a_text_transformer_to_scikit_learn(fake: Model) -> None:
    ours, theirs = EmbeddingVectorizer(fake).__sklearn_tags__(), HashingVectorizer().__sklearn_tags__()
    assert ours.input_tags == theirs.input_tags
    assert (ours.requires_fit, ours.target_tags.required, ours.estimator_type) == (theirs.requires_fit, False, theirs.estimator_type)


@pytest.mark.filterwarnings("ignore:Can't test estimator")
def test_the_checks_that_scikit_learn_has_for_text_transformers_pass(fake: Model) -> None:
    checks = list(estimator_checks_generator(EmbeddingVectorizer(fake)))
    assert checks
    for estimator, check in checks:
        check(estimator)


def test_columns_have_names_and_frames_can_come_out(fake: Model) -> None:
    names = EmbeddingVectorizer(fake, dimensions=33).get_feature_names_out()
    assert (len(names), names[0], names[-1]) == (33, "embeddingvectorizer0", "embeddingvectorizer32")
    frame = EmbeddingVectorizer(fake).set_output(transform="pandas").fit_transform(pandas.Series(TEXTS, index=range(7, 7 + len(TEXTS))))
    assert frame.shape == (len(TEXTS), 64)


def test_one_column_of_a_frame_beside_others(fake: Model) -> None:
    frame = pandas.DataFrame({"text": TEXTS, "price": np.arange(len(TEXTS))})
    both = make_column_transformer((EmbeddingVectorizer(fake), "text"), ("passthrough", ["price"]))
    assert both.fit_transform(frame).shape == (len(TEXTS), 65)
    with pytest.raises(InvalidInput, match="one list or column"):
        make_column_transformer((EmbeddingVectorizer(fake), ["text"])).fit(frame)


def test_what_is_wrong_is_said_when_fitting(fake: Model) -> None:
    with pytest.raises(InvalidInput, match="not one string"):
        EmbeddingVectorizer(fake).fit_transform("one text")
    with pytest.raises(InvalidInput, match="document or query"):
        EmbeddingVectorizer(fake, kind="passage").fit(TEXTS)
    with pytest.raises(NotFound):
        EmbeddingVectorizer("/no/such/folder").fit(TEXTS)
    with pytest.raises(InvalidInput, match="dimensions"):
        EmbeddingVectorizer(fake, dimensions=1000).fit(TEXTS)


def test_a_search_over_parameters_clones_it_without_copying_the_model(fake: Model) -> None:
    assert clone(EmbeddingVectorizer(fake)).model is fake
    pipeline = Pipeline([("vectors", EmbeddingVectorizer(fake)), ("sorter", LogisticRegression())])
    other = Model(FakeEncoder(dim=32), "other")
    search = GridSearchCV(pipeline, {"vectors__model": [fake, other], "vectors__dimensions": [None, 32]}, cv=2, error_score="raise")
    search.fit(TEXTS, LABELS)
    assert len(search.cv_results_["params"]) == 4
    assert {params["vectors__model"].name for params in search.cv_results_["params"]} == {"fake", "other"}


def test_a_named_model_is_loaded_once_for_all_clones(monkeypatch: pytest.MonkeyPatch) -> None:
    from huiyi import workspace

    loaded: list[str] = []
    monkeypatch.setattr(workspace, "load", lambda name: loaded.append(name) or Model(FakeEncoder(), name))
    pipeline = make_pipeline(EmbeddingVectorizer("a model of this test"), LogisticRegression())
    cross_val_score(pipeline, TEXTS, LABELS, cv=3, error_score="raise")
    assert loaded == ["a model of this test"]


def test_a_pickle_is_small_and_predicts_the_same_elsewhere(tmp_path) -> None:
    pipeline = make_pipeline(EmbeddingVectorizer(MINILM), LogisticRegression(max_iter=1000)).fit(TEXTS, LABELS)
    (tmp_path / "sorter.pickle").write_bytes(pickle.dumps(pipeline))
    assert (tmp_path / "sorter.pickle").stat().st_size < 100_000
    question = "my earphones make a humming sound"
    code = f"import pickle, sys; print(*pickle.load(open('sorter.pickle', 'rb')).predict([{question!r}]))"
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert done.stdout.split() == list(pipeline.predict([question])) == ["fault"]


def test_on_reworded_tickets_it_beats_tf_idf_in_the_same_pipeline() -> None:
    assert TICKETS["accuracy"](EmbeddingVectorizer(MINILM)) >= TICKETS["accuracy"](TfidfVectorizer()) + 0.2
