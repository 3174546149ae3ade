"""What a score means, kept in a file by `evaluate pairs`, used where texts are compared: for the model it was learned on and no other."""

from pathlib import Path

from huiyi import settings
from huiyi.errors import Conflict, HuiyiError, InvalidInput, NotFound
from huiyi.model import Model
from huiyi.training.calibration import Calibration

FILE = "calibration.json"
MOST_BYTES = 1 << 24


def read_calibration(path: Path) -> Calibration:
    """The calibration in the file `path`, or in the folder `path` under the name calibration.json. NotFound, InvalidInput."""
    file = path / FILE if path.is_dir() else path
    try:
        if file.stat().st_size > MOST_BYTES:
            raise InvalidInput(f"{file} is too large to be a calibration")
        return Calibration.from_json(file.read_bytes(), str(file))
    except (FileNotFoundError, NotADirectoryError):
        way_out = "`huiyi evaluate pairs FILE --save-calibration OUT.json` writes one"
        raise NotFound(f"there is no calibration {file}; {way_out}") from None


def require_calibrated_for(calibration: Calibration, model: Model) -> None:
    """Conflict when the scores of `model` are not those that the calibration was learned from."""
    if calibration.space != model.encoder.space:
        raise Conflict(
            f"the calibration was learned on {calibration.model or 'another model'}, and scores of {model.name} mean something else; "
            f"name that model, or learn again with `huiyi evaluate pairs FILE --model {model.name} --save-calibration OUT.json`"
        )


def kept_calibration(model: Model) -> Path | None:
    """The newest of HUIYI_HOME/calibrations that was learned on this model; None where there is none."""
    folder = settings.home() / "calibrations"
    newest_first = sorted(folder.glob("*.json"), key=lambda path: -path.stat().st_mtime) if folder.is_dir() else []
    for path in newest_first:
        try:
            require_calibrated_for(read_calibration(path), model)
        except HuiyiError:
            continue  # another model's, or no calibration
        return path
    return None
