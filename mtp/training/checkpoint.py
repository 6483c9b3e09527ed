"""The state of a training on disk: written whole, read back only by the training it belongs to."""

import hashlib
import io
import json
import zipfile
from dataclasses import asdict, dataclass, fields
from pathlib import Path

import numpy as np

from mtp.atomic import atomic_open
from mtp.errors import MTPError
from mtp.training.optimisers import OptimiserState


@dataclass(frozen=True)
class Progress:
    """What a training has reached: the optimiser's state, and what decides when to end.

    reference: loss at the last end of a window; best_*: the coefficients of the lowest validation
    loss and the iteration that reached them.
    """

    state: OptimiserState
    scaling: float
    best_x: np.ndarray
    reference: float = float("inf")
    best_validation: float = float("inf")
    best_iteration: int = 0


def fingerprint(*parts: object) -> str:
    """Hash of everything that decides a training's result (arrays by their bytes)."""
    digest = hashlib.sha256()
    for part in parts:
        data = part.tobytes() if isinstance(part, np.ndarray) else json.dumps(part).encode()
        digest.update(len(data).to_bytes(8, "little") + data)
    return digest.hexdigest()


def save_progress(path: Path, progress: Progress, training: str) -> None:
    """Write atomically; `training` is the fingerprint of the training it belongs to."""
    own = {f.name: getattr(progress, f.name) for f in fields(progress) if f.name != "state"}
    arrays = {f"state_{key}": value for key, value in asdict(progress.state).items()}
    present = {key: value for key, value in {**own, **arrays}.items() if value is not None}
    buffer = io.BytesIO()
    np.savez(buffer, training=np.array(training), **present)
    with atomic_open(path, "wb") as stream:
        stream.write(buffer.getvalue())


def load_progress(path: Path, training: str) -> Progress | None:
    """The saved progress, None without a file; MTPError if it is damaged or of another training."""
    if not path.exists():
        return None
    try:
        with np.load(path, allow_pickle=False) as file:
            values = {key: file[key] for key in file.files}
        belongs_to = str(values.pop("training"))
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
        raise MTPError(f"{path}: is no checkpoint of mlp train; delete it to start anew") from None
    if belongs_to != training:
        raise MTPError(
            f"{path}: belongs to a training with other data, options or start; "
            "delete it to start anew or name another --checkpoint"
        )
    plain = {key: v if v.ndim else v.item() for key, v in values.items()}
    state = OptimiserState(**{k[6:]: v for k, v in plain.items() if k.startswith("state_")})
    return Progress(state, **{k: v for k, v in plain.items() if not k.startswith("state_")})
