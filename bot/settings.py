"""config.yml and the environment, checked: an unknown key or a wrong value stops the start with its place named.

Order: defaults here < config.yml < environment (QINGTING_<SECTION>__<KEY>; for the entries of a list QINGTING_WECHAT__0__TOKEN).
Secrets are best given by environment; they are never printed.
"""

from __future__ import annotations

import errno
import os
import stat
from datetime import time
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit
from zoneinfo import ZoneInfo

import yaml
from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    SecretStr,
    ValidationError,
    field_validator,
    model_validator,
)
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError

from bot.value_words import wrong


class ConfigProblem(Exception):
    """config.yml cannot be used. The text says which key and what to do."""


def _entries(value: Any) -> Any:
    """A list whose entries came under their numbers, some keys from the file and some from the environment."""
    if isinstance(value, dict) and all(str(key).isdecimal() for key in value):
        return [value[key] for key in sorted(value, key=int)]
    return value


def _clock_time(value: str) -> str:
    try:
        time.fromisoformat(value)
    except ValueError:
        raise ValueError('应为 "时:分"，例如 "22:00"（要加引号）') from None
    return value


def _zone(value: str) -> str:
    try:
        ZoneInfo(value)
    except (KeyError, ValueError, OSError):
        raise ValueError("没有这个时区，例如 Asia/Shanghai") from None
    return value


def _database(value: str) -> str:
    try:
        known = make_url(value).get_backend_name() in ("sqlite", "postgresql")
    except ArgumentError:
        known = False
    if not known:
        raise ValueError("应为 sqlite:///路径 或 postgresql://用户@主机/库")
    return value


ClockTime = Annotated[str, AfterValidator(_clock_time)]
Zone = Annotated[str, AfterValidator(_zone)]
DatabaseUrl = Annotated[str, AfterValidator(_database)]


class Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Colours(Section):
    primary: str = "#2f6f73"
    text: str = "#1d2b2c"
    background: str = "#f7faf9"


class Hours(Section):
    """When somebody is there. `days` in ISO numbers (1 Monday … 7 Sunday)."""

    days: list[int] = Field(default_factory=lambda: [1, 2, 3, 4, 5, 6, 7])
    opens: ClockTime = "09:00"
    closes: ClockTime = "21:00"
    text: str = "每天 9:00—21:00"


class Desk(Section):
    """Who this desk is, as young people see it."""

    id: str = "000000"
    name: str = "12355 青少年服务台"
    short_name: str = "倾听"
    logo: str = ""
    colours: Colours = Colours()
    hours: Hours = Hours()
    night_from: ClockTime = "22:00"
    night_to: ClockTime = "07:00"
    timezone: Zone = "Asia/Shanghai"
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
    port: int = Field(default=8080, ge=0, le=65535)
    public_url: str = ""  # how people reach us from outside; needed behind a proxy
    trusted_proxies: int = 0  # how many X-Forwarded-For hops to believe
    max_body_bytes: int = 1_048_576


class StorageSection(Section):
    url: DatabaseUrl = "sqlite:///data/qingting.db"
    data: Path = Path("data")
    master_key: SecretStr | None = None  # 64 hex digits; else the file below
    master_key_file: Path = Path("data/master.key")


class QueueSection(Section):
    kind: Literal["memory", "redis"] = "memory"
    url: SecretStr = SecretStr("redis://127.0.0.1:6379/0")
    partitions: int = 16


class RasaSection(Section):
    """The Rasa server that `understanding.engine: rasa` asks beside the embedded engine; `qingting rasa serve` starts one."""

    url: str = "http://127.0.0.1:5005"
    token: SecretStr | None = None  # else the file below, else none
    token_file: Path | None = None
    timeout_seconds: float = Field(default=0.3, gt=0, le=0.8)  # within promise 4's second
    failures_open: int = Field(default=3, ge=1)  # failures in a row, after which Rasa is not asked …
    open_seconds: float = Field(default=30, ge=1)  # … for so long
    sure: float = Field(default=0.9, ge=0, le=1)  # from here on Rasa's topic and category are taken

    @field_validator("url")
    @classmethod
    def _words_travel_sealed(cls, url: str) -> str:
        parts = urlsplit(url)
        local = parts.hostname in ("localhost", "::1") or (parts.hostname or "").startswith("127.")
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError("要以 http:// 或 https:// 开头")
        if parts.scheme == "http" and not local:
            raise ValueError("别的机器上的 Rasa 只能用 https：来访者的话要经过网络")
        return url


LARGE_ENCODER_MB = 6144  # of address space: torch maps far more than it uses
_PACKAGED = "packaged"
_SENTENCE_TRANSFORMERS = "sentence-transformers:"


class Thresholds(Section):
    """From which probability on a message is low, medium, high, critical. What each buys: docs/understanding.md.

    At most 0.6: above that, the level would say that danger is unlikely where it is not.
    """

    low: float = Field(gt=0, le=0.6)
    medium: float = Field(gt=0, le=0.6)
    high: float = Field(gt=0, le=0.6)
    critical: float = Field(gt=0, le=0.6)


class UnderstandingSection(Section):
    engine: Literal["embedded", "rasa"] = "embedded"
    rasa: RasaSection = RasaSection()
    # What meaning is searched with among the entries: our own small encoder, or sentence-transformers:<folder or name>.
    encoder: str = _PACKAGED
    # The desk's own model that `qingting promote` put in charge, where there is one; else and for `packaged` the program's.
    model: Literal["promoted", "packaged"] = "promoted"
    thresholds: Thresholds | None = None  # the model's own where nothing is said
    processes: int = Field(default=2, ge=1, le=64)
    limit_seconds: float = Field(default=1.0, gt=0)  # promise 4
    memory_mb: int = 1024  # of the process that understands
    failures_page: int = Field(default=3, ge=1)  # failures …
    failures_window_seconds: float = Field(default=300, gt=0)  # … in this time page a supervisor

    @field_validator("encoder")
    @classmethod
    def _known_encoder(cls, encoder: str) -> str:
        named = encoder.removeprefix(_SENTENCE_TRANSFORMERS) if ":" in encoder else ""
        if encoder != _PACKAGED and not (encoder.startswith(_SENTENCE_TRANSFORMERS) and named):
            raise ValueError("要写 packaged，或 sentence-transformers:模型目录（或模型名）")
        return encoder

    @model_validator(mode="after")
    def _room_for_the_encoder(self) -> UnderstandingSection:
        if self.encoder != _PACKAGED and self.memory_mb < LARGE_ENCODER_MB:
            raise ValueError(
                f"用 sentence-transformers 时，memory_mb 至少要 {LARGE_ENCODER_MB}（每个进程的地址空间）"
            )
        return self


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


class KnowledgeSection(Section):
    # What an entry past its day of review does: answer with a caution, or be silent, so that a human answers.
    overdue: Literal["caution", "silent"] = "caution"


class HelpSection(Section):
    enabled: bool = True  # published entries for everybody under /help


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
    knowledge: KnowledgeSection = KnowledgeSection()
    help: HelpSection = HelpSection()
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
            raise ValueError("有两个账号同名，请给每个账号写不同的 account")
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
    try:
        raw = yaml.safe_load(chosen.read_text(encoding="utf-8")) or {}
    except FileNotFoundError:
        if named is not None:
            raise ConfigProblem(f"{chosen}：没有这个文件") from None
    except OSError as error:
        raise ConfigProblem(f"{chosen}：读不了这个文件（{reason(error)}）") from None
    except UnicodeDecodeError:
        raise ConfigProblem(f"{chosen}：不是 UTF-8 编码的文字，请另存为 UTF-8") from None
    except yaml.YAMLError as error:
        raise ConfigProblem(f"{chosen}：{_yaml_fault(error)}") from None
    if not isinstance(raw, dict):
        raise ConfigProblem(f"{chosen}：最外层要是 desk:、server:、storage: 这样的段")
    try:
        return Settings(**_numbered(raw))
    except ValidationError as error:
        lines = [f"  {_place(e['loc'])}：{_fault(e)}" for e in error.errors(include_input=False)]
        raise ConfigProblem(f"{chosen}（或环境变量）里有写错的地方，请改正：\n" + "\n".join(lines)) from None


def reason(error: OSError) -> str:
    """Why a file or an address cannot be used, in Chinese, with the system's own code behind it."""
    code = errno.errorcode.get(error.errno or 0, type(error).__name__)
    return f"{_REASONS[code]}，{code}" if code in _REASONS else code


_REASONS = {
    "EACCES": "没有权限",
    "EPERM": "没有权限",
    "ENOENT": "没有这个文件或目录",
    "EISDIR": "这是一个目录",
    "ENOTDIR": "路径中有一段不是目录",
    "ENOSPC": "磁盘满了",
    "EROFS": "磁盘是只读的",
    "EADDRINUSE": "已被别的程序占用",
    "EADDRNOTAVAIL": "本机没有这个地址",
    "ECONNREFUSED": "对方没有在听",
    "EHOSTUNREACH": "到不了那台机器",
    "ENETUNREACH": "到不了那个网络",
    "ETIMEDOUT": "等了很久没有回音",
    "TimeoutError": "等了很久没有回音",
    "gaierror": "找不到这个主机名",
}


def _place(loc: tuple[int | str, ...]) -> str:
    return ".".join(str(part) for part in loc)


def _fault(error: Any) -> str:
    """What is wrong with one key. The value itself may be a secret and is not repeated."""
    match error["type"]:
        case "missing":
            return "缺少这一项"
        case "extra_forbidden":
            return "没有这个键，请看看有没有拼错"
        case "value_error":
            return str(error["ctx"]["error"])  # our own validators' words
        case "model_type" | "dict_type" | "model_attributes_type":
            return "下面要分项写"
        case kind:
            return wrong(kind, error.get("ctx") or {})


def _yaml_fault(error: yaml.YAMLError) -> str:
    """Where it cannot be read. The library's own message quotes the line, which may hold a secret."""
    mark = getattr(error, "problem_mark", None)
    where = f"第 {mark.line + 1} 行第 {mark.column + 1} 列附近" if mark else "某一处"
    return f"{where}写法有误（YAML）：常见的是缩进没对齐、冒号后面少了空格、引号或括号没有成对"


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
        raise ConfigProblem(f"{path}：别人也能读这把密钥（权限 {mode:04o}）。请运行：chmod 600 {path}")
