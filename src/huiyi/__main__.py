"""`python -m huiyi`."""

from huiyi.cli.app import run

run()
