"""Building blocks of what the API takes and gives: ids as strings, moments in UTC, text that can be kept."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, PlainSerializer, StrictBool, StrictInt
from pydantic_core import PydanticCustomError

from nlu.understanding import Risk

LARGEST_ID = 2**63 - 1
_ID_SCHEMA = {"type": "string", "pattern": "^[0-9]{1,19}$", "description": "编号"}
_TIME_SCHEMA = {"type": "string", "format": "date-time", "description": "ISO 8601，UTC"}


class Asked(BaseModel):
    """What comes in: a field we do not know is refused, never passed over."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Nothing(Asked):
    """A request without content."""


class Given(BaseModel):
    """What goes out."""

    model_config = ConfigDict(extra="forbid", frozen=True)


def read_id(value: Any) -> int:
    """A row's id from its string. Raises PydanticCustomError."""
    if isinstance(value, str) and 0 < len(value) <= 19 and value.isascii() and value.isdigit():
        number = int(value)
        if number <= LARGEST_ID:
            return number
    raise PydanticCustomError("not_id", "not an id")


def _read_text(value: Any) -> Any:
    if isinstance(value, str) and ("\x00" in value or any("\ud800" <= c <= "\udfff" for c in value)):
        raise PydanticCustomError("not_text", "NUL or a lone surrogate")
    return value


def _read_moment(value: Any) -> datetime:
    if isinstance(value, str):
        try:
            moment = datetime.fromisoformat(value)
            if moment.tzinfo is not None:
                return moment.astimezone(UTC)
        except (ValueError, OverflowError):
            pass
    raise PydanticCustomError("not_moment", "not an aware ISO 8601 time")


def _strip(value: Any) -> Any:
    return value.strip() if isinstance(value, str) else value


# In
IdIn = Annotated[
    int, BeforeValidator(read_id, json_schema_input_type=Annotated[str, Field(pattern="^[0-9]{1,19}$")])
]
MomentIn = Annotated[
    datetime,
    BeforeValidator(
        _read_moment, json_schema_input_type=Annotated[str, Field(json_schema_extra={"format": "date-time"})]
    ),
]
_Kept = BeforeValidator(_read_text)
_Stripped = BeforeValidator(_strip)
# The checks in front come last in the list: a validator listed before a constraint would hide that it is a string.
Words = Annotated[str, Field(min_length=1, max_length=4000), _Kept]  # said to a person, kept as written
Line = Annotated[str, Field(min_length=1, max_length=200), _Kept, _Stripped]
OptionalLine = Annotated[str, Field(max_length=200), _Kept, _Stripped]
Text = Annotated[str, Field(min_length=1, max_length=4000), _Kept, _Stripped]
OptionalText = Annotated[str, Field(max_length=4000), _Kept, _Stripped]
Code = Annotated[str, Field(min_length=1, max_length=80, pattern=r"^[A-Za-z0-9_.\-]+$")]
OptionalCode = Annotated[str, Field(max_length=80, pattern=r"^[A-Za-z0-9_.\-]*$")]
Secret = Annotated[str, Field(min_length=1, max_length=200), _Kept]
Flag = StrictBool
Number = StrictInt

# Out
Id = Annotated[int, PlainSerializer(str, return_type=str), Field(json_schema_extra=_ID_SCHEMA)]


def _iso(moment: datetime) -> str:
    return moment.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


Time = Annotated[datetime, PlainSerializer(_iso, return_type=str), Field(json_schema_extra=_TIME_SCHEMA)]

RiskName = Risk
Role = Literal["counsellor", "supervisor", "curator", "administrator"]
