"""Whether a message is in a language that this room does not read (promise 4: then a human looks).

The room reads Chinese, in characters or pinyin, and the few English words that everybody uses. Scripts are told apart by
Unicode's own names of the letters; nothing here guesses which language it is.
"""

from __future__ import annotations

import re
import unicodedata
from functools import lru_cache
from typing import Final, Literal

_LINKS: Final = re.compile(r"(?:https?://|www\.)\S+|\S+@\S+")
_WORDS: Final = re.compile(r"[a-z][a-z']+")
_MOST: Final = 2000  # characters looked at
_MANY: Final = 3  # English words in a row are a sentence, fewer a name
# Syllables of pinyin, as far as needed to tell it from English; nothing is tried twice, so the time is linear.
_PINYIN: Final = re.compile(
    r"(?:(?>[zcs]h|[bpmfdtnlgkhjqxrzcsyw])?"
    r"(?>iang|iong|uang|ang|eng|ing|ong|iao|uai|ian|uan|ai|ei|ao|ou|ia|ie|iu|ua|uo|ui|ue|ve|an|en|in|un|er|[aeiouv]))++"
)

_Script = Literal["han", "latin", "other", "none"]


def is_foreign(text: str) -> bool:
    """Whether the words are mostly in another script, or are a sentence in Latin letters that is not pinyin."""
    plain = unicodedata.normalize("NFKC", _LINKS.sub(" ", text[:_MOST])).lower()
    scripts = [_script(char) for char in plain]
    han, other = scripts.count("han"), scripts.count("other")
    if other and 2 * other >= han + other:
        return _longest_run(scripts) >= 2  # single letters are faces: (´;ω;`)
    if han:
        return False
    words = _WORDS.findall(plain)
    return len(words) >= _MANY and not all(_PINYIN.fullmatch(word) for word in words)


def _longest_run(scripts: list[_Script]) -> int:
    longest = run = 0
    for script in scripts:
        run = run + 1 if script == "other" else 0
        longest = max(longest, run)
    return longest


@lru_cache(maxsize=4096)
def _script(char: str) -> _Script:
    if unicodedata.category(char)[0] not in "LM":
        return "none"
    name = unicodedata.name(char, "")
    if name.startswith("CJK"):
        return "han"
    if name.startswith(("LATIN", "FULLWIDTH LATIN")):
        return "latin"
    return "none" if name.startswith(("MODIFIER", "VARIATION", "COMBINING", "BOPOMOFO")) else "other"
