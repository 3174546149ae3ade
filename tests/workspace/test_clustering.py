"""Topics of a file, as a program calls it: every row answered, runs compared, pages that stay in their file."""

import json
import threading
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest

from fake_encoder import FakeEncoder
from huiyi import workspace
from huiyi.errors import Conflict, InvalidInput, NotFound
from huiyi.model import Model
from huiyi.workspace.naming import Namer

KINDS = {
    "payment": "card payment declined refund money charge",
    "parcel": "parcel delivery late courier address lost",
    "花呗": "花呗 逾期 还款 征信 账单 利息",
    "login": "password login account locked reset email",
}
EVIL = "</script><script>document.title='broken in'</script>"


def load() -> Model:
    return Model(FakeEncoder(), "fake")


def cluster_file(*args, **options) -> workspace.ClusteredFile:
    return workspace.cluster_file(*args, truncate="none", **options)


def texts(kinds=tuple(KINDS), count: int = 25) -> list[str]:
    random = np.random.default_rng(3)
    return [" ".join(random.choice(KINDS[kind].split(), 4, replace=False)) + f" {n}" for kind in kinds for n in range(count)]


def write(path: Path, lines: list[str], **columns: list[str]) -> Path:
    rows = [{"text": line, **{name: values[i] for name, values in columns.items()}} for i, line in enumerate(lines)]
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), "utf-8")
    return path


def rows(path: Path) -> list[dict]:
    return [json.loads(line) for line in path.read_text("utf-8").splitlines()]


def test_every_row_gets_its_topic_and_name_in_order(tmp_path) -> None:
    lines = [*texts(), "", "  ", texts()[0]]
    source = write(tmp_path / "in.jsonl", lines, name=["theirs"] * len(lines))
    found = cluster_file(source, load, output=tmp_path / "out.jsonl", outliers=False)
    out = rows(tmp_path / "out.jsonl")
    assert [row["text"] for row in out] == lines
    assert (found.rows, found.empty, len(found.topics)) == (103, 2, 4)
    assert [row["topic"] for row in out[100:102]] == [-1, -1]
    assert out[102]["topic"] == out[0]["topic"]
    assert {row["input_name"] for row in out} == {"theirs"}
    for start in range(0, 100, 25):
        assert len({row["topic"] for row in out[start : start + 25]}) == 1
    names = {topic.topic: topic.name for topic in found.topics}
    assert all(row["name"] == names[row["topic"]] for row in out[:100])
    assert any("花呗" in " ".join(topic.words) for topic in found.topics)
    assert sum(topic.rows for topic in found.topics) == 101


def test_shuffled_rows_get_the_same_topics(tmp_path) -> None:
    lines = texts()
    order = np.random.default_rng(0).permutation(len(lines))
    cluster_file(write(tmp_path / "a.jsonl", lines), load, output=tmp_path / "a-out.jsonl")
    cluster_file(write(tmp_path / "b.jsonl", [lines[i] for i in order]), load, output=tmp_path / "b-out.jsonl")
    one, other = ({row["text"]: (row["topic"], row["name"]) for row in rows(tmp_path / f"{name}-out.jsonl")} for name in "ab")
    assert one == other


def test_the_page_holds_the_texts_as_texts_and_fetches_nothing(tmp_path) -> None:
    source = write(tmp_path / "in.jsonl", [*texts(), EVIL], when=[f"2026-01-{1 + n % 28:02d}" for n in range(101)])
    found = cluster_file(source, load, report_file=tmp_path / "r.html", table=tmp_path / "t.csv", date="when", language="en")
    page = (tmp_path / "r.html").read_text("utf-8")
    assert EVIL not in page
    assert "src=" not in page.split("<script")[0]
    assert "Topics of in.jsonl" in page
    for topic in found.topics:
        assert f"{topic.rows:,} rows ({100 * topic.share:.1f} %)" in page
    assert found.period == "day"
    assert sum(sum(topic.per_period) for topic in found.topics) + found.outliers == 101
    assert len((tmp_path / "t.csv").read_text("utf-8-sig").splitlines()) == len(found.topics) + 1


def test_names_and_merges_of_an_earlier_run_are_kept_and_new_topics_told(tmp_path) -> None:
    run = tmp_path / "run.npz"
    first = write(tmp_path / "a.jsonl", texts(("payment", "parcel", "花呗")))
    cluster_file(first, load, save=run, output=tmp_path / "a-out.jsonl", outliers=False)
    topic = {row["text"].split()[-1] + row["text"][:2]: row["topic"] for row in rows(tmp_path / "a-out.jsonl")}
    assert len(set(topic.values())) == 3
    of = [row["topic"] for row in rows(tmp_path / "a-out.jsonl")]
    payment, parcel, huabei = of[0], of[25], of[50]
    workspace.topics_rename(run, huabei, "花呗逾期")
    workspace.topics_merge(run, [payment, parcel])
    assert [len(one.parts) for one in workspace.topics_list(run).shown] == sorted([2, 1], reverse=payment < huabei)
    again = cluster_file(write(tmp_path / "b.jsonl", texts()), load, since=run, outliers=False, output=tmp_path / "b-out.jsonl")
    out = rows(tmp_path / "b-out.jsonl")
    assert {row["name"] for row in out[50:75]} == {"花呗逾期"}
    assert len({row["topic"] for row in out[:50]}) == 1
    assert {topic.name: topic.status for topic in again.topics}[out[75]["name"]] == "new"
    assert sorted(topic.status for topic in again.topics) == ["known", "known", "new"]
    assigned = cluster_file(tmp_path / "b.jsonl", load, assign_to=run, output=tmp_path / "c-out.jsonl")
    out = rows(tmp_path / "c-out.jsonl")
    assert {row["topic"] for row in out[50:75] if row["topic"] >= 0} == {huabei}
    assert np.mean([row["topic"] == -1 for row in out[75:]]) > 0.8
    assert assigned.topics[0].stability is None


def test_runs_of_another_model_and_broken_ones_are_refused(tmp_path) -> None:
    source, run = write(tmp_path / "in.jsonl", texts()), tmp_path / "run.npz"
    cluster_file(source, load, save=run)
    with pytest.raises(Conflict, match="--model"):
        cluster_file(source, lambda: Model(FakeEncoder(32), "other"), since=run)
    with pytest.raises(NotFound, match="no topic 99"):
        workspace.topics_rename(run, 99, "x")
    with pytest.raises(NotFound, match="--save"):
        workspace.topics_list(tmp_path / "none.npz")
    (tmp_path / "bad.npz").write_bytes(b"PK nonsense")
    with pytest.raises(InvalidInput, match="holds no topics"):
        workspace.topics_list(tmp_path / "bad.npz")


@pytest.mark.parametrize("lines", [["one text"], ["same"] * 1000, ["😀", "😀😀", "🎉"], ["a" * 1_000_000, "b"], ["x", "", ""]])
def test_odd_files_get_a_sensible_answer(tmp_path, lines) -> None:
    found = cluster_file(write(tmp_path / "in.jsonl", lines), load, output=tmp_path / "o.jsonl", report_file=tmp_path / "r.html")
    assert sum(topic.rows for topic in found.topics) + found.outliers + found.empty == len(lines)
    assert len(rows(tmp_path / "o.jsonl")) == len(lines)


def refused() -> Model:
    raise AssertionError("the model was loaded")


@pytest.mark.parametrize(
    ("options", "error", "sentence"),
    [
        ({"since": "a.npz", "assign_to": "b.npz"}, InvalidInput, "not both"),
        ({"report_file": Path("r.pdf")}, InvalidInput, r"must end in \.html"),
        ({"output": Path("o.txt")}, InvalidInput, "does not tell how to write"),
        ({"since": Path("none.npz")}, NotFound, "no file"),
        ({"text": "missing"}, NotFound, "no column"),
        ({"date": "missing"}, NotFound, "no column"),
    ],
)
def test_what_can_be_refused_is_refused_before_the_model(tmp_path, options, error, sentence) -> None:
    with pytest.raises(error, match=sentence):
        cluster_file(write(tmp_path / "in.jsonl", texts()), refused, **options)


def test_empty_texts_only_are_refused(tmp_path) -> None:
    with pytest.raises(InvalidInput, match="no text in the column"):
        cluster_file(write(tmp_path / "in.jsonl", ["", " "]), refused)


class Chat(BaseHTTPRequestHandler):
    """Names a topic by its first word, once with a quotation; fails for parcels."""

    def do_POST(self) -> None:
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        words = asked["messages"][0]["content"].split("Words: ")[1].split("\n")[0]
        if "parcel" in words:
            self.send_error(500)
            return
        body = json.dumps({"choices": [{"message": {"content": f'"LLM {words[:4]}"\n'}}]}).encode()
        self.send_response(200)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Quiet."""


def test_a_chat_server_names_topics_and_words_do_where_it_fails(tmp_path) -> None:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Chat)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    source = write(tmp_path / "in.jsonl", texts())
    namer = Namer(f"http://127.0.0.1:{server.server_port}/v1", "m")
    try:
        found = cluster_file(source, load, namer=namer, outliers=False)
    finally:
        server.shutdown()
        server.server_close()
    names = sorted(topic.name for topic in found.topics)
    assert sum(name.startswith("LLM ") for name in names) == 3
    (other,) = [topic for topic in found.topics if not topic.name.startswith("LLM ")]
    assert "parcel" in other.words
    said: list[str] = []
    dead = cluster_file(source, load, namer=replace(namer, timeout_s=0.5), outliers=False, say=said.append)
    assert not any(topic.name.startswith("LLM ") for topic in dead.topics)
    assert any("named by their words" in line for line in said)
    with pytest.raises(InvalidInput, match="no URL"):
        Namer("localhost:11434", "m")
