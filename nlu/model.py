"""Fourth step of understanding: linear heads over the features. numpy only; nlu/train.py makes the weights.

The heads: risk as four questions (low or above? medium or above? …), topic, kinds, about, intent and category. Weights
are 8-bit with one scale a column. The file says which features and labels it was made for; anything else is refused, for a
wrong model must be a loud failure at start and never a quiet one at night.
"""

from __future__ import annotations

import json
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from . import features
from .features import Floats, Vector
from .understanding import INTENTS, KINDS, RISKS, TOPICS

FORMAT = 2
DEFAULT = Path(__file__).with_name("model.npz")
ABOUTS = ("self", "other", "unknown")
HEADS: dict[str, tuple[str, ...]] = {
    "risk": RISKS[1:],
    "topic": TOPICS,
    "kinds": KINDS,
    "about": ABOUTS,
    "intent": INTENTS,
}


class ModelError(RuntimeError):
    """The model file is missing, broken or made for another version. Says which, and what to do."""


@dataclass(frozen=True, slots=True)
class Scores:
    """What the heads say of one vector: probabilities, by label."""

    at_least: Floats  # P(risk >= low), … P(risk >= critical); never rising
    topic: Floats
    kinds: Floats
    about: Floats
    intent: Floats
    category: Floats


@dataclass(frozen=True, slots=True)
class Calibration:
    """Logistic map from the model's log-odds of high or above and the level that the phrases give to a probability."""

    slope: float
    by_level: tuple[float, ...]  # offset for none … critical

    def probability(self, log_odds: float, level: int) -> float:
        x = self.slope * log_odds + self.by_level[level]
        return float(1.0 / (1.0 + np.exp(-np.clip(x, -30, 30))))


class Model:
    """The trained heads. `weights` (SIZE, columns) int8 are for the sparse features, `meaning` (d, columns) for the dense.

    `encoder` is the fingerprint of the encoder whose vectors the model learned from, `""` for none.
    """

    def __init__(
        self,
        weights: NDArray[np.int8],
        scales: Floats,
        bias: Floats,
        meaning: Floats,
        categories: tuple[str, ...],
        thresholds: tuple[float, ...],
        calibration: Calibration,
        encoder: str = "",
    ) -> None:
        self._weights = weights
        self._scales = scales
        self._bias = bias
        self._meaning = meaning
        self.encoder = encoder
        self.categories = categories
        self.thresholds = thresholds
        self.calibration = calibration
        self._slices = slices(categories)

    def scores(self, vector: Vector) -> Scores:
        raw = self.log_odds(vector)
        part = self._slices
        at_least = np.minimum.accumulate(_sigmoid(raw[part["risk"]]))
        return Scores(
            at_least,
            _softmax(raw[part["topic"]]),
            _sigmoid(raw[part["kinds"]]),
            _softmax(raw[part["about"]]),
            _softmax(raw[part["intent"]]),
            _softmax(raw[part["category"]]),
        )

    def log_odds(self, vector: Vector) -> Floats:
        gathered = self._weights[vector.slots].astype(np.float32)
        raw = vector.value @ gathered * self._scales + vector.meaning @ self._meaning + self._bias
        return np.asarray(raw, dtype=np.float32)

    def risk_scores(self, vector: Vector) -> Floats:
        """Only P(risk >= low) … P(risk >= critical)."""
        part = self._slices["risk"]
        gathered = self._weights[vector.slots, part].astype(np.float32)
        raw = (
            vector.value @ gathered * self._scales[part]
            + vector.meaning @ self._meaning[:, part]
            + self._bias[part]
        )
        return np.minimum.accumulate(_sigmoid(raw))

    @classmethod
    def load(cls, path: Path | None = None) -> Model:
        """Read a model file. Raises ModelError, saying what is wrong and what to do."""
        path = path or DEFAULT
        try:
            with path.open("rb") as file, np.load(file, allow_pickle=False) as stored:
                card = json.loads(str(stored["card"][()]))
                parts = {name: stored[name] for name in ("weights", "scales", "bias", "meaning")}
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
            or parts["meaning"].shape[1:] != (width,)
        ):
            raise ModelError(f"{path} is damaged: its weights do not have the shape of its labels")
        calibration = Calibration(float(card["slope"]), tuple(float(x) for x in card["by_level"]))
        thresholds = tuple(float(x) for x in card["thresholds"])
        return cls(
            parts["weights"],
            parts["scales"].astype(np.float32),
            parts["bias"].astype(np.float32),
            parts["meaning"].astype(np.float32),
            categories,
            thresholds,
            calibration,
            str(card["encoder"]),
        )

    def save(self, path: Path, notes: Mapping[str, object]) -> None:
        """Write the model file; `notes` (where it comes from) go into its card and are not read back."""
        card = {
            "format": FORMAT,
            "features": features.VERSION,
            "heads": {name: list(labels) for name, labels in HEADS.items()},
            "categories": list(self.categories),
            "encoder": self.encoder,
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
            meaning=self._meaning,
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


def _sigmoid(x: Floats) -> Floats:
    return np.asarray(1.0 / (1.0 + np.exp(-np.clip(x, -30, 30))), dtype=np.float32)


def _softmax(x: Floats) -> Floats:
    grown = np.exp(x - x.max())
    return np.asarray(grown / grown.sum(), dtype=np.float32)
