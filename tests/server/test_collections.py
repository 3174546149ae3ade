"""Collections, jobs and tasks over HTTP as a client has them: a real server on the starter, and nothing but httpx."""

import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest

from conftest import REPOSITORY
from huiyi import workspace
from huiyi.server.app import Limits, ServerSettings
from huiyi.server.auth import Keys, _parsed
from huiyi.server.guard import Admission
from live_server import client, command, live

LIMIT_S = 300
FAQ = [
    {"id": "1", "text": "花呗逾期会怎样?", "metadata": {"lang": "zh", "price": 9.5, "tags": ["loan", "late"]}},
    {"id": "2", "text": "订单超过48小时未发货怎么办", "metadata": {"lang": "zh", "price": 12}},
    {"id": "3", "text": "How do I get an invoice?", "metadata": {"lang": "en", "price": 3}},
    {"id": "订单/1?x=1", "text": "我的包裹还没有到", "metadata": {"lang": "zh", "open": True}},
]
LINES = {"Content-Type": "application/x-ndjson"}
BYTES = {"Content-Type": "application/octet-stream"}


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("home")


@pytest.fixture(scope="module")
def url(home: Path) -> Iterator[str]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HUIYI_HOME", str(home))
        patch.delenv("HUIYI_MODEL", raising=False)
        with live(workspace.serve(["starter"]), ServerSettings(limits=Limits(max_body_bytes=2**20)), home=home) as url:
            yield url


@pytest.fixture
def http(url: str) -> Iterator[httpx.Client]:
    with client(url) as made:
        yield made


@pytest.fixture
def faq(http: httpx.Client) -> Iterator[str]:
    assert http.post("/v1/collections", json={"name": "faq"}).status_code == 201
    assert http.post("/v1/collections/faq/records", json={"records": FAQ}).status_code == 200
    yield "/v1/collections/faq"
    for job in http.get("/v1/jobs").json()["data"]:
        if job["status"] in ("queued", "running"):
            http.post(f"/v1/jobs/{job['id']}/cancel")
            ended(http, job["id"])
    http.delete("/v1/collections/faq")


def ended(http: httpx.Client, id: str) -> dict:
    end = time.monotonic() + LIMIT_S
    while (job := http.get(f"/v1/jobs/{id}").json())["status"] in ("queued", "running"):
        assert time.monotonic() < end, job
        time.sleep(0.05)
    return job


def submitted(http: httpx.Client, path: str, **body: object) -> dict:
    answer = http.post(path, json=body)
    assert answer.status_code == 202, answer.text
    return ended(http, answer.json()["id"])


def refused(answer: httpx.Response, status: int, code: str, says: str, param: str | None = None) -> None:
    assert answer.status_code == status, answer.text
    error = answer.json()["error"]
    assert set(error) == {"message", "type", "param", "code"}
    assert (error["code"], error["param"]) == (code, param)
    assert says in error["message"]


def test_made_listed_shown_and_deleted(http) -> None:
    made = http.post("/v1/collections", json={"name": "letters", "model": "starter", "instruction": "Find it", "dimensions": 64})
    assert made.status_code == 201
    assert made.json() | {"records": 0, "store": "local", "model": "starter", "dimensions": 64, "instruction": "Find it"} == made.json()
    assert [each["name"] for each in http.get("/v1/collections").json()["data"]] == ["letters"]
    refused(http.post("/v1/collections", json={"name": "letters"}), 409, "conflict", "letters already")
    assert http.delete("/v1/collections/letters").json() == {"name": "letters", "deleted": True, "records": 0}
    refused(http.get("/v1/collections/letters"), 404, "not_found", "no collection letters")
    refused(http.delete("/v1/collections/letters"), 404, "not_found", "no collection letters")
    assert http.get("/v1/collections").json()["data"] == []


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({"name": "../x"}, "name"),
        ({"name": ""}, "name"),
        ({"name": "a", "store": "milvus:http://10.0.0.1:19530"}, "store"),
        ({"name": "a", "colour": "red"}, "colour"),
    ],
)
def test_a_name_is_no_path_and_a_store_no_address(http, body, param) -> None:
    answer = http.post("/v1/collections", json=body)
    assert answer.status_code == 400
    assert answer.json()["error"]["param"] == param


def test_a_model_that_is_not_served_is_named(http) -> None:
    refused(http.post("/v1/collections", json={"name": "a", "model": "nobody"}), 404, "model_not_found", "starter", "model")
    refused(http.post("/v1/collections", json={"name": "a", "dimensions": 7}), 400, "invalid_input", "dimensions must be")


def test_records_are_kept_as_they_were_sent_and_unchanged_ones_cost_nothing(http, faq) -> None:
    again = http.post(f"{faq}/records", json={"records": [*FAQ[:2], FAQ[2] | {"text": "How do I get a receipt?"}]}).json()
    assert (again["added"], again["changed"], again["unchanged"], again["embedded"]) == (0, 1, 2, 1)
    assert http.get(f"{faq}/records/1").json() == FAQ[0]
    assert http.get(f"{faq}/records/订单%2F1%3Fx=1").json() == FAQ[3]
    refused(http.get(f"{faq}/records/none"), 404, "not_found", "no record of this id")
    got = http.post(f"{faq}/get", json={"ids": ["2", "none", "1"]}).json()["data"]
    assert got == [FAQ[1], FAQ[0]]


def test_a_record_that_cannot_be_kept_is_named_and_none_is_added(http, faq) -> None:
    records = [{"id": "9", "text": "new"}, {"id": "10", "text": "new", "metadata": {"size": 2**60}}]
    refused(http.post(f"{faq}/records", json={"records": records}), 400, "invalid_input", "'10'")
    refused(http.post(f"{faq}/records", json={"records": []}), 400, "invalid_input", "records", "records")
    nested = [{"id": "9", "text": "new", "metadata": {"a": {"b": 1}}}]
    assert http.post(f"{faq}/records", json={"records": nested}).status_code == 400
    assert http.get(faq).json()["records"] == 4


def test_search_by_text_by_several_and_by_vector(http, faq) -> None:
    found = http.post(f"{faq}/search", json={"query": "花呗没还会怎么样?", "k": 2}).json()
    [result] = found["results"]
    assert len(result["hits"]) == 2
    assert result["hits"][0] | FAQ[0] == result["hits"][0]
    both = http.post(f"{faq}/search", json={"query": ["花呗没还会怎么样?", "invoice"], "k": 1, "mode": "semantic"}).json()["results"]
    assert [each["hits"][0]["id"] for each in both] == ["1", "3"]
    vector = http.post("/v1/embeddings", json={"input": "花呗没还会怎么样?", "input_type": "query"}).json()["data"][0]["embedding"]
    by_vector = http.post(f"{faq}/search", json={"vector": vector, "k": 1}).json()["results"][0]["hits"]
    assert by_vector[0]["id"] == "1"
    english = http.post(f"{faq}/search", json={"query": "花呗没还会怎么样?", "filter": {"lang": "en"}}).json()
    assert [hit["id"] for hit in english["results"][0]["hits"]] == ["3"]


@pytest.mark.parametrize(
    ("body", "says", "param"),
    [
        ({}, "either a query, or a vector", "query"),
        ({"query": "a", "vector": [1.0]}, "either a query, or a vector", "query"),
        ({"query": "  "}, "not empty", None),
        ({"query": "a", "filter": {"price": {"$near": 3}}}, "$near", None),
        ({"query": "a", "k": 0}, "k", "k"),
        ({"query": "a", "mode": "magic"}, "mode", "mode"),
        ({"vector": [1.0, 2.0]}, "[n, 384]", None),
    ],
)
def test_what_cannot_be_searched_for_is_a_sentence(http, faq, body, says, param) -> None:
    answer = http.post(f"{faq}/search", json=body)
    if "[n," in says:
        says = f"[n, {http.get(faq).json()['dimensions']}]"
    refused(answer, 400, "invalid_input", says, param)


def test_too_many_hits_are_refused_before_they_are_looked_for(http, faq) -> None:
    refused(http.post(f"{faq}/search", json={"query": ["a"] * 20, "k": 1000}), 413, "too_large", "10,000")


def test_a_scroll_shows_every_record_once(http, faq) -> None:
    seen, after = [], None
    while True:
        page = http.get(f"{faq}/records", params={"limit": 3} | ({"after": after} if after else {})).json()
        seen += [record["id"] for record in page["data"]]
        after = page["next"]
        if after is None:
            break
    assert seen == [record["id"] for record in FAQ]
    chinese = http.post(f"{faq}/scroll", json={"filter": {"lang": "zh", "price": {"$lt": 10}}}).json()
    assert (chinese["data"], chinese["next"]) == ([FAQ[0]], None)
    refused(http.get(f"{faq}/records", params={"after": "nonsense"}), 400, "invalid_input", "`next`")


def test_deleting_by_id_by_filter_and_not_by_nothing(http, faq) -> None:
    assert http.delete(f"{faq}/records/订单%2F1%3Fx=1").json() == {"deleted": 1}
    assert http.post(f"{faq}/delete", json={"ids": ["1", "none"]}).json() == {"deleted": 1}
    assert http.post(f"{faq}/delete", json={"filter": {"lang": "en"}}).json() == {"deleted": 1}
    for body in ({}, {"filter": {}}, {"ids": ["2"], "filter": {"lang": "zh"}}):
        refused(http.post(f"{faq}/delete", json=body), 400, "invalid_input", "either ids, or a filter", "ids")
    assert http.get(faq).json()["records"] == 1


def test_lines_are_added_as_they_come(http, faq) -> None:
    def body() -> Iterator[bytes]:
        for number in range(3_000):
            yield (json.dumps({"id": f"l{number}", "text": f"第 {number % 50} 件商品什么时候发货"}) + "\n").encode()
            if number == 1_500:
                yield b"\n  \n"

    answer = http.post(f"{faq}/records/jsonl", content=body(), headers=LINES)
    assert answer.status_code == 200, answer.text
    assert answer.json() | {"added": 3_000, "changed": 0, "unchanged": 0} == answer.json()
    assert http.get(faq).json()["records"] == 3_004
    again = http.post(f"{faq}/records/jsonl", content=b"".join(body()), headers=LINES).json()
    assert (again["unchanged"], again["embedded"]) == (3_000, 0)


def test_a_line_that_cannot_be_read_is_named_and_what_came_before_stays(http, faq) -> None:
    good = b"".join(json.dumps({"id": f"l{n}", "text": "x"}).encode() + b"\n" for n in range(300))
    answer = http.post(f"{faq}/records/jsonl", content=good + b'{"id": "l300", "te\n', headers=LINES)
    refused(answer, 400, "invalid_input", "line 301 is not JSON")
    assert "256 records before are kept" in answer.json()["error"]["message"]
    assert http.get(faq).json()["records"] == 4 + 256
    refused(http.post(f"{faq}/records/jsonl", content=b"[1]", headers=LINES), 400, "invalid_input", "line 1 is no object")
    refused(http.post(f"{faq}/records/jsonl", content=b"x" * (2**20 + 1), headers=LINES), 413, "too_large", "line 1 is longer")
    refused(http.post(f"{faq}/records/jsonl", json={"id": "1"}), 415, "unsupported_media_type", "x-ndjson")
    assert http.post(f"{faq}/records/jsonl", content=b"", headers=LINES).json()["added"] == 0


def test_a_file_is_indexed_by_a_job(http, faq) -> None:
    table = "id,question,lang\n1,花呗逾期会怎样?,zh\n7,可以用支付宝付款吗,zh\n"
    answer = http.post(f"{faq}/index", params={"filename": "faq.csv", "text": "question"}, content=table.encode("gb18030"), headers=BYTES)
    assert answer.status_code == 202, answer.text
    assert answer.json()["status"] in ("queued", "running", "succeeded")
    job = ended(http, answer.json()["id"])
    assert job["status"] == "succeeded", job
    assert job["result"] | {"added": 1, "changed": 1, "deleted": 3, "records": 2} == job["result"]
    assert [record["id"] for record in http.get(f"{faq}/records").json()["data"]] == ["1", "7"]
    wrong = http.post(f"{faq}/index", params={"filename": "faq.csv", "text": "nothing"}, content=table.encode(), headers=BYTES)
    job = ended(http, wrong.json()["id"])
    assert (job["status"], job["error"]["status"]) == ("failed", 404)
    assert "question" in job["error"]["message"]
    refused(http.post(f"{faq}/index", content=b"x", headers=BYTES), 400, "invalid_input", "filename", "query")


def test_topics_repeats_and_summaries_of_a_collection(http, faq) -> None:
    texts = ["快递什么时候到", "我的包裹还没收到", "物流一直不更新", "怎么申请退款", "退款多久到账", "退款多久到账"]
    records = [{"id": f"t{n}", "text": text} for n, text in enumerate(texts)]
    http.post(f"{faq}/records", json={"records": records})
    topics = submitted(http, f"{faq}/cluster", granularity=1.0)
    assert topics["status"] == "succeeded", topics
    assert sum(topic["rows"] for topic in topics["result"]["topics"]) + topics["result"]["outliers"] == 10
    lines = http.get(f"/v1/jobs/{topics['id']}/files/topics.jsonl")
    assert [json.loads(line)["id"] for line in lines.text.splitlines()] == [record["id"] for record in [*FAQ, *records]]
    page = http.get(f"/v1/jobs/{topics['id']}/files/topics.html")
    assert page.headers["content-type"] == "text/html; charset=utf-8"
    assert page.headers["content-security-policy"] == "sandbox allow-scripts"
    refused(http.get(f"/v1/jobs/{topics['id']}/files/none"), 404, "not_found", "topics.jsonl")
    later = submitted(http, f"{faq}/cluster", since=topics["id"])
    assert later["status"] == "succeeded", later
    repeats = submitted(http, f"{faq}/dedup")
    assert repeats["result"]["exact"] == 1
    assert (repeats["result"]["repeats"][0]["id"], repeats["result"]["repeats"][0]["stays_id"]) == ("t5", "t4")
    summary = submitted(http, f"{faq}/summarize", k=2)
    assert len({line["id"] for line in summary["result"]["lines"]}) == 2
    export = submitted(http, f"{faq}/export", format="csv", filter={"lang": "en"})
    assert "How do I get an invoice?" in http.get(f"/v1/jobs/{export['id']}/files/faq.csv").text


def test_recommendations_are_answered_at_once(http, faq) -> None:
    http.post(f"{faq}/records", json={"records": [{"id": "8", "text": "包裹到哪里了"}, {"id": "9", "text": "可以开发票吗"}]})
    found = http.post(f"{faq}/recommend", json={"like": ["订单/1?x=1"], "k": 3, "diversity": 0.0}).json()["data"]
    assert found[0]["id"] == "8"
    assert {each["because"] for each in found} == {"订单/1?x=1"}
    only = http.post(f"{faq}/recommend", json={"like": ["1"], "filter": {"lang": "en"}}).json()["data"]
    assert [each["id"] for each in only] == ["3"]
    refused(http.post(f"{faq}/recommend", json={"like": ["none"]}), 404, "not_found", "none")
    refused(http.post(f"{faq}/recommend", json={}), 400, "invalid_input", "start from", "like")


def test_a_classifier_is_fitted_and_used(http, faq) -> None:
    parcels = ["快递什么时候到", "包裹还没收到", "物流不更新", "什么时候发货", "快递到哪了", "能不能快点发货"]
    money = ["怎么申请退款", "退款多久到账", "钱退到哪里", "退款失败怎么办", "能退钱吗", "退款进度怎么查"]
    records = [{"id": f"{kind}{n}", "text": text, "metadata": {"intent": kind}} for kind, some in (("物流", parcels), ("退款", money))
               for n, text in enumerate(some)]  # fmt: skip
    http.post(f"{faq}/records", json={"records": records})
    fitted = submitted(http, f"{faq}/classify/fit", classifier="intents", label="intent")
    assert fitted["status"] == "succeeded", fitted
    assert fitted["result"]["classes"] == 2
    predicted = submitted(http, f"{faq}/classify", classifier="intents")
    assert predicted["result"]["rows"] == 16
    texts = ["我的快递呢", "什么时候能退款"]
    answer = http.post("/v1/classify", json={"texts": texts, "classifier": "intents"}).json()
    assert [each["best"] for each in answer["data"]] == ["物流", "退款"]
    named = http.post("/v1/classify", json={"texts": texts, "labels": ["快递物流", "退款退钱"]}).json()
    assert [each["label"] for each in named["data"]] == ["快递物流", "退款退钱"]
    refused(http.post("/v1/classify", json={"texts": texts}), 400, "invalid_input", "either", "classifier")
    refused(http.post("/v1/classify", json={"texts": texts, "classifier": "none"}), 404, "not_found", "none")


def test_tasks_on_a_few_texts_are_answered_at_once(http) -> None:
    texts = ["快递什么时候到", "包裹什么时候到", "怎么申请退款", "如何申请退款", "怎么申请退款"]
    topics = http.post("/v1/cluster", json={"texts": texts, "method": "kmeans", "n_topics": 2}).json()
    assert topics["usage"]["total_tokens"] > 0
    assert sorted(sorted(topic["ids"]) for topic in topics["result"]["topics"]) == [["0", "1"], ["2", "3", "4"]]
    repeats = http.post("/v1/dedup", json={"texts": texts, "ids": list("abcde"), "threshold": 0.99}).json()["result"]
    assert repeats["groups"][0]["id"] == "c"
    assert "e" in [each["id"] for each in repeats["groups"][0]["repeats"]]
    assert "e" not in repeats["kept"]
    lines = http.post("/v1/summarize", json={"texts": texts, "k": 2}).json()["result"]["lines"]
    assert len(lines) == 2
    liked = http.post("/v1/recommend", json={"texts": texts, "like": ["0"], "k": 1}).json()["data"]
    assert liked[0]["text"] == "包裹什么时候到"
    refused(http.post("/v1/cluster", json={"texts": [" "]}), 400, "invalid_input", "not empty")
    refused(http.post("/v1/dedup", json={"texts": texts, "ids": ["a"]}), 400, "invalid_input", "as many as texts")


def test_a_job_is_cancelled_and_forgotten(http, faq) -> None:
    lines = "".join(json.dumps({"id": str(n), "text": f"第 {n} 个问题: 第 {n} 件东西什么时候发货?"}) + "\n" for n in range(30_000))
    params = {"filename": "many.jsonl", "keep_missing": "true"}
    id_ = http.post(f"{faq}/index", params=params, content=lines.encode(), headers=BYTES).json()["id"]
    refused(http.delete("/v1/collections/faq"), 409, "conflict", id_)
    refused(http.delete(f"/v1/jobs/{id_}"), 409, "conflict", "cancel it first")
    assert http.post(f"/v1/jobs/{id_}/cancel").status_code == 200
    assert ended(http, id_)["status"] == "cancelled"
    refused(http.post(f"/v1/jobs/{id_}/cancel"), 409, "conflict", "cancelled")
    assert http.get(faq).json()["records"] < 30_004
    assert http.delete(f"/v1/jobs/{id_}").json() == {"id": id_, "deleted": True}
    refused(http.get(f"/v1/jobs/{id_}"), 404, "not_found", "no such job")


def test_the_commands_of_the_documentation_work(url, http, tmp_path) -> None:
    page = (REPOSITORY / "docs" / "server.md").read_text("utf-8")
    part = page[page.index("\n## Collections\n") : page.index("\n## Other addresses\n")]
    script = "".join(re.findall(r"```bash\n(.*?)```", part, re.DOTALL)).replace("http://127.0.0.1:30000", url)
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    environment = os.environ | {"NO_PROXY": "127.0.0.1", "no_proxy": "127.0.0.1", "PATH": path}
    done = subprocess.run(["bash", "-euo", "pipefail", "-c", script], capture_output=True, text=True, cwd=tmp_path, env=environment)
    assert done.returncode == 0, done.stderr
    assert '"label":"refund"' in done.stdout
    [job] = [job for job in http.get("/v1/jobs").json()["data"] if job["collection"] == "letters"]
    assert ended(http, job["id"])["status"] == "succeeded"
    http.delete("/v1/collections/letters")


def test_many_clients_write_search_and_delete_at_once(url, http, faq) -> None:
    def work(number: int) -> None:
        with client(url) as own:
            for turn in range(5):
                record = {"id": f"{number}-{turn}", "text": f"问题 {number} 和 {turn}"}
                assert own.post(f"{faq}/records", json={"records": [record]}).json()["added"] == 1
                assert own.post(f"{faq}/search", json={"query": record["text"], "k": 3}).status_code == 200
                assert own.get(f"{faq}/records/{record['id']}").json()["text"] == record["text"]
            assert own.post(f"{faq}/delete", json={"ids": [f"{number}-0"]}).json() == {"deleted": 1}

    with ThreadPoolExecutor(8) as threads:
        list(threads.map(work, range(8)))
    assert http.get(faq).json()["records"] == 4 + 8 * 4


def test_metrics_count_and_hold_no_texts(http, faq) -> None:
    http.post(f"{faq}/search", json={"query": "花呗"})
    page = http.get("/metrics").text
    for line in ('huiyi_records_total{change="added"}', "huiyi_searches_total", "huiyi_open_collections 1.0"):
        assert line in page
    assert "花呗" not in page
    assert '/v1/collections/{name}/search"' in page


@pytest.fixture(scope="module")
def keyed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    home = tmp_path_factory.mktemp("keyed")
    keys: Keys = _parsed("admin-key-1\nread:read-key-1", "here")
    with live(workspace.serve(["starter"], cache=False), ServerSettings(Admission(keys=keys)), home=home) as url:
        yield url


def test_a_key_that_may_read_searches_and_changes_nothing(keyed) -> None:
    with client(keyed, Authorization="Bearer admin-key-1") as admin, client(keyed, Authorization="Bearer read-key-1") as reader:
        assert admin.post("/v1/collections", json={"name": "faq"}).status_code == 201
        assert admin.post("/v1/collections/faq/records", json={"records": FAQ}).status_code == 200
        asking = {"search": {"query": "花呗"}, "search/compare": {"query": "花呗"}, "answer": {"question": "花呗"}}
        for path, body in (asking | {"scroll": {}, "get": {"ids": ["1"]}, "recommend": {"like": ["1"]}}).items():
            assert reader.post(f"/v1/collections/faq/{path}", json=body).status_code == 200
        for path in ("/v1/collections", "/v1/collections/faq", "/v1/collections/faq/records/1", "/v1/jobs"):
            assert reader.get(path).status_code == 200
        for path, body in (("records", {"records": FAQ}), ("delete", {"ids": ["1"]}), ("cluster", {}), ("reindex", {})):
            refused(reader.post(f"/v1/collections/faq/{path}", json=body), 403, "forbidden", "admin key")
        refused(reader.post("/v1/collections", json={"name": "b"}), 403, "forbidden", "admin key")
        refused(reader.post("/v1/collections/faq/index?filename=a.csv", content=b"x", headers=BYTES), 403, "forbidden", "admin key")
        refused(reader.delete("/v1/collections/faq"), 403, "forbidden", "admin key")
        refused(reader.delete("/v1/collections/faq/records/search"), 403, "forbidden", "admin key")
        assert httpx.get(f"{keyed}/v1/collections", trust_env=False).status_code == 401
        assert admin.delete("/v1/collections/faq").status_code == 200


def test_a_server_that_was_killed_takes_its_job_up_again_and_logs_no_texts(tmp_path) -> None:
    home, log = tmp_path / "home", tmp_path / "log"
    log.mkdir()
    lines = "".join(json.dumps({"id": str(n), "text": f"机密文字 {n}: 第 {n} 件东西什么时候发货?"}) + "\n" for n in range(6_000))
    with command(home, "--model", "starter", "--log-requests", log=log) as (process, url), client(url) as http:
        params = {"filename": "many.jsonl"}
        id_ = http.post("/v1/collections/faq/index", params=params, content=lines.encode(), headers=BYTES).json()["id"]
        end = time.monotonic() + LIMIT_S
        while http.get(f"/v1/jobs/{id_}").json()["progress"] is None:
            assert time.monotonic() < end
            time.sleep(0.05)
        process.kill()
        process.wait()
    again = tmp_path / "again"
    again.mkdir()
    with command(home, "--model", "starter", log=again) as (_, url), client(url) as http:
        job = ended(http, id_)
        assert job["status"] == "succeeded", job
        assert job["attempts"] == 2
        assert http.get("/v1/collections/faq").json()["records"] == 6_000
    assert "机密文字" not in (log / "err").read_text() + (again / "err").read_text()
