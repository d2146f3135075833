"""Encoders of sentence-transformers: a tiny model made here, used as the service would use a large one."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest

from bot.brain import Brain, BrainProblem, Options, Question
from knowledge.library import Library
from nlu.encoder import Encoder, EncoderError
from nlu.sentences import SentenceEncoder, encoder_of

TEXTS = ("老板三个月不发工资怎么办", "我不想活了", "今天天气不错", "房东不退押金")


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model folder as sentence-transformers writes it: one small layer of BERT over single characters, untrained."""
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer.modules import Pooling, Transformer
    from torch import manual_seed
    from transformers import BertConfig, BertModel, BertTokenizer

    folder = tmp_path_factory.mktemp("model")
    characters = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *sorted(set("".join(TEXTS)))]
    (folder / "vocab.txt").write_text("\n".join(characters), encoding="utf-8")
    manual_seed(12355)
    size = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 64}
    BertModel(BertConfig(vocab_size=len(characters), **size)).save_pretrained(folder / "bert")
    BertTokenizer(str(folder / "vocab.txt")).save_pretrained(folder / "bert")
    parts = [Transformer(str(folder / "bert")), Pooling(size["hidden_size"])]
    SentenceTransformer(modules=parts, device="cpu").save(str(folder / "whole"))
    return folder / "whole"


@pytest.mark.sentence_transformers
def test_texts_become_unit_vectors(model: Path) -> None:
    encoder = SentenceEncoder.load(str(model))
    vectors = encoder.encode([*TEXTS, ""])
    assert vectors.shape == (5, 32)
    assert vectors.dtype == np.float32
    assert np.allclose(np.linalg.norm(vectors[:4], axis=1), 1, atol=1e-5)
    assert not vectors[4].any()
    assert np.allclose(encoder.encode([TEXTS[2]])[0], vectors[2], atol=1e-5)
    assert encoder.encode([]).shape[0] == 0


@pytest.mark.sentence_transformers
def test_a_prompt_goes_before_every_text(model: Path) -> None:
    plain, prompted = SentenceEncoder.load(str(model)), SentenceEncoder.load(str(model), prompt="今天")
    assert np.allclose(prompted.encode(["天气不错"]), plain.encode(["今天天气不错"]), atol=1e-5)


@pytest.mark.sentence_transformers
def test_centred_on_some_texts_their_mean_is_the_origin(model: Path) -> None:
    plain = SentenceEncoder.load(str(model))
    centred = plain.centred(TEXTS).encode(TEXTS)
    assert np.allclose(np.linalg.norm(centred, axis=1), 1, atol=1e-5)
    alike = centred @ centred.T
    before = plain.encode(TEXTS) @ plain.encode(TEXTS).T
    assert alike[~np.eye(4, dtype=bool)].mean() < before[~np.eye(4, dtype=bool)].mean() - 0.3


@pytest.mark.sentence_transformers
def test_the_library_searches_with_it(model: Path) -> None:
    encoder = encoder_of(f"sentence-transformers:{model}", centre_on=TEXTS)
    library, usual = Library.load(encoder=encoder), Library.load()
    question = "老板拖欠我两个月工资怎么办"
    assert library.answer(question).outcome == "answer"
    meaning = library.features(question)[:, 4:]
    assert meaning.shape == usual.features(question)[:, 4:].shape
    assert not np.allclose(meaning, usual.features(question)[:, 4:], atol=0.05)


@pytest.mark.sentence_transformers
async def test_the_service_understands_and_answers_with_it(model: Path) -> None:
    brain = Brain(
        processes=1, memory_mb=6144, limit=5, options=Options(encoder=f"sentence-transformers:{model}")
    )
    await brain.start()
    try:
        danger, question = await brain.think(
            [Question("我在天台，不想活了"), Question("老板拖欠我两个月工资怎么办")]
        )
        assert danger.understanding.risk == "critical"
        assert question.answer.outcome == "answer"
        assert not question.fell_back
    finally:
        await brain.close()


@pytest.mark.sentence_transformers
def test_a_damaged_model_is_named_at_the_start(model: Path, tmp_path: Path) -> None:
    broken = tmp_path / "broken"
    shutil.copytree(model, broken)
    (broken / "model.safetensors").write_bytes(b"not weights")
    with pytest.raises(EncoderError, match="broken：模型读不出来"):
        SentenceEncoder.load(str(broken))
    (broken / "modules.json").write_text(json.dumps([]), encoding="utf-8")
    with pytest.raises(EncoderError, match="broken"):
        SentenceEncoder.load(str(broken))


@pytest.mark.sentence_transformers
async def test_the_service_does_not_start_with_a_folder_that_is_no_model(tmp_path: Path) -> None:
    brain = Brain(processes=1, memory_mb=6144, options=Options(encoder=f"sentence-transformers:{tmp_path}"))
    with pytest.raises(BrainProblem, match=r"modules\.json"):
        await brain.start()
    await brain.close()


def test_without_the_extra_the_start_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "sentence_transformers", None)
    with pytest.raises(EncoderError, match=r"pip install qingting\[sentence-transformers\]"):
        encoder_of("sentence-transformers:/models/large")


def test_the_packaged_encoder_needs_nothing() -> None:
    assert isinstance(encoder_of("packaged"), Encoder)
    with pytest.raises(EncoderError, match="没有这种编码器"):
        encoder_of("word2vec")
