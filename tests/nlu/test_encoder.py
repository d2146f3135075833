"""The small encoder: unit vectors, near for near meanings, fast, and honest about weights it cannot use."""

from pathlib import Path

import numpy as np
import pytest

from nlu.encoder import Encoder, EncoderError, buckets


@pytest.fixture(scope="module")
def encoder() -> Encoder:
    return Encoder.load()


def test_every_text_is_a_unit_vector_and_nothing_is_the_zero_vector(encoder: Encoder) -> None:
    vectors = encoder.encode(["我妈又翻我日记了", "a", "", "哈" * 3000, "😀\ud800"])
    assert vectors.shape == (5, encoder.width)
    assert vectors.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), [1, 1, 0, 1, 1], atol=1e-4)


def test_a_text_has_one_vector_whatever_its_company(encoder: Encoder) -> None:
    alone = encoder.encode(["老板拖欠工资"])[0]
    together = encoder.encode(["吃了吗", "老板拖欠工资"])[1]
    np.testing.assert_array_equal(alone, together)


@pytest.mark.parametrize(
    ("text", "near", "far"),
    [
        ("老板不给我发工资", "公司欠薪三个月了怎么要回来", "今天晚上吃火锅"),
        ("我不想活了", "活着太痛苦想结束生命", "周末去爬山吗"),
        ("爸爸喝醉了打我", "父亲酗酒以后对我动手", "这道数学题选什么"),
        ("晚上总是失眠", "躺下很久都睡不着", "房东不退押金"),
        ("男朋友跟我分手了", "失恋了很难过", "请问学籍怎么转"),
    ],
)
def test_what_means_the_same_lies_nearer(encoder: Encoder, text: str, near: str, far: str) -> None:
    a, b, c = encoder.encode([text, near, far])
    assert a @ b > a @ c + 0.1


def test_buckets_are_the_same_in_every_process() -> None:
    assert buckets("自己", 1 << 16).tolist() == PINNED


PINNED = [60298, 50024, 65187, 44753, 17441, 27251, 39018, 59233]


def test_missing_weights_are_named(tmp_path: Path) -> None:
    with pytest.raises(EncoderError, match=r"nowhere\.npz: no such file"):
        Encoder.load(tmp_path / "nowhere.npz")


@pytest.mark.parametrize("content", [b"", b"not a zip", b"PK\x03\x04 cut off"])
def test_a_damaged_file_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "bad.npz").write_bytes(content)
    with pytest.raises(EncoderError, match=r"bad\.npz: not encoder weights"):
        Encoder.load(tmp_path / "bad.npz")


def test_weights_of_another_format_are_refused(tmp_path: Path) -> None:
    np.savez(tmp_path / "old.npz", format=np.int64(0))
    with pytest.raises(EncoderError, match="format 0, this version needs 1"):
        Encoder.load(tmp_path / "old.npz")


def test_parts_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    parts = {
        name: np.zeros((4, 4), dtype=np.float16) for name in ("scale", "weight", "hidden", "bias", "out")
    }
    np.savez(tmp_path / "odd.npz", format=np.int64(1), table=np.zeros((4, 4), dtype=np.int8), **parts)
    with pytest.raises(EncoderError, match="do not fit together"):
        Encoder.load(tmp_path / "odd.npz")
