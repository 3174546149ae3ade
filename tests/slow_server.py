"""`huiyi serve` with a fake model that takes 10 ms a token: `python slow_server.py serve --port 0`."""

from fakes import FakeEngine
from huiyi import workspace
from live_server import fake_served

if __name__ == "__main__":
    from huiyi.cli.app import main

    workspace.serve = lambda *arguments, **options: [fake_served(FakeEngine(dim=64, sleep_s_per_token=0.01, long_tokens=8192))]
    main()
