"""Invented laws for tests, as the official sites give them: lines of plain text, or a DOCX."""

from __future__ import annotations

import io
import zipfile
from xml.sax.saxutils import escape

_WORD = "http://schemas.openxmlformats.org/wordprocessingml/2006/main"

# An invented law in an older and a newer version: article 2 unchanged, 3 changed, 4 inserted (the old 4 is 5 now), 6 gone.
OLD = """中华人民共和国夜间自习法
（2019年3月1日某某大会通过 自2019年6月1日起施行）
目　录
第一章　总则
第二章　灯光与休息
附　则
第一章　总　则
第一条　为了让同学们睡好觉，制定本法。
第二条　晚自习由学校和家长共同商量。
商量的结果应当公布。
第二章　灯光与休息
第三条　晚自习应当在二十二时以前结束。
第四条　教室的灯应当明亮，不得闪烁，窗户应当能够打开通风。
第五条　学校可以收取灯油费。
附　则
第六条　本法自2019年6月1日起施行。
""".splitlines()
NEW = """中华人民共和国夜间自习法
（2019年3月1日某某大会通过 根据2026年2月3日《关于修改〈夜间自习法〉的决定》修正）
第一章　总则
第一条　为了让同学们睡好觉，制定本法。
第二条　晚自习由学校和家长共同商量。
商量的结果应当公布。
第二章　灯光与休息
第三条　晚自习应当在二十一时以前结束。
第三条之一　周末不安排晚自习。
第四条　走读的同学可以自愿参加。
第五条　教室的灯应当明亮，不得闪烁，窗户应当能够打开通风。
附则
第六条　本法自2026年5月1日起施行。
""".splitlines()


def text(lines: list[str]) -> bytes:
    """The lines as a plain-text file."""
    return "\n".join(lines).encode()


def docx(lines: list[str], *, before: str = "") -> bytes:
    """The lines as paragraphs of a DOCX, each cut into two runs as Word does. `before` stands in front of the document's XML."""
    paragraphs = "".join(f"<w:p>{_run(line[:3])}{_run(line[3:])}</w:p>" for line in lines)
    return docx_of(f'{before}<w:document xmlns:w="{_WORD}"><w:body>{paragraphs}</w:body></w:document>')


def docx_of(document: str) -> bytes:
    """A DOCX around one document.xml."""
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("[Content_Types].xml", "<Types/>")
        archive.writestr("word/document.xml", f'<?xml version="1.0" encoding="UTF-8"?>{document}')
    return made.getvalue()


def _run(words: str) -> str:
    return f'<w:r><w:t xml:space="preserve">{escape(words)}</w:t></w:r>'
