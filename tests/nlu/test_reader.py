"""The reader: the same opinion everywhere, on any text, fast, and honest about weights it cannot use."""

from pathlib import Path

import numpy as np
import pytest

from nlu.reader import LONGEST, PAIRS, Reader, ReaderError, letters, shortened
from nlu.understanding import KINDS, RISKS


@pytest.fixture(scope="module")
def reader() -> Reader:
    return Reader.load()


@pytest.mark.parametrize("text", ["", "a", "我不想活了", "哈" * 5000, "😀\ud800", "\n\n", "\u200b"])
def test_any_text_has_an_opinion_of_the_same_shape(reader: Reader, text: str) -> None:
    opinion = reader.read(text)
    assert opinion.risk.shape == (len(RISKS) - 1,)
    assert opinion.kinds.shape == (len(KINDS),)
    assert opinion.category.shape == (len(reader.categories),)
    assert all(np.isfinite(part).all() for part in opinion)


def test_it_knows_distress_from_small_talk_without_any_word_of_the_lexicons(reader: Reader) -> None:
    medium = RISKS.index("medium") - 1
    for dark, light in (
        ("感觉自己像个多余的人，每天醒来都希望昨晚没有醒", "周末和同学去看了场电影，爆米花好贵"),
        ("爸爸一喝酒家里就没有安静的晚上，我和弟弟都躲床底下", "爸爸周末带我和弟弟去钓鱼"),
    ):
        assert reader.read(dark).risk[medium] > reader.read(light).risk[medium] + 2


def test_of_a_long_text_the_beginning_and_the_end_are_read() -> None:
    text = "".join(chr(0x4E00 + n) for n in range(1000))
    seen = shortened(text)
    assert len(seen) == LONGEST
    assert text.startswith(seen[:100])
    assert text.endswith(seen[-50:])


def test_hashes_are_the_same_in_every_process() -> None:
    single, double = letters("我们")
    assert single.tolist() == PINNED[0]
    assert double.tolist() == PINNED[1]
    assert max(double) < 1 << PAIRS


PINNED = ([1933, 6089, 6215, 6996], [483, 17537, 11934, 8563])


def test_missing_weights_are_named(tmp_path: Path) -> None:
    with pytest.raises(ReaderError, match=r"nowhere\.npz: no such file"):
        Reader.load(tmp_path / "nowhere.npz")


@pytest.mark.parametrize("content", [b"", b"not a zip", b"PK\x03\x04 cut off"])
def test_a_damaged_file_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "bad.npz").write_bytes(content)
    with pytest.raises(ReaderError, match=r"bad\.npz: not a reader's weights"):
        Reader.load(tmp_path / "bad.npz")


def test_weights_for_other_labels_or_of_another_shape_are_refused(tmp_path: Path) -> None:
    from nlu.reader import WEIGHTS

    with np.load(WEIGHTS) as stored:
        parts = dict(stored)
    np.savez(tmp_path / "other.npz", **{**parts, "labels": parts["labels"][:-1]})
    with pytest.raises(ReaderError, match="other labels"):
        Reader.load(tmp_path / "other.npz")
    np.savez(tmp_path / "odd.npz", **{**parts, "hidden_bias": parts["hidden_bias"][:-1]})
    with pytest.raises(ReaderError, match="do not fit together"):
        Reader.load(tmp_path / "odd.npz")
    np.savez(tmp_path / "old.npz", **{**parts, "format": np.int64(0)})
    with pytest.raises(ReaderError, match="another format"):
        Reader.load(tmp_path / "old.npz")
