"""`sglang serve …` and `vllm serve …` as far as their pages say what they take and answer, over the bundled model.

The first word is the program's name. What else is tried: --refuse-to-start, --log-line WORD.
"""

import argparse
import os
import signal
import sys
import threading
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))

import huiyi
from standin_upstream import StandIn, running


def main() -> None:
    program, command, *words = sys.argv[1:]
    parser = argparse.ArgumentParser()
    if program == "sglang":
        parser.add_argument("--model-path", required=True)
        parser.add_argument("--is-embedding", action="store_true", required=True)
    else:
        parser.add_argument("model_path")
        parser.add_argument("--runner", choices=["pooling"], required=True)
    parser.add_argument("--host", required=True)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--served-model-name", required=True)
    parser.add_argument("--refuse-to-start", action="store_true")
    parser.add_argument("--pooling", default="last")
    options = parser.parse_args(words)
    assert command == "serve"
    print(f"{program} starts with pid {os.getpid()}", flush=True)
    if options.refuse_to_start:
        sys.exit("torch.OutOfMemoryError: CUDA out of memory")
    ended = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: ended.set())
    shape = {"form": "float"} if program == "sglang" else {"max_model_len": 513}
    with huiyi.load(options.model_path, threads=1) as model:
        standin = StandIn(model.encoder, name=options.served_model_name, pooling=options.pooling, **shape)
        with running(standin, options.port):
            ended.wait()
    print(f"{program} ended cleanly", flush=True)


if __name__ == "__main__":
    main()
