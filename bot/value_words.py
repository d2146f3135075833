"""What is wrong with one value, in Chinese: for whoever asks the API and for whoever edits config.yml. Never the value itself."""

from __future__ import annotations

from typing import Any


def wrong(kind: str, ctx: dict[str, Any]) -> str:
    """The words for pydantic's kind of fault (error["type"], error["ctx"])."""
    match kind:
        case "missing":
            return "缺少这个字段"
        case "extra_forbidden":
            return "没有这个字段"
        case "string_type":
            return "应为文字"
        case "string_too_short":
            return f"至少 {ctx['min_length']} 个字" if ctx.get("min_length", 0) > 1 else "不能为空"
        case "string_too_long":
            return f"最多 {ctx['max_length']} 个字"
        case "string_pattern_mismatch":
            return "格式不对"
        case "literal_error":
            return f"只能是 {ctx['expected']} 之一".replace(" or ", "、").replace("'", "")
        case "bool_type" | "bool_parsing":
            return "应为 true 或 false"
        case "int_type" | "int_parsing" | "int_from_float":
            return "应为整数"
        case "float_type" | "float_parsing" | "finite_number":
            return "应为数"
        case "greater_than":
            return f"要大于 {ctx['gt']}"
        case "greater_than_equal":
            return f"不能小于 {ctx['ge']}"
        case "less_than_equal":
            return f"不能大于 {ctx['le']}"
        case "too_long":
            return f"最多 {ctx.get('max_length')} 项"
        case "too_short":
            return f"至少 {ctx.get('min_length')} 项"
        case "list_type":
            return "应为列表"
        case "model_type" | "dict_type" | "model_attributes_type":
            return "应为 JSON 对象"
        case "not_text":
            return "含有不能保存的字符（NUL 或不成对的代理字符）"
        case "not_id":
            return "应为编号（数字组成的文字）"
        case "not_moment":
            return "应为带时区的 ISO 8601 时间"
        case "date_type" | "date_parsing" | "date_from_datetime_parsing" | "date_from_datetime_inexact":
            return "应为日期，例如 2026-11-23"
        case "law_or_body":
            return "写法律（名称、条、版本日期），或者写机构和依据，二者取一"
        case "law_incomplete":
            return "法律要写明第几条和核对的版本日期，例如：民法典 第十七条 2020-05-28"
        case "body_only":
            return "机构和依据不写条和版本日期"
        case "doubled_wording":
            return "同一个问法写了两次"
        case "review_order":
            return "复核日期要晚于核对日期"
        case _:
            return "值不对"
