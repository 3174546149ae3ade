"""`python llama_server.py FILE PORT`: llama.cpp's own server over a GGUF file, by a Python that has `xllamacpp`. Prints its address."""

import sys
import threading

import xllamacpp

params = xllamacpp.CommonParams()
params.model.path = sys.argv[1]
params.embedding = True
params.hostnames, params.port = ["127.0.0.1"], int(sys.argv[2])
params.cpuparams.n_threads = 1
server = xllamacpp.Server(params)
print(f"ready: {server.listening_address}", flush=True)
threading.Event().wait()
