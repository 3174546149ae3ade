"""Models by name or folder."""

import pytest

from huiyi import workspace
from huiyi.errors import HuiyiError, InvalidInput


def test_a_model_must_be_named(own_home) -> None:
    with pytest.raises(InvalidInput, match=r"--model NAME .* HUIYI_MODEL"):
        workspace.load()
    with pytest.raises(HuiyiError, match=r"no/such/folder"):
        workspace.load("./no/such/folder")
