"""One model on the machines of a real Ray cluster: two nodes here, one of which is killed. Nothing is lost, nothing comes twice."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import huiyi
from conftest import REPOSITORY
from fakes import in_thread, until
from far_models import deadly, differing, refusing
from huiyi import workspace
from huiyi.cli.app import main
from huiyi.encoding.machines import RayEncoder
from huiyi.errors import InvalidInput, ModelFailed, TooLong, Unavailable
from huiyi.model import Model
from huiyi.workspace import How, embed_shards, load, load_on_machines
from tiny import tiny_qwen3

STARTS = 3
SHARDS, ROWS = 6, 1500


@dataclass
class TwoMachines:
    """Two nodes of one CPU. model: a tiny one, which both can read."""

    cluster: Any
    second: Any
    model: str
    home: Path

    @property
    def address(self) -> str:
        return str(self.cluster.address)

    def kill_the_second(self) -> None:
        self.cluster.remove_node(self.second, allow_graceful=False)
        self.second = None

    def start_the_second(self) -> None:
        self.second = self.cluster.add_node(num_cpus=1)

    def load(self, **options: Any) -> Model:
        return load_on_machines(self.address, self.model, "fp32", 1, **options)


def started(start: Callable[[], Any]) -> Any:
    """Ray waits for half a minute at most, which a busy machine may take."""
    for _ in range(STARTS - 1):
        try:
            return start()
        except Exception as error:  # noqa: BLE001
            print("started again:", error)
    return start()


@pytest.fixture(scope="module")
def machines(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TwoMachines]:
    home = tmp_path_factory.mktemp("home")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_USAGE_STATS_ENABLED", "0")
        patch.setenv("HUIYI_HOME", str(home))
        patch.setenv("PYTHONPATH", os.pathsep.join([str(REPOSITORY / "tests"), *filter(None, [os.environ.get("PYTHONPATH")])]))
        import ray
        from ray.cluster_utils import Cluster

        cluster = started(lambda: Cluster(True, head_node_args={"num_cpus": 1, "include_dashboard": False}))
        ray.init(cluster.address, log_to_driver=False, logging_level="ERROR")
        made = TwoMachines(cluster, None, str(tiny_qwen3(tmp_path_factory.mktemp("model") / "tiny")), home)
        try:
            yield made
        finally:
            ray.shutdown()
            cluster.shutdown()


@pytest.fixture
def two(machines: TwoMachines) -> TwoMachines:
    if machines.second is None:
        started(machines.start_the_second)
    return machines


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("texts")
    for shard in range(SHARDS):
        (folder / f"{shard}.txt").write_text("".join(f"{text}\n" for text in texts_of(shard)), "utf-8")
    return folder


@pytest.fixture(scope="module")
def unbroken(machines: TwoMachines, source: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """What one process makes of it, without a cluster."""
    output = tmp_path_factory.mktemp("unbroken")
    with load(machines.model, "fp32", 1) as model:
        embed_shards(source, output, lambda: model)
    return bytes_in(output)


def texts_of(shard: int) -> list[str]:
    return [f"order {shard}-{row}: 包裹什么时候到{' please' * (row % 7)}?" for row in range(ROWS)]


def bytes_in(folder: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in folder.glob("*.npy")}


def both_work(model: Model) -> None:
    encoder = model.encoder
    assert isinstance(encoder, RayEncoder)
    until(lambda: len(encoder.machines) == 2)


def once(condition: Callable[[Any], bool], act: Callable[[], object]) -> Callable[[Any], None]:
    acted: list[bool] = []

    def report(progress: Any) -> None:
        if not acted and condition(progress):
            acted.append(True)
            act()

    report.acted = acted  # type: ignore[attr-defined]
    return report


@pytest.mark.slow
def test_a_machine_that_is_killed_takes_nothing_with_it(two, source, unbroken, tmp_path) -> None:
    said: list[str] = []
    kill = once(lambda progress: progress.rows_done > ROWS, two.kill_the_second)
    with two.load(say=said.append) as model:
        both_work(model)
        result = embed_shards(source, tmp_path / "out", lambda: model, report=kill)
    assert kill.acted
    assert (result.shards, result.failed, result.rows, result.embedded) == (SHARDS, (), SHARDS * ROWS, SHARDS * ROWS)
    assert bytes_in(tmp_path / "out") == unbroken
    listed = [json.loads(line)["file"] for line in (tmp_path / "out" / "huiyi.jsonl").read_text().splitlines()[1:]]
    assert sorted(listed) == sorted(unbroken)
    assert any("its worker is gone" in line for line in said)


@pytest.mark.slow
def test_a_machine_that_joins_is_used(machines, two) -> None:
    machines.kill_the_second()
    with machines.load() as model:
        assert len(model.encoder.machines) == 1
        started(machines.start_the_second)
        both_work(model)
        calls = [in_thread(model.encoder.embed, [text]) for text in texts_of(0)[:40]]
        rows = np.concatenate([call.result(60).vectors for call in calls])
    with load(machines.model, "fp32", 1) as here:
        np.testing.assert_allclose(rows, here.encode(texts_of(0)[:40]), atol=1e-5)


@pytest.mark.slow
def test_a_run_that_was_stopped_goes_on_without_doing_anything_twice(two, source, unbroken, tmp_path) -> None:
    def stop() -> None:
        raise KeyboardInterrupt

    with two.load() as model, pytest.raises(KeyboardInterrupt):
        embed_shards(source, tmp_path / "out", lambda: model, report=once(lambda progress: progress.shards_done == 2, stop))
    with pytest.raises(Unavailable):
        model.encoder.embed(["after the end"])
    with two.load() as model:
        again = embed_shards(source, tmp_path / "out", lambda: model)
    assert (again.whole_before, again.rows) == (2, SHARDS * ROWS)
    assert again.embedded <= (SHARDS - 2) * ROWS
    assert bytes_in(tmp_path / "out") == unbroken


def test_a_broken_file_and_a_text_too_long_fail_alone(two, tmp_path) -> None:
    source = tmp_path / "in"
    source.mkdir()
    (source / "good.txt").write_text("one\ntwo\n")
    (source / "long.txt").write_text("short\n" + "very long " * 2000 + "\n")
    (source / "broken.csv").write_text('text\n"never closed\n')
    with two.load() as model:
        result = embed_shards(source, tmp_path / "out", lambda: model, How(truncate="none"))
    assert [line.partition(":")[0] for line in result.failed] == ["broken.csv", "long.txt"]
    assert "long.txt, line 2: the text has" in result.failed[1]
    assert (result.rows, list(bytes_in(tmp_path / "out"))) == (2, ["good.npy"])


@pytest.mark.slow
def test_a_collection_is_kept_in_step_as_without_a_cluster(two, tmp_path, own_home) -> None:
    def write(rows: list[tuple[str, str]]) -> Path:
        (tmp_path / "faq.jsonl").write_text("".join(json.dumps({"id": id_, "text": text}) + "\n" for id_, text in rows), "utf-8")
        return tmp_path / "faq.jsonl"

    def index(name: str, rows: list[tuple[str, str]], load: Callable[[str | None], Model], **options: Any) -> workspace.Indexed:
        return workspace.index(name, write(rows), load, **options)

    def held(name: str) -> tuple[list[str], np.ndarray]:
        with workspace.open_collection(name, here) as collection:
            contents = collection.contents()
            return list(contents.ids), contents.vectors

    rows = [(str(row), text) for row, text in enumerate(texts_of(0) + texts_of(1))]
    changed = [(id_, text + " 改" if int(id_) % 100 == 0 else text) for id_, text in rows[:-10]]
    here = load(two.model, "fp32", 1)
    kill = once(lambda progress: progress.rows_done > 500, two.kill_the_second)
    with here, two.load() as model:
        both_work(model)
        first = index("far", rows, lambda wanted: model, report=kill)
        assert kill.acted
        assert (first.added, first.embedded) == (len(rows), len(rows))
        again = index("far", rows, lambda wanted: model)
        assert (again.unchanged, again.embedded) == (len(rows), 0)
        synced = index("far", changed, lambda wanted: model)
        assert (synced.changed, synced.deleted, synced.embedded) == (30, 10, 30)
        index("near", changed, lambda wanted: here)
        (ids, vectors), (near_ids, near_vectors) = held("far"), held("near")
        assert sorted(ids) == sorted(near_ids)
        by_id, near_by_id = dict(zip(ids, vectors, strict=True)), dict(zip(near_ids, near_vectors, strict=True))
        np.testing.assert_allclose([by_id[id_] for id_ in near_ids], [near_by_id[id_] for id_ in near_ids], atol=1e-3)


@pytest.mark.slow
def test_a_collection_is_embedded_anew_and_a_machine_is_killed(two, source, tmp_path, own_home) -> None:
    kill = once(lambda progress: progress.rows_done > 500, two.kill_the_second)
    with load("starter", "fp32", 1) as starter, load(two.model, "fp32", 1) as here:
        for name in ("near", "far"):
            workspace.index(name, source / "0.txt", lambda wanted: starter)
        workspace.reindex("near", lambda: here)
    with two.load() as model:
        both_work(model)
        done = workspace.reindex("far", lambda: model, report=kill)
    assert kill.acted
    assert (done.records, done.embedded, done.model) == (ROWS, ROWS, two.model)
    with load(two.model, "fp32", 1) as here, huiyi.open("near", model=here) as near, huiyi.open("far", model=here) as far:
        assert near.contents().ids == far.contents().ids
        np.testing.assert_allclose(near.contents().vectors, far.contents().vectors, atol=1e-3)


@pytest.mark.slow
def test_documents_are_cut_as_without_a_cluster(two, tmp_path, own_home) -> None:
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs" / "a.md").write_text("# Returns\n\n" + " ".join(texts_of(0)[:200]), "utf-8")
    with load(two.model, "fp32", 1) as here, two.load() as model:
        near = workspace.index("near", tmp_path / "docs", lambda wanted: here, chunk_tokens=64)
        far = workspace.index("near", tmp_path / "docs", lambda wanted: model, chunk_tokens=64)
    assert near.added > 5
    assert (far.unchanged, far.embedded) == (near.added, 0)


@pytest.mark.slow
def test_what_keeps_a_model_from_being_loaded_is_told_as_it_was_raised(two, tmp_path) -> None:
    with pytest.raises(InvalidInput, match="no such model on this machine"):
        two.load(load=refusing)
    with pytest.raises(InvalidInput, match="leave --ray out"):
        load_on_machines(two.address, "http://127.0.0.1:1#model")


@pytest.mark.slow
def test_a_machine_that_computes_otherwise_is_left_out(two) -> None:
    said: list[str] = []
    with two.load(load=differing, say=said.append) as model:
        until(lambda: any(line.startswith("left out: ") for line in said))
        used = model.encoder.precision
        assert len(model.encoder.machines) == 1
    other = {"fp32": "int8", "int8": "fp32"}[used]  # whichever came first
    assert f"computes in {other} up to 1024 tokens, the first machine in {used}" in "".join(said)
    assert "name a --precision that all of them have" in "".join(said)


@pytest.mark.slow
def test_texts_that_kill_every_worker_fail_and_others_do_not(two) -> None:
    with two.load(load=deadly) as model:
        with pytest.raises(ModelFailed, match="3 workers died over the same 1 texts"):
            model.encoder.embed(["☠"])
        assert model.encoder.embed(["fine"]).vectors.shape == (1, 64)
        with pytest.raises(TooLong):
            model.encoder.embed(["long " * 5000])


def test_the_command_embeds_on_a_cluster_and_refuses_what_does_not_fit(two, source, unbroken, tmp_path, capsys) -> None:
    def run(*arguments: object) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as ended:
            main(["embed", str(source / "0.txt"), "-o", str(tmp_path / "out"), "--ray", two.address, *map(str, arguments)])
        return (ended.value.code, *capsys.readouterr())

    model = ("--model", two.model, "--precision", "fp32", "--threads", 1)
    code, out, err = run(*model, "--json")
    assert code == 0, err
    assert json.loads(out)["embedded"] == ROWS
    assert bytes_in(tmp_path / "out") == {"0.npy": unbroken["0.npy"]}
    assert "in fp32 on " in err
    assert json.loads(run(*model, "--json")[1])["embedded"] == 0
    code, out, err = run(*model, "--dimensions", 32)
    assert code == 1
    assert f"{tmp_path / 'out'} was made with dim 64, not 32: name another folder, or pass --force" in err


@pytest.mark.slow
def test_on_this_machine_alone_ctrl_c_stops_and_the_same_command_goes_on(two, source, unbroken, tmp_path) -> None:
    command = [sys.executable, str(REPOSITORY / "tests" / "fake_model.py"), "embed", str(source), "-o", str(tmp_path / "out"), "--ray"]
    command += ["local", "--model", two.model, "--precision", "fp32", "--threads", "1", "--json"]
    environment = {**os.environ, "HUIYI_TEST_REAL": "1", "HUIYI_TEST_KEEP": "0"}
    run = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    until(lambda: run.poll() is not None or list((tmp_path / "out").glob("*.npy")) != [])
    run.send_signal(signal.SIGINT)
    _, said = run.communicate(timeout=60)
    assert run.returncode == 130, said
    assert "give the same command again to go on from here" in said
    again = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    assert json.loads(again.stdout)["embedded"] < SHARDS * ROWS
    assert bytes_in(tmp_path / "out") == unbroken
