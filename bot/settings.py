"""config.yml and the environment, checked: an unknown key or a wrong value stops the start with its place named.

Order: defaults here < config.yml < environment (QINGTING_<SECTION>__<KEY>; for the entries of a list QINGTING_WECHAT__0__TOKEN).
Secrets are best given by environment; they are never printed.
"""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, SecretStr, ValidationError, field_validator
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict


class ConfigProblem(Exception):
    """config.yml cannot be used. The text says which key and what to do."""


def _entries(value: Any) -> Any:
    """A list whose entries came under their numbers, some keys from the file and some from the environment."""
    if isinstance(value, dict) and all(str(key).isdecimal() for key in value):
        return [value[key] for key in sorted(value, key=int)]
    return value


class Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Colours(Section):
    primary: str = "#2f6f73"
    text: str = "#1d2b2c"
    background: str = "#f7faf9"


class Hours(Section):
    """When somebody is there. `days` in ISO numbers (1 Monday … 7 Sunday)."""

    days: list[int] = Field(default_factory=lambda: [1, 2, 3, 4, 5, 6, 7])
    opens: str = "09:00"
    closes: str = "21:00"
    text: str = "每天 9:00—21:00"


class Desk(Section):
    """Who this desk is, as young people see it."""

    id: str = "000000"
    name: str = "12355 青少年服务台"
    short_name: str = "倾听"
    logo: str = ""
    colours: Colours = Colours()
    hours: Hours = Hours()
    night_from: str = "22:00"
    night_to: str = "07:00"
    timezone: str = "Asia/Shanghai"
    privacy_url: str = ""
    # Public and stable numbers; an operator changes or adds local ones.
    numbers: dict[str, str] = Field(
        default_factory=lambda: {
            "desk": "12355",
            "psychological": "12356",
            "police": "110",
            "police_sms": "12110",
            "ambulance": "120",
            "fire": "119",
            "legal_aid": "12348",
            "women": "12338",
            "government": "12345",
            "labour": "12333",
            "procuratorate": "12309",
            "fraud": "96110",
            "consumers": "12315",
            "health": "12320",
        }
    )


class Server(Section):
    host: str = "127.0.0.1"
    port: int = 8080
    public_url: str = ""  # how people reach us from outside; needed behind a proxy
    trusted_proxies: int = 0  # how many X-Forwarded-For hops to believe
    max_body_bytes: int = 1_048_576


class StorageSection(Section):
    url: str = "sqlite:///data/qingting.db"
    data: Path = Path("data")
    master_key: SecretStr | None = None  # 64 hex digits; else the file below
    master_key_file: Path = Path("data/master.key")


class QueueSection(Section):
    kind: Literal["memory", "redis"] = "memory"
    url: SecretStr = SecretStr("redis://127.0.0.1:6379/0")
    partitions: int = 16


class UnderstandingSection(Section):
    processes: int = Field(default=2, ge=1, le=64)
    limit_seconds: float = 1.0  # promise 4
    memory_mb: int = 1024  # of the process that understands
    failures_page: int = 3  # failures …
    failures_window_seconds: float = 300  # … in this time page a supervisor


class WebhookTarget(Section):
    """Where an alert is posted: a group robot of WeCom, DingTalk or Feishu, or a voice/SMS provider's URL."""

    name: str
    kind: Literal["wecom", "dingtalk", "feishu", "json"]
    url: SecretStr
    secret: SecretStr | None = None
    rungs: list[int] = Field(default_factory=lambda: [0, 1, 2])


class FallbackTelephone(Section):
    """The last rung: a number somebody always answers, called through this URL."""

    url: SecretStr | None = None
    number: SecretStr | None = None


class EscalationSection(Section):
    """Promises 4 to 6 in seconds. Shorter only in tests; longer breaks the promise and warns at start."""

    rung_critical: float = 60
    rung_high: float = 180
    acknowledged_critical: float = 120
    acknowledged_high: float = 300
    silence_critical: float = 120
    silence_high: float = 300
    silence_other: float = 1800
    owner_gone: float = 60
    risen_grace: float = 60
    unread_rings_after: float = 600
    webhooks: list[WebhookTarget] = Field(default_factory=list)
    fallback_telephone: FallbackTelephone = FallbackTelephone()

    _numbered = field_validator("webhooks", mode="before")(_entries)


class WebchatSection(Section):
    enabled: bool = True
    allowed_hosts: list[str] = Field(default_factory=lambda: ["*"])  # sites that may show the widget
    neutral_url: str = "https://www.baidu.com/"  # where quick exit goes
    max_text: int = 4000


class WechatAccount(Section):
    account: str = "default"
    app_id: str
    token: SecretStr
    encoding_aes_key: SecretStr | None = None
    app_secret: SecretStr | None = None
    verified: bool = True  # has the customer-service API
    plain_mode: bool = False
    api_base: str = "https://api.weixin.qq.com"


class SmsAccount(Section):
    account: str = "default"
    secret: SecretStr
    auth: Literal["hmac", "token"] = "hmac"
    flavour: Literal["generic", "kannel"] = "generic"
    send_url: str
    sender: str = ""  # the number that people write to
    receipts_url: str = ""  # where the provider reaches us; default: server.public_url, else our own port
    send_user: str = ""
    send_password: SecretStr | None = None
    signature: str = ""  # 【…】
    max_segments: int = 6
    opt_out_words: list[str] = Field(default_factory=lambda: ["TD", "T", "N", "R", "退订", "拒收"])
    templates: dict[str, str] = Field(default_factory=dict)  # our template key -> the provider's template id
    fixed_wording: bool = False  # the provider sends only mapped templates


class Retention(Section):
    """Days that each class of data is kept after its conversation closed."""

    message_words: int = 730
    case_records: int = 1825
    network_addresses: int = 30
    looks: int = 1825
    login_sessions: int = 90
    deliveries: int = 180


class Settings(BaseSettings):
    """Everything an operator can set."""

    model_config = SettingsConfigDict(
        env_prefix="QINGTING_", env_nested_delimiter="__", extra="forbid", frozen=True
    )

    desk: Desk = Desk()
    server: Server = Server()
    storage: StorageSection = StorageSection()
    queue: QueueSection = QueueSection()
    understanding: UnderstandingSection = UnderstandingSection()
    escalation: EscalationSection = EscalationSection()
    webchat: WebchatSection = WebchatSection()
    wechat: list[WechatAccount] = Field(default_factory=list)
    sms: list[SmsAccount] = Field(default_factory=list)
    retention: Retention = Retention()
    log_json: bool = False

    _numbered = field_validator("wechat", "sms", mode="before")(_entries)

    @field_validator("wechat", "sms")
    @classmethod
    def _accounts_differ(cls, accounts: list[Any]) -> list[Any]:
        names = [a.account for a in accounts]
        if len(set(names)) != len(names):
            raise ValueError("two accounts have the same name")
        return accounts

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        return env_settings, init_settings


def load(path: Path | None = None) -> Settings:
    """Read `path` (default: QINGTING_CONFIG, else config.yml, else only defaults). Raises ConfigProblem."""
    named = path or (Path(os.environ["QINGTING_CONFIG"]) if "QINGTING_CONFIG" in os.environ else None)
    chosen = named or Path("config.yml")
    raw: Any = {}
    if chosen.exists():
        try:
            raw = yaml.safe_load(chosen.read_text(encoding="utf-8")) or {}
        except (yaml.YAMLError, UnicodeDecodeError) as error:
            raise ConfigProblem(f"{chosen}: not readable as YAML: {error}") from None
    elif named is not None:
        raise ConfigProblem(f"{chosen}: there is no such file")
    if not isinstance(raw, dict):
        raise ConfigProblem(f"{chosen}: the top level must be sections such as desk:, server:, storage:")
    try:
        return Settings(**_numbered(raw))
    except ValidationError as error:
        lines = [
            f"  {'.'.join(str(p) for p in e['loc'])}: {e['msg']}" for e in error.errors(include_input=False)
        ]
        raise ConfigProblem(f"{chosen}: please correct\n" + "\n".join(lines)) from None


def _numbered(raw: Any) -> Any:
    """`raw` with lists of sections as {"0": …, "1": …}: in that form the environment's keys join the file's (`_entries` undoes it)."""
    if isinstance(raw, dict):
        return {key: _numbered(value) for key, value in raw.items()}
    if isinstance(raw, list) and raw and all(isinstance(value, dict) for value in raw):
        return {str(number): _numbered(value) for number, value in enumerate(raw)}
    return raw


def check_private(path: Path) -> None:
    """Refuse a key file that others on the machine can read. Raises ConfigProblem."""
    mode = stat.S_IMODE(path.stat().st_mode)
    if mode & 0o077:
        raise ConfigProblem(f"{path}: others can read this key (mode {mode:04o}); run: chmod 600 {path}")
