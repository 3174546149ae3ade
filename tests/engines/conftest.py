"""Every kind of engine, one after the other, for what all of them owe."""

import pytest

from engine_kinds import OF_KINDS


@pytest.fixture(scope="module", params=OF_KINDS)
def kind(request):
    with request.param.at_work() as kind:
        yield kind
