"""What an operator writes in config.yml and the environment is taken, or refused with its place named."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner

from bot import settings
from bot.cli import cli
from bot.settings import ConfigProblem

CONFIG = """
wechat:
  - {account: main, app_id: wx1, token: from-file}
  - {account: second, app_id: wx2, token: other}
escalation:
  webhooks:
    - {name: group, kind: wecom, url: "https://robot.example/from-file", rungs: [0]}
"""


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / "config.yml"
    path.write_text(CONFIG, encoding="utf-8")
    return path


def test_secrets_of_an_account_come_from_the_environment_and_the_rest_from_the_file(
    config: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("QINGTING_WECHAT__0__TOKEN", "from-environment")
    monkeypatch.setenv("QINGTING_ESCALATION__WEBHOOKS__0__SECRET", "sign")
    found = settings.load(config)
    assert [a.account for a in found.wechat] == ["main", "second"]
    assert found.wechat[0].token.get_secret_value() == "from-environment"
    assert found.wechat[1].token.get_secret_value() == "other"
    (robot,) = found.escalation.webhooks
    assert robot.secret is not None
    assert robot.secret.get_secret_value() == "sign"
    assert (robot.name, robot.rungs) == ("group", [0])


def test_a_missing_key_of_an_account_is_named_with_its_number(
    config: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("QINGTING_WECHAT__2__APP_ID", "wx3")
    with pytest.raises(ConfigProblem, match=r"wechat\.2\.token：缺少这一项"):
        settings.load(config)


def test_an_unknown_key_and_a_wrong_value_are_named_and_secrets_are_not_shown(config: Path) -> None:
    config.write_text("server: {prot: 1}\nwechat: [{app_id: wx1, tokens: geheim}]\n", encoding="utf-8")
    with pytest.raises(ConfigProblem) as refused:
        settings.load(config)
    assert "server.prot" in str(refused.value)
    assert "wechat.0.tokens" in str(refused.value)
    assert "geheim" not in str(refused.value)


def test_before_the_first_start_the_check_asks_for_no_key_and_afterwards_it_does(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    outcome = CliRunner().invoke(cli, ["check"])
    assert outcome.exit_code == 0
    assert "首次启动" in outcome.output
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "qingting.db").touch()
    outcome = CliRunner().invoke(cli, ["check"])
    assert isinstance(outcome.exception, ConfigProblem)
    assert "主密钥不见了" in str(outcome.exception)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("desk: {timezone: Asia/Nowhere}", "desk.timezone：没有这个时区"),
        ('desk: {night_from: "25:00"}', 'desk.night_from：应为 "时:分"'),
        ("desk: {hours: {opens: 早上}}", 'desk.hours.opens：应为 "时:分"'),
        ("storage: {url: mysql://somewhere/db}", "storage.url：应为 sqlite:///路径 或 postgresql://"),
        ("queue: {kind: rabbit}", "queue.kind：只能是 memory、redis 之一"),
        ("server: {port: ten}", "server.port：应为整数"),
        ("server: {port: 70000}", "server.port：不能大于 65535"),
        ("understanding: {limit_seconds: soon}", "understanding.limit_seconds：应为数"),
        ("server: 8080", "server：下面要分项写"),
        ("- desk", "最外层要是"),
        ("desk:\n  name: 'half\nserver: {}\n", "行第"),
        (
            "sms:\n- {secret: geheim, send_url: http://a}\n- {secret: geheim, send_url: http://b}",
            "sms：有两个账号同名",
        ),
    ],
)
def test_what_is_wrong_is_said_in_chinese_and_values_are_not(tmp_path: Path, text: str, words: str) -> None:
    path = tmp_path / "config.yml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(ConfigProblem) as refused:
        settings.load(path)
    assert words in str(refused.value)
    assert "geheim" not in str(refused.value)


def test_a_file_that_is_not_there_and_one_that_is_no_text_are_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigProblem, match="没有这个文件"):
        settings.load(tmp_path / "nowhere.yml")
    (tmp_path / "binary.yml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ConfigProblem, match="不是 UTF-8"):
        settings.load(tmp_path / "binary.yml")
    with pytest.raises(ConfigProblem, match="这是一个目录，EISDIR"):
        settings.load(tmp_path)


def test_the_check_names_what_is_weaker_than_promised(tmp_path: Path) -> None:
    path = tmp_path / "config.yml"
    path.write_text(f"understanding: {{limit_seconds: 5}}\nstorage: {{data: {tmp_path}}}\n", encoding="utf-8")
    outcome = CliRunner().invoke(cli, ["check", "-c", str(path)], env={"COLUMNS": "200"})
    assert "understanding.limit_seconds：5，承诺是不超过 1" in outcome.output
