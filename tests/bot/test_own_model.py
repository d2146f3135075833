"""A desk's own model is loaded where it was promoted; one that cannot be trusted is replaced by the packaged one, loudly."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from bot import models
from bot.brain import Brain, Question, brain_of
from bot.models import Chosen
from bot.settings import ConfigProblem, Settings
from nlu import train
from tests.nlu.test_train import corpus_in


def config(folder: Path, **understanding: object) -> Settings:
    storage = {
        "data": str(folder),
        "url": f"sqlite:///{folder}/qingting.db",
        "master_key_file": str(folder / "key"),
    }
    return Settings(storage=storage, understanding={"processes": 1, **understanding})


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model that knows eleven lines."""
    folder = tmp_path_factory.mktemp("small")
    train.train(corpus_in(folder), folder / "own.npz")
    return folder / "own.npz"


def own_model(folder: Path, small: Path) -> Path:
    (folder / "models").mkdir()
    return Path(shutil.copy(small, folder / "models" / "own.npz"))


async def score(brain: Brain, words: str = "老板拖欠我两个月工资怎么办") -> float:
    """What the brain makes of a harmless question: near nothing by the packaged model."""
    await brain.start()
    try:
        (thought,) = await brain.think([Question(words, answer=False)])
        assert not thought.fell_back
        return thought.understanding.risk_score
    finally:
        await brain.close()


async def test_the_promoted_model_is_loaded_and_packaged_can_be_asked_for(
    tmp_path: Path, small: Path
) -> None:
    path = own_model(tmp_path, small)
    settings = config(tmp_path)
    packaged = await score(brain_of(settings))
    models.put_in_charge(settings, Chosen(path, models.fingerprint(path)))
    assert models.promoted(settings) == Chosen(path, models.fingerprint(path))
    assert await score(brain_of(settings)) != pytest.approx(packaged, rel=1e-3)
    assert await score(brain_of(config(tmp_path, model="packaged"))) == pytest.approx(packaged)
    models.put_in_charge(settings, None)
    assert models.promoted(settings) is None


@pytest.mark.parametrize("fault", ["changed", "missing", "broken"])
async def test_a_model_that_cannot_be_trusted_gives_way_to_the_packaged_one_and_the_log_says_so(
    tmp_path: Path, small: Path, fault: str
) -> None:
    path, settings = own_model(tmp_path, small), config(tmp_path)
    packaged = await score(brain_of(settings))
    if fault == "broken":
        path.write_bytes(b"no model")
    models.put_in_charge(settings, Chosen(path, models.fingerprint(path)))
    if fault == "changed":
        path.write_bytes(path.read_bytes() + b"x")
    if fault == "missing":
        path.unlink()
    with capture_logs() as told:
        assert await score(brain_of(settings)) == pytest.approx(packaged)
    (line,) = [entry for entry in told if entry["event"] == "understanding.model_refused"]
    assert (line["log_level"], line["used"]) == ("error", "packaged")
    assert "own.npz" in line["why"]


def test_a_pointer_that_says_nothing_stops_the_start_with_the_cure(tmp_path: Path) -> None:
    pointer = tmp_path / "models" / "promoted.json"
    pointer.parent.mkdir()
    pointer.write_text("{")
    with pytest.raises(ConfigProblem, match="删掉它"):
        models.in_charge(config(tmp_path))


def test_a_pointer_never_leads_out_of_the_folder(tmp_path: Path) -> None:
    pointer = tmp_path / "models" / "promoted.json"
    pointer.parent.mkdir()
    pointer.write_text(json.dumps({"file": "../../etc/x.npz", "sha256": "0"}))
    chosen = models.promoted(config(tmp_path))
    assert chosen is not None
    assert chosen.path == tmp_path / "models" / "x.npz"


def test_a_name_that_leads_nowhere_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigProblem, match="没有模型 nothing"):
        models.named(config(tmp_path), "nothing")
