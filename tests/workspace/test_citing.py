"""A reply written by a chat server: what it is asked, what its citations are, and what happens when it fails."""

from collections.abc import Iterator

import pytest

from chat_server import Server
from huiyi.errors import InvalidInput, Unavailable
from huiyi.workspace.citing import Writer, citations, writer


@pytest.fixture
def server() -> Iterator[Server]:
    made = Server()
    yield made
    made.shutdown()
    made.server_close()


def test_passages_are_numbered_and_the_key_is_the_environments(server, monkeypatch) -> None:
    monkeypatch.setenv("HUIYI_LLM_KEY", "secret")
    reply = writer(server.url, "m").reply("How long?", ["Five days.", "Six\nweeks."])
    assert (reply.text, reply.cited, reply.unknown) == ("It takes 5 days [1].", (1,), ())
    (asked,) = server.asked
    assert (asked["path"], asked["model"], server.keys) == ("/v1/chat/completions", "m", ["Bearer secret"])
    content = asked["messages"][0]["content"]
    assert "[1] Five days.\n[2] Six weeks." in content
    assert content.endswith("Question: How long?")


def test_without_a_key_none_is_sent(server, monkeypatch) -> None:
    monkeypatch.delenv("HUIYI_LLM_KEY", raising=False)
    writer(server.url + "/chat/completions", "m").reply("?", ["a"])
    assert server.keys == [None]
    assert server.asked[0]["path"] == "/v1/chat/completions"


def test_a_citation_of_a_passage_that_is_none_is_noticed(server) -> None:
    server.says = "Yes [2], no [7], and 【0】."
    reply = Writer(server.url, "m").reply("?", ["a", "b"])
    assert (reply.cited, reply.unknown) == ((2,), (7, 0))


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("no", ()),
        ("[1][2] [1]", (1, 2)),
        ("见【3】和[1、2]。", (3, 1, 2)),
        ("[1, 4] [2-4]", (1, 4, 2, 3)),
        ("an array a[i], [note], [1a]", ()),
        ("[9-999999]", tuple(range(9, 60))),
    ],
)
def test_citations_in_the_forms_that_models_write(text, found) -> None:
    assert citations(text) == found


@pytest.mark.parametrize("says", [None, "", "  \n"])
def test_a_server_without_a_reply_is_told_with_the_way_out(server, says) -> None:
    server.says = says
    with pytest.raises(Unavailable, match="leave --llm out"):
        Writer(server.url, "m").reply("?", ["a"])


def test_a_server_that_is_not_there_and_an_address_that_is_none(server) -> None:
    server.shutdown()
    server.server_close()
    with pytest.raises(Unavailable, match="gave no reply"):
        Writer(server.url, "m").reply("?", ["a"])
    with pytest.raises(InvalidInput, match="no URL"):
        Writer("localhost:1234", "m")
