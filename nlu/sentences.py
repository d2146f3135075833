"""Large sentence encoders through sentence-transformers, an optional extra: texts in, unit vectors out.

Two uses: as the encoder with which entries are found (`understanding.encoder: sentence-transformers:<folder or name>`), and
as the teacher from which the packaged encoder is distilled. Both see the same few lines: `encode(texts)`. Everything that is
missing or broken is said at the start with what to do; nothing falls back to a lesser encoder in silence.
"""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from .encoder import Encoder, EncoderError

PACKAGED = "packaged"
PREFIX = "sentence-transformers:"
_LONGEST = 512  # characters of a text that are read, as the packaged encoder does
_BATCH = 32

Floats = NDArray[np.float32]


class Teacher(Protocol):
    """Whatever gives texts a place: (n, d) float32, each row of length 1."""

    def encode(self, texts: Sequence[str]) -> Floats: ...


class SentenceEncoder:
    """One model of sentence-transformers on the CPU. Texts as they are; the model brings its own tokens."""

    def __init__(self, model: Any, *, prompt: str = "", centre: Floats | None = None) -> None:
        self._model, self._prompt, self._centre = model, prompt, centre

    @classmethod
    def load(cls, source: str, *, prompt: str = "") -> SentenceEncoder:
        """The model in a folder, or by its name on the hub where the machine may fetch it. Raises EncoderError.

        `prompt` goes before every text, as some models want it ("query: ").
        """
        try:
            library = importlib.import_module("sentence_transformers")
        except ModuleNotFoundError as error:
            raise EncoderError(
                f"{PREFIX}{source}：没有装可选组件（缺 {error.name}），请运行："
                "pip install torch==2.13.0 再 pip install qingting[sentence-transformers]"
            ) from None
        if _looks_local(source) and not (Path(source) / "modules.json").is_file():
            raise EncoderError(
                f"{PREFIX}{source}：这里没有 sentence-transformers 的模型（目录里要有 modules.json）"
            )
        try:
            encoder = cls(library.SentenceTransformer(source, device="cpu"), prompt=prompt)
            vector = encoder.encode(["你好"])
        except Exception as error:  # a model folder may be broken in any way
            raise EncoderError(
                f"{PREFIX}{source}：模型读不出来（{type(error).__name__}），请检查目录是否完整"
            ) from None
        if vector.ndim != 2 or not np.isfinite(vector).all() or not vector.any():
            raise EncoderError(f"{PREFIX}{source}：模型给出的不是句向量")
        return encoder

    def centred(self, texts: Sequence[str]) -> SentenceEncoder:
        """The same model with the mean place of `texts` as its origin.

        Large models put all texts of one language into a narrow cone. The packaged encoder learned centred vectors, and the
        numbers with which entries are chosen were fitted on them; so a model that stands in for it is centred too.
        """
        return SentenceEncoder(self._model, prompt=self._prompt, centre=self.encode(texts).mean(axis=0))

    def encode(self, texts: Sequence[str]) -> Floats:
        """Unit vectors, shape (len(texts), d), float32. An empty text is the zero vector."""
        wanted = [f"{self._prompt}{text[:_LONGEST]}" for text in texts]
        made = self._model.encode(
            wanted,
            batch_size=_BATCH,
            convert_to_numpy=True,
            normalize_embeddings=True,
            show_progress_bar=False,
        )
        vectors: Floats = np.asarray(made, dtype=np.float32)
        if self._centre is not None and len(vectors):
            vectors = vectors - self._centre
            vectors /= np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-9)
        for place, text in enumerate(texts):
            if not text:
                vectors[place] = 0
        return vectors


def encoder_of(spec: str, centre_on: Sequence[str] = ()) -> Encoder | SentenceEncoder:
    """The encoder that `understanding.encoder` names. Raises EncoderError."""
    if spec == PACKAGED:
        return Encoder.load()
    if not spec.startswith(PREFIX):
        raise EncoderError(f"{spec}：没有这种编码器")
    encoder = SentenceEncoder.load(spec.removeprefix(PREFIX))
    return encoder.centred(centre_on) if centre_on else encoder


def _looks_local(source: str) -> bool:
    return source.startswith((".", "/", "~")) or Path(source).exists() or source.count("/") > 1
