"""Trained networks as folders and back: PEFT's own files with a head and huiyi.json beside them, or a whole model folder.

The format is written in docs/training.md. An adapter is checked before it is handed out: its keys are those of the base, it changes
outputs, and merged into the weights it gives what it gave beside them.
"""

import json
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file, save_file

from huiyi.encoding.pairing import PairTemplate
from huiyi.engines.checkpoint import Checkpoint, open_checkpoint
from huiyi.errors import NotFound, UnsupportedModel
from huiyi.training.networks import LABELS, Network, load_base, quiet
from huiyi.training.runs import writing
from huiyi.types import Ids

ABOUT, HEAD, VERSION = "huiyi.json", "head.safetensors", 1
LEAST_COSINE = 0.9999  # of merged to unmerged
PROBES = (3, 8, 21)  # tokens
_KEPT_FILES = ("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "vocab.txt", "sentence_bert_config.json")
_KEPT_OF_FOLDER = ("config_sentence_transformers.json",)


def save(network: Network, folder: Path, about: Mapping[str, Any]) -> None:
    """The files of docs/training.md. about: huiyi.json without `huiyi` and `version`; that file comes last, so a
    folder that has it is whole."""
    folder.mkdir(parents=True, exist_ok=True)
    adapter = hasattr(network.base, "peft_config")
    if adapter:
        with quiet():
            network.base.save_pretrained(folder, safe_serialization=True)
        _name_base(folder, about["base"]["name"])
    else:
        _save_model(network, folder)
    if network.head is not None:
        head = {name: tensor.detach().float().cpu().contiguous() for name, tensor in network.head.state_dict().items()}
        with writing(folder / HEAD) as part:
            save_file(head, part, {"format": "pt"})
    with writing(folder / ABOUT) as part:
        fields = {"huiyi": "adapter" if adapter else "model", "version": VERSION, **about}
        part.write_text(json.dumps(fields, ensure_ascii=False, indent=1), "utf-8")


def _name_base(folder: Path, name: str) -> None:
    """PEFT notes where the base lay on this machine; a name serves others better. Its card is ours to write."""
    file = folder / "adapter_config.json"
    config = json.loads(file.read_text("utf-8")) | {"base_model_name_or_path": name}
    with writing(file) as part:
        part.write_text(json.dumps(config, ensure_ascii=False, indent=2), "utf-8")
    (folder / "README.md").unlink(missing_ok=True)


def _save_model(network: Network, folder: Path) -> None:
    base, root = network.checkpoint, network.checkpoint.path
    with quiet():
        network.base.save_pretrained(folder, safe_serialization=True)
    for name in _KEPT_FILES:
        if (root / name).is_file():
            shutil.copyfile(root / name, folder / name)
    top = root if (root / "modules.json").is_file() else root.parent
    for name in _KEPT_OF_FOLDER:
        if (top / name).is_file():
            shutil.copyfile(top / name, folder / name)
    kinds = ["Transformer", "Pooling", *(["Normalize"] if base.normalize and network.head is None else [])]
    paths = ["", "1_Pooling", "2_Normalize"]
    modules = [{"idx": i, "name": str(i), "path": paths[i], "type": f"sentence_transformers.models.{kind}"} for i, kind in enumerate(kinds)]
    for path in paths[1 : len(kinds)]:
        (folder / path).mkdir(exist_ok=True)
    mode = {"last": "lasttoken"}.get(network.pooling, network.pooling)
    (folder / "modules.json").write_text(json.dumps(modules, indent=2), "utf-8")
    pooling = {"word_embedding_dimension": network.width, "pooling_mode": mode, "include_prompt": True}
    (folder / "1_Pooling" / "config.json").write_text(json.dumps(pooling, indent=2), "utf-8")


def read_about(folder: Path) -> dict[str, Any]:
    """huiyi.json. Raises NotFound, UnsupportedModel."""
    file = folder / ABOUT
    if not file.is_file():
        raise NotFound(f"{folder} has no {ABOUT}: it was not made by huiyi train")
    try:
        about = dict(json.loads(file.read_text("utf-8")))
    except (ValueError, TypeError) as error:
        raise UnsupportedModel(f"{file} is not readable JSON ({error}); train again") from error
    if about.get("version") != VERSION:
        raise UnsupportedModel(f"{file} is of version {about.get('version')!r}, and this huiyi reads {VERSION}; update huiyi")
    return about


def load(base: Path, folder: Path, device: str = "cpu") -> Network:
    """The base with what was trained, in fp32, as `save` wrote it. For a folder of full fine-tuning `base` is not looked at."""
    about = read_about(folder)
    whole = about["huiyi"] == "model"
    checkpoint = open_checkpoint(folder if whole else base)
    if not whole and about["base"]["digest"] != checkpoint.digest:
        raise UnsupportedModel(f"{folder} was trained on {about['base']['name']}, whose weights are not those in {base}")
    model = load_base(checkpoint, torch.float32)
    if not whole:
        model = _with_adapter(model, folder)
    network = Network(model, checkpoint, about["pooling"], about["task"] == "pair-classifier", device, False)
    if network.head is not None:
        head = load_file(folder / HEAD)
        if head["weight"].shape != (LABELS, network.width):
            raise UnsupportedModel(f"{folder / HEAD} is {list(head['weight'].shape)} and should be {[LABELS, network.width]}")
        network.head.load_state_dict(head)
    return network.eval()


def _with_adapter(model: Any, folder: Path) -> Any:
    from peft import PeftModel, load_peft_weights

    with quiet():
        wrapped = PeftModel.from_pretrained(model, folder)
    held = set(load_peft_weights(str(folder), device="cpu"))
    wanted = {name.replace(".default", "") for name, _ in wrapped.named_parameters() if "lora_" in name}
    if held != wanted:
        strange = sorted(held ^ wanted)[0]
        raise UnsupportedModel(f"{folder} does not fit this base: {strange} is on one side only; take the base that it was trained on")
    return wrapped


def merged(network: Network) -> Any:
    """The base of `transformers` with the adapter added to its weights; the network is used up."""
    return network.base.merge_and_unload()


def check(base: Path, folder: Path) -> float:
    """Least cosine of merged to unmerged rows. Raises UnsupportedModel where keys do not match, nothing changes, or merging does."""
    network, plain = load(base, folder), load(base, folder)
    network.head = plain.head = None
    rows = _probes(network.checkpoint)
    with torch.no_grad():
        unmerged = network(rows)
        with plain.base.disable_adapter():
            without = plain(rows)
        if torch.equal(unmerged, without):
            raise UnsupportedModel(f"{folder} has no effect: the base gives the same without it; train it, or leave it out")
        network.base = merged(network)
        cosine = float(torch.nn.functional.cosine_similarity(unmerged, network(rows)).min())
    if cosine < LEAST_COSINE:
        raise UnsupportedModel(f"{folder}: merged into the weights it gives other rows (cosine {cosine:.4f}); train it again")
    return cosine


def _probes(checkpoint: Checkpoint) -> list[Ids]:
    random = np.random.default_rng(0)
    return [random.integers(0, checkpoint.config.vocab_size, length).astype(np.int32) for length in PROBES]


def template_in(about: Mapping[str, Any], where: str) -> PairTemplate | None:
    return PairTemplate.from_json(about["pair"], where) if about["pair"] else None


def counted(network: Network) -> tuple[int, int, int]:
    """Numbers that are trained besides the head, all numbers besides the head, and the head's."""
    head = sum(p.numel() for p in network.head.parameters()) if network.head is not None else 0
    inside: Sequence[Any] = list(network.base.parameters())
    return sum(p.numel() for p in inside if p.requires_grad), sum(p.numel() for p in inside), head
