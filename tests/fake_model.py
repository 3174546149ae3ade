"""A `Model` on a fake engine, and the command line with it in the place of a real one: `python fake_model.py embed FILE -o OUT`.

HUIYI_TEST_SLEEP: seconds that a token takes. HUIYI_TEST_KEEP: seconds after which rows are certain. HUIYI_TEST_REAL: take a real model.
"""

import os

from fakes import FakeEngine, FakeTokenizer
from huiyi.encoding.encoder import LocalEncoder
from huiyi.model import Model
from huiyi.sources import vectors


def fake_model(engine: FakeEngine | None = None, max_tokens: int = 8192, space: str = "fake") -> Model:
    return Model(LocalEncoder(FakeTokenizer(max_tokens), engine or FakeEngine(), space=space), "fake")


if __name__ == "__main__":
    from huiyi.cli.app import main

    vectors.KEEP_EVERY_S = float(os.environ.get("HUIYI_TEST_KEEP", "2"))
    slow = FakeEngine(sleep_s_per_token=float(os.environ.get("HUIYI_TEST_SLEEP", "0")))
    main(load=None if os.environ.get("HUIYI_TEST_REAL") else lambda model, precision, threads: fake_model(slow))
