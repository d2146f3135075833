"""Fourth step of understanding: linear heads over the features. numpy only; nlu/train.py makes the weights.

The heads: risk as four questions (low or above? medium or above? …), topic, kinds, about, intent and category. Weights
are 8-bit with one scale a column. Beside them the file holds what was fitted together with them: the fusion's constants, the
thresholds and the calibration. It says which features, labels and reader it was made for; anything else is refused, for a wrong
model must be a loud failure at start and never a quiet one at night.
"""

from __future__ import annotations

import json
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from . import features
from .features import Floats, Vector
from .fusion import Fusion
from .understanding import INTENTS, KINDS, RISKS, TOPICS

FORMAT = 3
DEFAULT = Path(__file__).with_name("model.npz")
ABOUTS = ("self", "other", "unknown")
HEADS: dict[str, tuple[str, ...]] = {
    "risk": RISKS[1:],
    "kinds": KINDS,
    "topic": TOPICS,
    "about": ABOUTS,
    "intent": INTENTS,
}


class Danger(NamedTuple):
    """The heads of risk and kinds: log-odds, by label."""

    risk: Floats
    kinds: Floats


class ModelError(RuntimeError):
    """The model file is missing, broken or made for another version. Says which, and what to do."""


@dataclass(frozen=True, slots=True)
class Scores:
    """What the heads say of one vector: log-odds, by label. `risk`: of low or above … critical."""

    risk: Floats
    topic: Floats
    kinds: Floats
    about: Floats
    intent: Floats
    category: Floats


@dataclass(frozen=True, slots=True)
class Calibration:
    """Logistic map from the log-odds of high or above and the level that was judged to a probability."""

    slope: float
    by_level: tuple[float, ...]  # offset for none … critical

    def probability(self, log_odds: float, level: int) -> float:
        x = self.slope * log_odds + self.by_level[level]
        return float(1.0 / (1.0 + np.exp(-np.clip(x, -30, 30))))


class Model:
    """The trained heads: `weights` (SIZE, columns) int8, one of `scales` and of `bias` a column.

    `reader` is the fingerprint of the reader's weights with which the fusion was fitted.
    """

    def __init__(
        self,
        weights: NDArray[np.int8],
        scales: Floats,
        bias: Floats,
        categories: tuple[str, ...],
        fusion: Fusion,
        thresholds: tuple[float, ...],
        calibration: Calibration,
        reader: str,
    ) -> None:
        self._weights = weights
        self._scales = scales
        self._bias = bias
        self.categories = categories
        self.fusion = fusion
        self.thresholds = thresholds
        self.calibration = calibration
        self.reader = reader
        self._slices = slices(categories)

    def scores(self, vector: Vector) -> Scores:
        """What every head says."""
        gathered = self._weights[vector.slots].astype(np.float32)
        raw = np.asarray(vector.value @ gathered * self._scales + self._bias, dtype=np.float32)
        return Scores(**{name: raw[part] for name, part in self._slices.items()})

    def scores_of_danger(self, vector: Vector) -> Danger:
        """Only the heads of risk and kinds, which stand beside each other."""
        part = slice(self._slices["risk"].start, self._slices["kinds"].stop)
        gathered = self._weights[vector.slots, part].astype(np.float32)
        raw = np.asarray(vector.value @ gathered * self._scales[part] + self._bias[part], dtype=np.float32)
        return Danger(raw[: len(RISKS) - 1], raw[len(RISKS) - 1 :])

    @classmethod
    def load(cls, path: Path | None = None) -> Model:
        """Read a model file. Raises ModelError, saying what is wrong and what to do."""
        path = path or DEFAULT
        try:
            with path.open("rb") as file, np.load(file, allow_pickle=False) as stored:
                card = json.loads(str(stored["card"][()]))
                parts = {name: stored[name] for name in ("weights", "scales", "bias", "fused", "kinds")}
        except FileNotFoundError:
            raise ModelError(f"no model file at {path}; run `python -m nlu.train`") from None
        except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
            raise ModelError(f"{path} is not a model file; run `python -m nlu.train`") from None
        _check(card, path)
        categories = tuple(card["categories"])
        width = slices(categories)["category"].stop
        if (
            parts["weights"].shape != (features.SIZE, width)
            or parts["weights"].dtype != np.int8
            or parts["scales"].shape != (width,)
            or parts["bias"].shape != (width,)
            or parts["fused"].shape != Fusion.plain().risk.shape
            or parts["kinds"].shape != Fusion.plain().kinds.shape
        ):
            raise ModelError(f"{path} is damaged: its weights do not have the shape of its labels")
        calibration = Calibration(float(card["slope"]), tuple(float(x) for x in card["by_level"]))
        thresholds = tuple(float(x) for x in card["thresholds"])
        return cls(
            parts["weights"],
            parts["scales"].astype(np.float32),
            parts["bias"].astype(np.float32),
            categories,
            Fusion(parts["fused"].astype(np.float32), parts["kinds"].astype(np.float32)),
            thresholds,
            calibration,
            str(card["reader"]),
        )

    def save(self, path: Path, notes: Mapping[str, object]) -> None:
        """Write the model file; `notes` (where it comes from) go into its card and are not read back."""
        card = {
            "format": FORMAT,
            "features": features.VERSION,
            "heads": {name: list(labels) for name, labels in HEADS.items()},
            "categories": list(self.categories),
            "reader": self.reader,
            "thresholds": list(self.thresholds),
            "slope": self.calibration.slope,
            "by_level": list(self.calibration.by_level),
            "notes": dict(notes),
        }
        np.savez_compressed(
            path,
            card=np.array(json.dumps(card, ensure_ascii=False)),
            weights=self._weights,
            scales=self._scales,
            bias=self._bias,
            fused=self.fusion.risk,
            kinds=self.fusion.kinds,
        )


def slices(categories: tuple[str, ...]) -> dict[str, slice]:
    """Which columns belong to which head."""
    found: dict[str, slice] = {}
    start = 0
    for name, labels in (*HEADS.items(), ("category", categories)):
        found[name] = slice(start, start + len(labels))
        start += len(labels)
    return found


def _check(card: Mapping[str, object], path: Path) -> None:
    if card.get("format") != FORMAT or card.get("features") != features.VERSION:
        raise ModelError(f"{path} was made for another version; run `python -m nlu.train`")
    if card.get("heads") != {name: list(labels) for name, labels in HEADS.items()}:
        raise ModelError(f"{path} was made for other labels; run `python -m nlu.train`")
