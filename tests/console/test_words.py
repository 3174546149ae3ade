"""The console's texts: both languages everywhere, the same places in both, nothing missing and nothing left over."""

import ast
import re
import string
from importlib.resources import files
from pathlib import Path

import pytest

from conftest import REPOSITORY
from huiyi.console.words import FRAME, LANGUAGES, accepted, speaker, texts

FOLDER = files("huiyi.console").joinpath("texts")
NAMES = sorted(path.name.removesuffix(".toml") for path in FOLDER.iterdir())
SOURCE = REPOSITORY / "src" / "huiyi" / "console"
CHINESE = re.compile(r"[\u4e00-\u9fff]")
SAME_IN_BOTH = re.compile(r"(\{\w+\}|[\W\d_])*|Python|JavaScript|curl|BM25 .*|.*(huiyi|API|http).*")


def places(text: str) -> set[str]:
    return {name for _, name, _, _ in string.Formatter().parse(text) if name}


@pytest.mark.parametrize("name", NAMES)
def test_every_text_is_there_in_both_languages(name: str) -> None:
    for key, (english, chinese) in texts(name).items():
        assert english.strip(), key
        assert places(english) == places(chinese), key
        assert CHINESE.search(chinese) or SAME_IN_BOTH.fullmatch(chinese), f"{key}: not Chinese: {chinese}"


def constants(paths: list[Path]) -> set[str]:
    """Every text in the code, as a pattern; what an f-string puts in may be any word."""
    nodes = [node for path in paths for node in ast.walk(ast.parse(path.read_text("utf-8")))]
    plain = {re.escape(node.value) for node in nodes if isinstance(node, ast.Constant) and isinstance(node.value, str)}
    pieced = {
        "".join(re.escape(str(part.value)) if isinstance(part, ast.Constant) else r"[\w-]+" for part in node.values)
        for node in nodes
        if isinstance(node, ast.JoinedStr)
    }
    return plain | {pattern for pattern in pieced if pattern != r"[\w-]+"}


# Names of states, kinds and the like, which pages get as values.
VALUES = {each for each in constants(sorted(SOURCE.parent.glob("workspace/*.py"))) if re.fullmatch(r"[a-z]+", each)}
SHARED = constants(sorted(SOURCE.glob("*.py")))


@pytest.mark.parametrize("name", NAMES)
def test_no_text_is_left_over(name: str) -> None:
    used = (SHARED if name == FRAME else constants([SOURCE / f"{name}.py"]) | SHARED) | VALUES
    assert [key for key in texts(name) if not any(re.fullmatch(pattern, key) for pattern in used)] == []


def test_a_page_speaks_with_its_own_texts_and_those_of_the_frame() -> None:
    say = speaker("similarity", "zh")
    assert say("title") == "相似度"
    assert say("close") == "关闭"
    assert say("not_found", path="/x") == "/x 不存在。"
    with pytest.raises(KeyError):
        say("no such text")


def test_the_browser_decides_on_the_first_language() -> None:
    assert accepted("zh-CN,zh;q=0.9,en;q=0.8") == "zh"
    assert accepted("en-US,en;q=0.9,zh;q=0.5") == "en"
    assert accepted("fr, zh") == "zh"
    assert accepted("") == "en"
    assert set(LANGUAGES) == {"en", "zh"}
