"""semhash on given vectors, in an environment of its own: python semhash_peer.py VECTORS.npy THRESHOLDS.json OUT.json

Writes for each threshold the group of every row (the row it is a repeat of, itself where it stays) and the seconds it took.
"""

import json
import sys
import time
from pathlib import Path

import numpy as np
from semhash import SemHash

vectors = np.load(sys.argv[1])
records = [{"text": str(row)} for row in range(len(vectors))]


class Given:
    """semhash asks for a model; all vectors are given."""

    def encode(self, inputs, **_):
        raise RuntimeError("nothing should be embedded here")


began = time.perf_counter()
index = SemHash.from_embeddings(vectors, records, Given(), columns=["text"])
built = time.perf_counter() - began
found = []
for threshold in json.loads(Path(sys.argv[2]).read_text()):
    began = time.perf_counter()
    result = index.self_deduplicate(threshold=threshold)
    owner = {row: row for row in range(len(vectors))}
    for gone in result.filtered:
        owner[int(gone.record["text"])] = int(gone.duplicate_of["text"])
    for row in owner:  # a repeat of a repeat is one of what that repeats
        while owner[row] != owner[owner[row]]:
            owner[row] = owner[owner[row]]
    found.append(
        {"threshold": threshold, "seconds": built + time.perf_counter() - began, "owner": [owner[row] for row in range(len(vectors))]}
    )
Path(sys.argv[3]).write_text(json.dumps(found))
