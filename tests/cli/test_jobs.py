"""`huiyi jobs` as a person types it, beside the server that does the jobs and without one."""

import json
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

import huiyi
from fake_model import fake_model
from fakes import in_thread, until
from huiyi.cli.app import main
from huiyi.stores.turns import Turns
from huiyi.workspace import jobfile
from huiyi.workspace.jobfile import Job
from huiyi.workspace.jobs import Jobs

TEXTS = ["where is my parcel", "my parcel has not come", "how do I get an invoice", "where is the invoice"]
NOBODY = "no server is at the jobs that have not ended; the next huiyi serve takes them up"


def run(*words: object) -> int:
    with pytest.raises(SystemExit) as ended:
        main(["jobs", *map(str, words)])
    return ended.value.code


@pytest.fixture
def server(own_home: Path) -> Iterator[Jobs]:
    """What works the jobs off, with a collection to work on."""
    with huiyi.open("faq", model=fake_model()) as faq:
        faq.add([{"id": str(number), "text": text} for number, text in enumerate(TEXTS)])
    made = Jobs()
    yield made
    made.close()


@pytest.fixture
def queued(server: Jobs, own_home: Path) -> Job:
    """A job that nobody has begun, and no server."""
    with server.arriving():
        pass
    with Turns(own_home / "jobs" / "lock").taken("the jobs"):
        job = server.submit("summarize", {"collection": "faq", "k": 2}, collection="faq")
        server.close()
    return job


def test_a_job_is_watched_to_its_end_listed_and_shown(server, capsys) -> None:
    job = server.submit("summarize", {"collection": "faq", "k": 2}, collection="faq")
    assert run("watch", job.id) == 0
    assert capsys.readouterr().out == f"{job.id}: summarize succeeded\n"
    assert run("list") == 0
    out, err = capsys.readouterr()
    assert re.search(rf"^{job.id} +summarize +faq +succeeded +took ", out, re.MULTILINE)
    assert err == ""
    assert run("show", job.id) == 0
    shown = capsys.readouterr().out
    assert '"k": 2' in shown
    assert all(str(server.file(job.id, name)) in shown for name in server.get(job.id).files)
    assert run("show", job.id, "--json") == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["state"], told["kind"], told["result"]["coverage"] > 0) == ("succeeded", "summarize", True)
    assert run("cancel", job.id) == 1
    assert "is over: succeeded" in capsys.readouterr().err
    assert run("delete", job.id) == 0
    assert run("show", job.id) == 1
    assert "there is no such job" in capsys.readouterr().err


def test_one_that_fails_says_why_and_is_no_success(server, capsys) -> None:
    job = server.submit("summarize", {"collection": "nowhere"}, collection="nowhere")
    assert run("watch", job.id) == 1
    assert "failed: there is no collection 'nowhere'" in capsys.readouterr().out
    assert run("list", "--json") == 0
    told = json.loads(capsys.readouterr().out)["jobs"][0]
    assert (told["id"], told["error"]["code"]) == (job.id, "not_found")


def test_without_a_server_a_job_waits_and_can_be_cancelled(queued, capsys) -> None:
    assert run("list") == 0
    out, err = capsys.readouterr()
    assert re.search(rf"^{queued.id} +summarize +faq +queued +for ", out, re.MULTILINE)
    assert NOBODY in err
    assert run("delete", queued.id) == 1
    assert "cancel it first" in capsys.readouterr().err
    assert run("cancel", queued.id) == 0
    assert capsys.readouterr().out == f"{queued.id}: cancelled\n"
    assert run("watch") == 1
    assert "no job waits or runs" in capsys.readouterr().err


def test_what_a_killed_server_left_running_can_be_cancelled(queued, own_home, capsys) -> None:
    folder = own_home / "jobs" / queued.id
    jobfile.write(folder, replace(queued, state="running", started=queued.created, attempts=1))
    assert run("cancel", queued.id) == 0
    assert capsys.readouterr().out == f"{queued.id}: cancelled\n"
    assert Jobs().get(queued.id).state == "cancelled"


def test_a_job_of_a_server_is_told_to_end_and_watched_until_it_has(queued, own_home, capsys) -> None:
    folder = own_home / "jobs" / queued.id
    with Turns(own_home / "jobs" / "lock").taken("the jobs"):  # as a server does
        jobfile.write(folder, replace(queued, state="running", started=queued.created, attempts=1))
        assert run("cancel", queued.id) == 0
        assert "is told to end" in capsys.readouterr().out
        assert (folder / jobfile.CANCEL).exists()
        watched = in_thread(run, "watch")
        until(lambda: "summarize running" in capsys.readouterr().err)
        jobfile.write(folder, replace(queued, state="cancelled", started=queued.created, ended=queued.created))
        assert watched.result(60) == 1


def test_without_any_there_is_nothing_to_show(own_home, capsys) -> None:
    assert run("list") == 0
    assert "there are no jobs" in capsys.readouterr().err
    assert not (own_home / "jobs").exists()
    assert run("show", "../../x") == 1
