"""Models of understanding: the one that comes with the program, and the desk's own in the data folder's models/.

`promoted.json` there names the one in charge, with its fingerprint: a file that was changed since it was judged is not trusted. Only
`qingting promote` writes it (learning.py). Each machine reads its own folder at its start.
"""

from __future__ import annotations

import hashlib
import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from bot.settings import ConfigProblem, Settings, reason

PACKAGED: Final = "packaged"
PROMOTED: Final = "promoted"
_POINTER: Final = "promoted.json"


@dataclass(frozen=True, slots=True)
class Chosen:
    """A model file and what it must be."""

    path: Path
    sha256: str


def folder(settings: Settings) -> Path:
    """Where the desk's own models are; made when it is missing. Raises ConfigProblem."""
    home = settings.storage.data / "models"
    try:
        home.mkdir(parents=True, exist_ok=True, mode=0o700)
    except OSError as error:
        raise ConfigProblem(f"{home}：建不了目录（{reason(error)}）") from None
    return home


def promoted(settings: Settings) -> Chosen | None:
    """The desk's own model in charge; None for the packaged one. Raises ConfigProblem for a pointer that says nothing."""
    pointer = settings.storage.data / "models" / _POINTER
    try:
        said = json.loads(pointer.read_text(encoding="utf-8"))
        return Chosen(pointer.with_name(Path(said["file"]).name), str(said["sha256"]))
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError):
        raise ConfigProblem(
            f"{pointer}：读不出来。删掉它就用随程序提供的模型，再用 qingting promote 重新启用"
        ) from None


def in_charge(settings: Settings) -> Chosen | None:
    """What the service is to load: the promoted model unless config.yml says `model: packaged`; None for the packaged one."""
    return promoted(settings) if settings.understanding.model == PROMOTED else None


def put_in_charge(settings: Settings, chosen: Chosen | None) -> None:
    """Name the model in charge (None: the packaged one). Whole or not at all: a start may be reading."""
    pointer = folder(settings) / _POINTER
    if chosen is None:
        pointer.unlink(missing_ok=True)
        return
    beside = pointer.with_suffix(".new")
    descriptor = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        json.dump({"file": chosen.path.name, "sha256": chosen.sha256}, file)
        file.flush()
        os.fsync(file.fileno())
    beside.replace(pointer)


def named(settings: Settings, name: str) -> Path | None:
    """The file behind a name an operator gave: `packaged` (None), `promoted`, a file in models/, or a path. Raises ConfigProblem."""
    if name == PACKAGED:
        return None
    if name == PROMOTED:
        chosen = promoted(settings)
        return None if chosen is None else chosen.path
    for path in (settings.storage.data / "models" / name, Path(name)):
        if path.is_file():
            return path
    raise ConfigProblem(f"没有模型 {name}：{settings.storage.data / 'models'} 里没有，也不是一个文件")


def fingerprint(path: Path) -> str:
    """SHA-256 of a file, in hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
