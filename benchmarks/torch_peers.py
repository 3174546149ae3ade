"""Who takes part in bench_torch: each function loads one way to encode on a device, and its `run` reports the device's peak memory."""

import time
from pathlib import Path

import numpy as np

MATRICES = ((4096, 1024), (1024, 2048), (6144, 1024), (1024, 3072))  # of one layer of the 0.6B shape: qkv, o, gate and up, down
LAYERS = 28
RATE_TOKENS = {"cuda": 16_384, "cpu": 512}
RATE_ROUNDS = {"cuda": 20, "cpu": 1}


class Peer:
    """`run(texts, **how)` gives vectors; `about` what is reported beside them after each run."""

    def __init__(self, device: str, run) -> None:
        self._device, self._run = device, run
        self.about: dict = {}

    def __call__(self, texts, **how):
        import torch

        if self._device == "cuda":
            torch.cuda.reset_peak_memory_stats()
        vectors = self._run(texts, **how)
        if self._device == "cuda":
            torch.cuda.synchronize()
            self.about |= {"device_mb": torch.cuda.max_memory_allocated() // 2**20, "device": torch.cuda.get_device_name()}
        else:
            self.about["device"] = f"CPU, {torch.get_num_threads()} threads"
        return vectors


def packed(folder: str, device: str, compiled: bool) -> Peer:
    """The engine alone: token ids in, batches as large as it wants them, sorted by length as the queue would."""
    from tokenizers import Tokenizer

    from huiyi.engines.checkpoint import open_checkpoint
    from huiyi.engines.torch import TorchEngine

    tokenizer = Tokenizer.from_file(str(Path(folder) / "tokenizer.json"))
    engine = TorchEngine(open_checkpoint(Path(folder)), "bf16", device, compiled=compiled)

    def run(texts):
        rows = [np.array(encoding.ids, np.int32) for encoding in tokenizer.encode_batch(texts)]
        order = sorted(range(len(rows)), key=lambda i: len(rows[i]))
        vectors, batch, tokens = np.empty((len(rows), engine.dim), np.float32), [], 0
        for place, i in enumerate(order):
            batch.append(i)
            tokens += len(rows[i])
            following = len(rows[order[place + 1]]) if place + 1 < len(order) else None
            if following is None or tokens + following > engine.batches.tokens:
                vectors[batch] = engine.forward([rows[j] for j in batch])
                batch, tokens = [], 0
        return vectors

    return Peer(device, run)


def huiyi(folder: str, device: str) -> Peer:
    """Everything: texts in, tokenizer, queue, engine, unit vectors out."""
    from huiyi import workspace

    model = workspace.load(folder, "bf16", device="torch-cpu" if device == "cpu" else device)
    return Peer(device, model.encode)


def sentence_transformers(folder: str, device: str) -> Peer:
    import torch
    from sentence_transformers import SentenceTransformer

    model = SentenceTransformer(folder, device=device, model_kwargs={"dtype": torch.bfloat16})

    def run(texts, batch_size):
        return model.encode(texts, batch_size=batch_size, show_progress_bar=False, convert_to_tensor=True).float().cpu().numpy()

    return Peer(device, run)


def transformers(folder: str, device: str, dtype: str) -> Peer:
    """AutoModel on batches padded on the right, sorted by length; the last token of each row."""
    import torch
    from tokenizers import Tokenizer
    from transformers import AutoModel

    tokenizer = Tokenizer.from_file(str(Path(folder) / "tokenizer.json"))
    model = AutoModel.from_pretrained(folder, dtype=getattr(torch, dtype)).to(device).eval()

    @torch.inference_mode()
    def run(texts, batch_size):
        rows = [encoding.ids for encoding in tokenizer.encode_batch(texts)]
        order = sorted(range(len(rows)), key=lambda i: len(rows[i]))
        vectors = np.empty((len(rows), model.config.hidden_size), np.float32)
        for start in range(0, len(order), batch_size):
            places = order[start : start + batch_size]
            lengths = torch.tensor([len(rows[i]) for i in places], device=device)
            ids = torch.nn.utils.rnn.pad_sequence([torch.tensor(rows[i]) for i in places], batch_first=True).to(device)
            mask = (torch.arange(ids.shape[1], device=device) < lengths[:, None]).long()
            hidden = model(ids, attention_mask=mask).last_hidden_state
            last = hidden[torch.arange(len(places), device=device), lengths - 1].float()
            vectors[places] = torch.nn.functional.normalize(last).cpu().numpy()
        return vectors

    return Peer(device, run)


def matrix_rate(device: str) -> Peer:
    """The model's own matrices in bf16, every layer's in turn as a pass reads them, nothing else. Texts are ignored."""
    import torch

    tokens, rounds = RATE_TOKENS[device], RATE_ROUNDS[device]
    weights = [torch.randn(shape, device=device, dtype=torch.bfloat16) for _ in range(LAYERS) for shape in MATRICES]
    inputs = {inner: torch.randn(tokens, inner, device=device, dtype=torch.bfloat16) for _, inner in MATRICES}

    @torch.inference_mode()
    def run(texts):
        if device == "cuda":
            torch.cuda.synchronize()
        began = time.perf_counter()
        for _ in range(rounds):
            for weight in weights:
                torch.nn.functional.linear(inputs[weight.shape[1]], weight)
        if device == "cuda":
            torch.cuda.synchronize()
        peer.about["multiplied_s_per_token"] = (time.perf_counter() - began) / rounds / tokens
        return np.zeros((1, 1), np.float32)

    peer = Peer(device, run)
    return peer
