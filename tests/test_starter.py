"""The bundled starter: there under its name without a hub, small, better than TF-IDF; and the script that trains it."""

import csv
import gzip
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from scipy.stats import spearmanr
from sklearn.metrics import roc_auc_score
from tokenizers import Tokenizer

import huiyi
from conftest import REPOSITORY, shared_data
from huiyi.engines.checkpoint import open_checkpoint
from huiyi.engines.hub import STARTER, locate
from huiyi.errors import HuiyiError, InvalidInput
from tiny import tiny_qwen3

FOLDER = REPOSITORY / "src" / "huiyi" / "starter"


@pytest.fixture(scope="module")
def model():
    with huiyi.load("starter") as model:
        yield model


def pairs(path: str, mark: str = "label", **only: str) -> tuple[list[str], list[str], list[float]]:
    with gzip.open(shared_data(path), "rt", encoding="utf-8", newline="") as file:
        rows = [row for row in csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE) if only.items() <= row.items()]
    return [row["sentence1"] for row in rows], [row["sentence2"] for row in rows], [float(row[mark]) for row in rows]


def scores(model, first: list[str], second: list[str]) -> np.ndarray:
    return model.similarity_pairwise(model.encode(first), model.encode(second))


def test_it_is_there_without_a_hub_and_fits_the_package(own_home, tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert locate("starter", offline=True) == FOLDER
    assert sum(file.stat().st_size for file in FOLDER.rglob("*") if file.is_file()) <= 15 * 2**20
    checkpoint = open_checkpoint(FOLDER)
    assert (checkpoint.family, checkpoint.pooling) == ("qwen3", "last")  # the path of the big model


def test_a_folder_of_its_name_is_never_taken_for_it_nor_hidden_by_it(own_home, tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("starter").mkdir()
    assert locate("starter") == FOLDER  # a folder without a model is not what a person means who names a model
    tiny_qwen3(Path("starter").resolve())
    with pytest.raises(InvalidInput, match=r"\./starter"):
        locate("starter")
    assert locate("./starter") == locate(Path("starter")) == Path("starter")


def test_with_a_hub_the_name_is_that_hub_s(own_home, tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    for asked in ({"hub": "hf"}, {"revision": "main"}):
        with pytest.raises(HuiyiError):
            locate(STARTER, offline=True, **asked)


@pytest.mark.parametrize(("text", "same", "other"), [
    ("怎么还花呗", "如何归还蚂蚁花呗", "今天天气真好"),
    ("How do I reset my password?", "I forgot my password, how can I change it?", "A man is playing the guitar."),
])  # fmt: skip
def test_it_tells_the_same_from_something_else_in_chinese_and_english(model, text, same, other) -> None:
    near, far = model.similarity(model.encode(text), model.encode([same, other]))[0]
    assert near > far + 0.05


@pytest.mark.parametrize(("path", "mark", "only", "least"), [
    ("pairs/lcqmc_test.tsv.gz", "label", {}, 0.55),
    ("pairs/bq_test.tsv.gz", "label", {}, 0.45),
    ("pairs/cnsd_stsb_zh_test.tsv.gz", "score", {}, 0.55),
    ("pairs/stsb_multi_test.tsv.gz", "score", {"lang": "en"}, 0.55),
])  # fmt: skip
def test_its_scores_follow_people_s(model, path, mark, only, least) -> None:
    """Loosely: the figures are in docs/benchmarks.md."""
    first, second, marks = pairs(path, mark, **only)
    assert spearmanr(scores(model, first, second), marks)[0] >= least


def test_on_customers_questions_it_never_saw_it_beats_tf_idf(model) -> None:
    from sklearn.feature_extraction.text import TfidfVectorizer

    first, second, labels = pairs("pairs/afqmc_dev.tsv.gz")
    vectorizer = TfidfVectorizer(analyzer="char", ngram_range=(1, 2)).fit(first + second)
    overlap = np.asarray(vectorizer.transform(first).multiply(vectorizer.transform(second)).sum(1)).ravel()
    assert roc_auc_score(labels, scores(model, first, second)) > roc_auc_score(labels, overlap)


# How it was trained: starter/train.py on a small data folder in the layout of the real one.


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Sentences made of a few words; one pair of LCQMC's training split also stands in a test split, turned and dotted."""
    folder = tmp_path_factory.mktemp("data")
    random = np.random.default_rng(0)
    words = {
        "zh": ["花呗", "还款", "怎么", "逾期", "额度", "提高", "包裹", "什么", "时候", "到达", "修改", "密码"],
        "en": ["my", "parcel", "card", "is", "late", "lost", "when", "will", "how", "pay"],
    }

    def sentence(language: str) -> str:
        return ("" if language == "zh" else " ").join(random.choice(words[language], 5))

    def write(name: str, columns: str, *lines: tuple) -> None:
        (folder / name).parent.mkdir(exist_ok=True)
        with gzip.open(folder / f"{name}.tsv.gz", "wt", encoding="utf-8") as file:
            file.writelines("\t".join(map(str, line)) + "\n" for line in [columns.split(), *lines])

    def pair(language: str = "zh") -> tuple[str, str]:
        return sentence(language), sentence(language)

    for split in ("train", "dev", "test"):
        for name in ("lcqmc", "bq", "afqmc", "chip_sts", "pawsx_zh", "ocnli", "kuake_qtr"):
            leak = (
                {"train": [("花呗怎么还？", "How to pay", 1)], "test": [("how to pay!", "花呗怎么还", 1)]}.get(split, [])
                if name == "lcqmc"
                else []
            )
            write(f"pairs/{name}_{split}", "sentence1 sentence2 label", *((*pair(), i % 2) for i in range(30)), *leak)
        write(f"pairs/cnsd_stsb_zh_{split}", "sentence1 sentence2 score", *((*pair(), i % 6) for i in range(30)))
        many = [(language, i, *pair(language), i % 6) for i in range(30) for language in ("en", "zh")]
        write(f"pairs/stsb_multi_{split}", "lang row sentence1 sentence2 score", *many)
        write(f"pairs/triclue_{split}", "anchor positive negative", *((*pair(), sentence("zh")) for _ in range(30)))
    write("pairs/atec_clean", "sentence1 sentence2 label text_source", *((*pair(), i % 2, "orig") for i in range(30)))
    for name in ("clinc150_train", "banking77_train"):
        write(f"intents/{name}", "text label", *((sentence("en"), f"class {i % 3}") for i in range(30)))
    write(
        "parallel/xquad_questions", "id lang question context", *((i, lang, sentence(lang), "") for i in range(9) for lang in ("en", "zh"))
    )
    return folder


@pytest.fixture
def scripts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(REPOSITORY / "starter"))


def train(data: Path, work: Path, *more: object) -> subprocess.Popen:
    command = [
        sys.executable,
        REPOSITORY / "starter" / "train.py",
        "--data",
        data,
        "--work",
        work,
        "--out",
        work / "out",
        "--save-every",
        2,
        *more,
    ]
    return subprocess.Popen([str(word) for word in command], env=os.environ | {"OMP_NUM_THREADS": "1"}, stderr=subprocess.PIPE, text=True)


def test_a_pair_of_a_test_split_is_left_out_of_training_in_whatever_dress(data, scripts) -> None:
    from data import groups

    found, dropped = groups(data)
    assert dropped == {"lcqmc_train": 1}
    assert next(len(group.texts) for group in found if group.name == "lcqmc") == 30


def test_a_training_run_that_was_killed_ends_as_one_that_was_not(data, tmp_path) -> None:
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    assert train(data, whole, "--steps", 4, 2, 6).wait(200) == 0
    killed = train(data, broken, "--steps", 4, 2, 6)
    assert any("layers 2/6" in line for line in killed.stderr)
    killed.kill()
    assert killed.wait(60) == -signal.SIGKILL
    assert not (broken / "out").exists()
    with train(data, broken, "--steps", 4, 2, 6) as resumed:
        said = resumed.stderr.read()
    assert "layers 6/6" in said
    assert "tokens 2/4" not in said
    assert (broken / "out" / "model.safetensors").read_bytes() == (whole / "out" / "model.safetensors").read_bytes()
    with train(data, broken, "--steps", 4, 2, 8) as other:
        assert "other settings" in other.stderr.read()
    assert other.returncode


@pytest.fixture
def network(scripts):
    from network import Network, Shape

    return Network(Shape(vocab_size=Tokenizer.from_file(str(FOLDER / "tokenizer.json")).get_vocab_size()))


TEXTS = ["花呗逾期了会怎么样?", "", "Where is my parcel?", "一" * 60]


def ids(texts: list[str]) -> list:
    import torch

    tokenizer = Tokenizer.from_file(str(FOLDER / "tokenizer.json"))
    return [torch.tensor(encoding.ids) for encoding in tokenizer.encode_batch(texts)]


def test_the_network_begins_as_the_mean_of_its_tokens(network) -> None:
    np.testing.assert_allclose(network(ids(TEXTS)).detach(), network.mean(ids(TEXTS)).detach(), atol=1e-5)


@pytest.mark.filterwarnings("ignore")
def test_the_network_in_training_is_the_one_that_is_served(network, tmp_path) -> None:
    """Ours in fp32, sentence-transformers and the training code give one vector, with random numbers in every weight."""
    import torch
    from export import export
    from sentence_transformers import SentenceTransformer

    random = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(0.05 * torch.randn(parameter.shape, generator=random)).copy_(parameter.bfloat16().float())
    export(tmp_path, network.shape, dict(network.named_parameters()), Tokenizer.from_file(str(FOLDER / "tokenizer.json")))
    trained = network(ids(TEXTS)).detach().numpy()
    with huiyi.load(str(tmp_path), precision="fp32") as model:
        np.testing.assert_allclose(model.encode(TEXTS), trained, atol=1e-4)
    theirs = SentenceTransformer(str(tmp_path), device="cpu", model_kwargs={"dtype": torch.float32})
    np.testing.assert_allclose(theirs.encode(TEXTS), trained, atol=1e-4)


def test_every_version_of_sentence_transformers_takes_the_last_token_alone() -> None:
    pooling = json.loads((FOLDER / "1_Pooling" / "config.json").read_text("utf-8"))
    assert pooling["pooling_mode_lasttoken"]
    assert pooling["pooling_mode_mean_tokens"] is False  # which is on where nothing is said, in versions 2 to 4


def test_its_tokens_are_short_in_chinese_and_nothing_is_unknown() -> None:
    tokenizer = Tokenizer.from_file(str(FOLDER / "tokenizer.json"))
    han = [token for token in tokenizer.get_vocab() if any("一" <= letter <= "鿿" for letter in token)]
    assert max(map(len, han)) == 2
    for text in ("𠮷", "😀", "لماذا", "\x00"):
        assert len(tokenizer.encode(text).ids) > 1
    assert tokenizer.encode("").ids == tokenizer.encode(" \n ").ids == [tokenizer.token_to_id("<|endoftext|>")]


def test_the_card_names_every_source(scripts) -> None:
    card = (FOLDER / "README.md").read_text("utf-8")
    source = (REPOSITORY / "starter" / "data.py").read_text("utf-8")
    for name in ("LCQMC", "BQ", "ATEC", "CNSD", "stsb-multi-mt", "KUAKE-QTR", "SimCLUE", "CLINC150", "BANKING77", "XQuAD"):
        assert name in card
    assert "demonstration and tests" in card
    assert "none stated" in card
    assert "tatoeba" not in source
    assert 'kept("ocnli' not in source
