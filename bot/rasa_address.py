"""Where Rasa is, as the shell hands it to the processes that ask it. Light: the service's own process imports it too."""

from __future__ import annotations

from dataclasses import dataclass

from bot.settings import ConfigProblem, RasaSection, check_private, reason


@dataclass(frozen=True, slots=True)
class RasaAddress:
    """Where Rasa is and how to behave towards it; seconds. See `understanding.rasa` in bot/settings.py."""

    url: str
    token: str = ""
    timeout_seconds: float = 0.3
    failures_open: int = 3
    open_seconds: float = 30.0
    sure: float = 0.9


def address_of(section: RasaSection) -> RasaAddress:
    """The address with its token read. Raises ConfigProblem."""
    token = section.token.get_secret_value() if section.token else ""
    if not token and section.token_file is not None:
        try:
            check_private(section.token_file)
            token = section.token_file.read_text(encoding="utf-8").strip()
        except OSError as error:
            raise ConfigProblem(
                f"understanding.rasa.token_file：{section.token_file} 读不了（{reason(error)}）"
            ) from None
    return RasaAddress(
        url=section.url,
        token=token,
        timeout_seconds=section.timeout_seconds,
        failures_open=section.failures_open,
        open_seconds=section.open_seconds,
        sure=section.sure,
    )
