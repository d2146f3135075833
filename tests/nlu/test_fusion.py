"""The fusion: phrases count whatever reader and heads say, levels never rise, and only constants are fitted."""

import numpy as np

from nlu.fusion import FAR, Fusion, blend, fitted, kinds_evidence, levels_evidence, settings
from nlu.model import Danger
from nlu.reader import Opinion
from nlu.understanding import KINDS

N = len(KINDS)


def floats(*values: float) -> np.ndarray:
    return np.array(values, dtype=np.float32)


def opinion(*risk: float) -> Opinion:
    return Opinion(floats(*risk), np.zeros(N, np.float32), floats(0, 0, 0, 0), floats(0, 0, 0), floats(0))


def heads(*risk: float) -> Danger:
    return Danger(floats(*risk), np.zeros(N, np.float32))


def test_levels_never_rise_from_low_to_critical() -> None:
    found = Fusion.plain().levels(opinion(-3, 2, -1, 4), heads(0, 0, 0, 0), 0, False, False)
    assert (np.diff(found) <= 0).all()


def test_each_level_of_a_phrase_adds() -> None:
    sums = [levels_evidence(opinion(0, 0, 0, 0), heads(0, 0, 0, 0), rule)[2] for rule in range(5)]
    assert sums == sorted(sums)
    assert sums[3] > sums[2] + 1


def test_one_wild_voice_is_bounded() -> None:
    calm = levels_evidence(opinion(0, 0, 0, 0), heads(0, 0, 0, 0), 0)
    wild = levels_evidence(opinion(1e6, 1e6, 1e6, 1e6), heads(0, 0, 0, 0), 0)
    assert (wild - calm <= FAR).all()


def test_what_is_fitted_is_the_constant_and_what_surroundings_change() -> None:
    random = np.random.default_rng(1)
    levels = random.integers(0, 5, 400)
    soft = random.random(400) < 0.3
    risk = [
        np.full(4, 4.0 * (level - 2), np.float32) - np.arange(4, dtype=np.float32) + 3 * s
        for level, s in zip(levels, soft, strict=True)
    ]
    where = [settings(bool(s), False) for s in soft]
    kinds = [np.full(N, -1.0, np.float32) for _ in levels]
    truths = np.zeros((400, N), np.float32)
    truths[:200, 0] = 1
    found = fitted(risk, where, levels, kinds, truths)
    assert (found.risk[0] < 0).all()  # softness made every level look graver than it was
    assert found.kinds[0] > found.kinds[1]
    assert abs(float(found.kinds[0]) - 1) < 0.1  # log-odds of one half, beside evidence of -1


def test_a_blend_is_a_distribution_between_both() -> None:
    mixed = blend("topic", floats(3, 0, 0, 0), floats(0, 3, 0, 0))
    assert abs(float(mixed.sum()) - 1) < 1e-5
    assert mixed[0] > mixed[1] > mixed[2]


def test_a_phrase_names_its_kind() -> None:
    none = kinds_evidence(opinion(0, 0, 0, 0), heads(0, 0, 0, 0), np.zeros(N, np.float32))
    named = np.zeros(N, np.float32)
    named[KINDS.index("bullying")] = 3
    some = kinds_evidence(opinion(0, 0, 0, 0), heads(0, 0, 0, 0), named)
    assert (some - none).argmax() == KINDS.index("bullying")
