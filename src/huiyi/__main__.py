"""`python -m huiyi`."""

from huiyi.cli.app import main

main()
