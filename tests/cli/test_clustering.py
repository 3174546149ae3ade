"""`huiyi cluster` and `huiyi topics` as a person types them, on the starter model."""

import json
import shutil
import subprocess

import pytest

from huiyi.cli.app import main

PAYMENT = [
    "付款失败了",
    "支付不成功怎么办",
    "付款一直失败",
    "支付失败扣款了",
    "为什么付款失败",
    "支付页面打不开",
    "扣款了但是付款失败",
    "银行卡支付失败",
]
DELIVERY = [
    "快递什么时候到",
    "快递还没收到",
    "快递丢了怎么办",
    "快递送错地址",
    "我的快递到哪了",
    "快递一直不更新",
    "快递太慢了",
    "快递员没有打电话",
]
QUALITY = [
    "衣服质量太差",
    "衣服掉色严重",
    "衣服质量不好",
    "这件衣服起球",
    "衣服破了一个洞",
    "衣服质量有问题",
    "衣服洗了就变形",
    "衣服尺寸不对",
]


def huiyi(*args: object) -> int:
    with pytest.raises(SystemExit) as ended:
        main([*map(str, args)])
    return ended.value.code


@pytest.fixture
def complaints(tmp_path, own_home):
    lines = [text + mark for mark in ("", "！", "，请尽快处理") for text in (*PAYMENT, *DELIVERY, *QUALITY)]
    (tmp_path / "complaints.csv").write_text(
        "\n".join(["text,when", *(f"{line},2026-01-{n % 28 + 1:02d}" for n, line in enumerate(lines))])
    )
    return tmp_path


def test_the_payment_topic_is_found_and_named_with_its_words(complaints, capsys) -> None:
    out, page, run = complaints / "topics.jsonl", complaints / "topics.html", complaints / "run.npz"
    command = ["cluster", complaints / "complaints.csv", "--text", "text", "--date", "when", "-m", "starter"]
    assert huiyi(*command, "--out", out, "--report", page, "--save", run, "--no-outliers") == 0
    printed = capsys.readouterr()
    assert "72 rows" in printed.out
    rows = [json.loads(line) for line in out.read_text("utf-8").splitlines()]
    assert len(rows) == 72
    payment = [row for row in rows if any(row["text"].startswith(text) for text in PAYMENT)]
    names = {row["name"] for row in payment}
    assert any("支付" in name or "付款" in name for name in names)
    assert not any("支付" in row["name"] or "付款" in row["name"] for row in rows if row["text"].startswith(("快递", "衣服")))
    assert huiyi("topics", "rename", run, "0", "改过的名字") == 0
    assert huiyi("topics", "list", run, "--json") == 0
    assert "改过的名字" in capsys.readouterr().out
    chromium = shutil.which("chromium") or shutil.which("google-chrome")
    if chromium:
        flags = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking", "--virtual-time-budget=10000"]
        command = [chromium, *flags, f"--user-data-dir={complaints / 'profile'}", "--dump-dom", page.as_uri()]
        dom = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True).stdout
        assert "main-svg" in dom
        assert "complaints.csv 的主题" in dom


@pytest.mark.parametrize(
    ("options", "code", "sentence"),
    [
        (["--namer", "http://127.0.0.1:1"], 2, "go together"),
        (["--text", "nothing"], 1, "there is no column 'nothing'"),
        (["--method", "hdbscan", "--topics", "3"], 1, "finds its own number"),
        (["--granularity", "-1"], 1, "above 0"),
        (["--report", "x.pdf"], 1, "must end in .html"),
    ],
)
def test_wrong_input_is_one_sentence(complaints, capsys, options, code, sentence) -> None:
    assert (
        huiyi("cluster", complaints / "complaints.csv", "-m", "starter", *(["--text", "text"] if "--text" not in options else []), *options)
        == code
    )
    assert sentence in capsys.readouterr().err


def test_a_collection_that_is_not_there_is_told(own_home, capsys) -> None:
    assert huiyi("cluster", "nowhere") == 1
    assert "there is no collection 'nowhere'" in capsys.readouterr().err


def test_the_topics_of_a_collection_need_no_model(complaints, capsys) -> None:
    assert huiyi("index", "complaints", complaints / "complaints.csv", "--text", "text", "-m", "starter") == 0
    assert huiyi("cluster", "complaints", "--out", complaints / "out.csv", "--json", "--no-outliers") == 0
    result = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert result["rows"] == 72
    assert result["model"].endswith("starter")
    assert len((complaints / "out.csv").read_text("utf-8-sig").splitlines()) == 73
