"""Why an entry was found, in terms that a curator can act on: the wording nearest to the question, and what both share."""

from __future__ import annotations

from difflib import SequenceMatcher

from knowledge.terms import plain


def alike(question: str, wording: str) -> tuple[float, list[str]]:
    """How alike two wordings are to the letter, 0..1 (Dice over pairs of characters), and the pieces of two characters or more
    that both hold, longest first."""
    one, other = plain(question), plain(wording)
    pairs, others = _pairs(one), _pairs(other)
    if not pairs or not others:
        return (1.0, [one]) if one and one == other else (0.0, [])
    blocks = SequenceMatcher(None, one, other, autojunk=False).get_matching_blocks()
    shared = {one[block.a : block.a + block.size] for block in blocks if block.size >= 2}
    return 2 * len(pairs & others) / (len(pairs) + len(others)), sorted(shared, key=lambda s: (-len(s), s))


def _pairs(text: str) -> set[str]:
    return {text[at : at + 2] for at in range(len(text) - 1)}
