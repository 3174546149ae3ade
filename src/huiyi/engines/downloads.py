"""Files of a model from a hub's servers, through the hub's own library: Hugging Face (or a mirror, HF_ENDPOINT) and ModelScope.

Only JSON, text and safetensors files are ever fetched: no pickles, no code. Every failure becomes an error that names a way out.
"""

import hashlib
import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol

from huiyi.errors import HuiyiError, MissingExtra, NotFound, Unavailable, UnsupportedModel

SMALL_FILES = ["*.json", "vocab.txt", "merges.txt", "README.md", "LICENSE*"]
_OTHER_WAYS = (
    "Set HF_ENDPOINT to a mirror you can reach, take the model from ModelScope (modelscope:owner/name), or give a folder that holds it"
)


class Hub(Protocol):
    """One model on one hub."""

    def small_files(self) -> Path:
        """Fetch all that is not weights; the folder it lies in."""
        ...

    def weights(self, folder: Path, files: list[str]) -> None:
        """Fetch these files into the folder that `small_files` gave. Raises UnsupportedModel where the hub has none of the name."""
        ...


def weight_files(root: Path) -> list[str]:
    """The names of the weights that belong to the small files in a folder."""
    index = root / "model.safetensors.index.json"
    return sorted(set(json.loads(index.read_text("utf-8"))["weight_map"].values())) if index.is_file() else ["model.safetensors"]


def no_safetensors(name: str) -> UnsupportedModel:
    return UnsupportedModel(
        f"{name} has no safetensors weights on the hub, and pickled ones are never read. Convert it once with transformers: "
        f"AutoModel.from_pretrained({name!r}).save_pretrained(folder, safe_serialization=True), and the tokenizer likewise"
    )


class HuggingFace:
    def __init__(self, name: str, revision: str | None, offline: bool) -> None:
        from huggingface_hub import constants

        self.name, self.revision, self.offline = name, revision, offline or constants.HF_HUB_OFFLINE
        self.endpoint = constants.ENDPOINT

    def small_files(self) -> Path:
        from huggingface_hub import snapshot_download

        with self._translated():
            return Path(snapshot_download(self.name, revision=self.revision, allow_patterns=SMALL_FILES, local_files_only=self.offline))

    def weights(self, folder: Path, files: list[str]) -> None:
        from huggingface_hub import hf_hub_download

        for file in files:
            if (folder / file).is_file():
                continue
            if self.offline:
                raise self._not_here()
            with self._translated():
                # The cache names its folders by commit: all files come from the same one, whatever is pushed in between.
                self._fetch(file, commit=folder.name)
                hf_hub_download(self.name, file, revision=folder.name)

    def _fetch(self, file: str, commit: str) -> None:
        """Put a large file into the library's cache under its checksum, going on where an earlier run stopped.

        The library itself starts anew in every run: a lost line would cost the whole gigabyte.
        """
        from huggingface_hub import constants, get_hf_file_metadata, get_token, hf_hub_url
        from huggingface_hub.file_download import http_get, repo_folder_name
        from huggingface_hub.utils import WeakFileLock  # type: ignore[attr-defined]  # public, but not marked as such

        url = hf_hub_url(self.name, file, revision=commit)
        about = get_hf_file_metadata(url)
        if not about.etag:
            return
        blob = Path(constants.HF_HUB_CACHE) / repo_folder_name(repo_id=self.name, repo_type="model") / "blobs" / about.etag
        part = blob.with_name(f"{about.etag}.part")
        blob.parent.mkdir(parents=True, exist_ok=True)
        with WeakFileLock(part.with_suffix(".part.lock")):
            if blob.exists():
                return
            with part.open("ab") as stream:
                headers = {"authorization": f"Bearer {token}"} if (token := get_token()) else {}
                http_get(url, stream, resume_size=stream.tell(), headers=headers, expected_size=about.size, displayed_filename=file)
            with part.open("rb") as stream:
                checksum = hashlib.file_digest(stream, "sha256").hexdigest()
            if re.fullmatch("[0-9a-f]{64}", about.etag) and checksum != about.etag:  # large files go by their SHA-256
                part.unlink()
                raise Unavailable(f"{file} of {self.name} arrived damaged (its SHA-256 differs) and was removed: pull it again")
            part.replace(blob)

    def _not_here(self) -> NotFound:
        return NotFound(f"{self.name} is not on this machine, or not whole, and the network is switched off: pull it once while online")

    @contextmanager
    def _translated(self) -> Iterator[None]:
        from huggingface_hub import errors

        try:
            yield
        except HuiyiError:
            raise
        except errors.GatedRepoError as error:
            raise NotFound(f"{self.name} is gated: accept its terms on its page at {self.endpoint} and set HF_TOKEN") from error
        except (errors.RepositoryNotFoundError, errors.HFValidationError) as error:
            raise NotFound(
                f"there is no folder {self.name} and no model of that name at {self.endpoint} (a private one needs HF_TOKEN). {_OTHER_WAYS}"
            ) from error
        except errors.RevisionNotFoundError as error:
            raise NotFound(f"{self.name} has no revision {self.revision!r} at {self.endpoint}") from error
        except errors.LocalEntryNotFoundError as error:
            if self.offline:
                raise self._not_here() from error
            raise Unavailable(f"{self.endpoint} cannot be reached, and {self.name} is not on this machine. {_OTHER_WAYS}") from error
        except errors.EntryNotFoundError as error:
            raise no_safetensors(self.name) from error
        except Exception as error:  # the library's HTTP client, and with it these classes, changed twice in two years
            raise Unavailable(
                f"the download of {self.name} broke off ({error}). Run it again: it goes on where it stopped. {_OTHER_WAYS}"
            ) from error


class ModelScope:
    """Resumes and checks by itself; its servers are set by MODELSCOPE_ENDPOINT."""

    def __init__(self, name: str, revision: str | None, offline: bool) -> None:
        self.name, self.revision, self.offline = name, revision, offline

    def small_files(self) -> Path:
        return self._snapshot(SMALL_FILES)

    def weights(self, folder: Path, files: list[str]) -> None:
        self._snapshot(files)
        if not all((folder / file).is_file() for file in files):
            raise no_safetensors(self.name)

    def _snapshot(self, patterns: list[str]) -> Path:
        try:
            from modelscope import snapshot_download
        except ImportError as error:
            raise MissingExtra("Downloading from ModelScope", "modelscope") from error
        try:
            return Path(snapshot_download(self.name, revision=self.revision, allow_patterns=patterns, local_files_only=self.offline))
        except Exception as error:  # classes of its HTTP client, its own, and plain ValueError
            missing = self.offline or re.search(r"404|not (exist|found)", str(error), re.IGNORECASE)
            kind = NotFound if missing else Unavailable
            raise kind(f"{self.name} cannot be had from ModelScope ({error}). Check the name, or give a folder that holds it") from error
