"""At which level a map of topics is opened where nobody said one."""

from dataclasses import replace

import pytest

from huiyi import workspace
from huiyi.console.explorer import TAKEN_IN, first_level
from huiyi.demo import samples
from huiyi.workspace.jobfile import Job
from huiyi.workspace.topic_maps import TopicMap, open_map

JOB = Job("20260101-000000-00000000", "cluster", "succeeded", "messages", {}, 0.0)


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> TopicMap:
    """Of the demo's messages."""
    folder = tmp_path_factory.mktemp("map")
    with workspace.load("starter", "fp32") as model:
        workspace.cluster_file(samples.MESSAGES, lambda: model, text="text", map_folder=folder / ".map")
    return open_map(folder / ".map")


def test_the_finest_level_that_a_person_takes_in(found: TopicMap) -> None:
    assert found.levels[found.level] > TAKEN_IN
    level = first_level(found, JOB)
    assert 5 < found.levels[level] <= TAKEN_IN < found.levels[level - 1]


def test_the_search_s_own_level_where_it_is_small_enough_or_somebody_said_how_finely(found: TopicMap) -> None:
    coarse = len(found.levels) - 1
    assert first_level(replace(found, level=coarse), JOB) == coarse
    assert first_level(found, replace(JOB, arguments={"n_topics": 46})) == found.level
    assert first_level(found, replace(JOB, arguments={"granularity": 16.0})) == found.level


def test_the_coarsest_level_where_even_that_has_many_topics(found: TopicMap) -> None:
    many = [level for level, topics in enumerate(found.levels) if topics > TAKEN_IN]
    fine = replace(found, about={**found.about, "levels": [found.about["levels"][level] for level in many]})
    assert first_level(fine, JOB) == many[-1]
