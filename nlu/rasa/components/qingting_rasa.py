"""Qingting's own parts of Rasa's pipeline. Runs inside Rasa's environment (Python 3.10), not in the service.

Only `nlu/encoder.py` is shared with the service: it needs numpy alone and is loaded from its file.
"""

from __future__ import annotations

import importlib.util
import shutil
import sys
from pathlib import Path
from typing import Any

import numpy as np
import regex
from rasa.engine.graph import ExecutionContext, GraphComponent
from rasa.engine.recipes.default_recipe import DefaultV1Recipe
from rasa.engine.storage.resource import Resource
from rasa.engine.storage.storage import ModelStorage
from rasa.nlu.classifiers.diet_classifier import DIETClassifier
from rasa.nlu.constants import DENSE_FEATURIZABLE_ATTRIBUTES, FEATURIZER_CLASS_ALIAS, TOKENS_NAMES
from rasa.nlu.featurizers.dense_featurizer.dense_featurizer import DenseFeaturizer
from rasa.nlu.tokenizers.tokenizer import Token, Tokenizer
from rasa.shared.nlu.constants import (
    FEATURE_TYPE_SENTENCE,
    FEATURE_TYPE_SEQUENCE,
    INTENT,
    METADATA,
    METADATA_EXAMPLE,
    TEXT,
)
from rasa.shared.nlu.training_data.features import Features
from rasa.shared.nlu.training_data.message import Message
from rasa.shared.nlu.training_data.training_data import TrainingData

NLU = Path(__file__).resolve().parents[2]
_TOKEN = regex.compile(r"\p{Han}|[\p{Latin}]+|\p{Nd}+|[^\s]")


@DefaultV1Recipe.register(DefaultV1Recipe.ComponentType.MESSAGE_TOKENIZER, is_trainable=False)
class Characters(Tokenizer):  # type: ignore[misc]
    """One token for each Chinese character, run of Latin letters, number or mark."""

    @staticmethod
    def supported_languages() -> list[str]:
        return ["zh"]

    @staticmethod
    def get_default_config() -> dict[str, Any]:
        return {
            "intent_tokenization_flag": False,
            "intent_split_symbol": "_",
            "token_pattern": None,
            "prefix_separator_symbol": None,
        }

    @classmethod
    def create(
        cls,
        config: dict[str, Any],
        model_storage: ModelStorage,
        resource: Resource,
        execution_context: ExecutionContext,
    ) -> Characters:
        return cls(config)

    def tokenize(self, message: Message, attribute: str) -> list[Token]:
        text = message.get(attribute)
        found = [Token(match.group(), match.start()) for match in _TOKEN.finditer(text)]
        return found or [Token(text, 0)]


@DefaultV1Recipe.register(DefaultV1Recipe.ComponentType.MESSAGE_FEATURIZER, is_trainable=True)
class Meaning(DenseFeaturizer, GraphComponent):  # type: ignore[misc]
    """The vector of `nlu/encoder.npz`: of the whole text as its sentence feature, of each token as the sequence's.

    The weights are copied into the trained model, so that a model never meets vectors other than those it learned from.
    """

    WEIGHTS = "encoder.npz"

    @classmethod
    def required_components(cls) -> list[type]:
        return [Tokenizer]

    @staticmethod
    def get_default_config() -> dict[str, Any]:
        return {**DenseFeaturizer.get_default_config()}

    @classmethod
    def validate_config(cls, config: dict[str, Any]) -> None:
        """Nothing to set."""

    def __init__(
        self, config: dict[str, Any], name: str, weights: Path, storage: ModelStorage, resource: Resource
    ):
        super().__init__(name, config)
        self._encoder = _encoder_module().Encoder.load(weights)
        self._weights, self._storage, self._resource = weights, storage, resource

    @classmethod
    def create(
        cls,
        config: dict[str, Any],
        model_storage: ModelStorage,
        resource: Resource,
        execution_context: ExecutionContext,
    ) -> Meaning:
        return cls(config, execution_context.node_name, NLU / cls.WEIGHTS, model_storage, resource)

    @classmethod
    def load(
        cls,
        config: dict[str, Any],
        model_storage: ModelStorage,
        resource: Resource,
        execution_context: ExecutionContext,
        **_: Any,
    ) -> Meaning:
        with model_storage.read_from(resource) as folder:
            return cls(config, execution_context.node_name, folder / cls.WEIGHTS, model_storage, resource)

    def train(self, training_data: TrainingData) -> Resource:
        """Nothing to learn: the weights go into the model."""
        with self._storage.write_to(self._resource) as folder:
            shutil.copyfile(self._weights, folder / self.WEIGHTS)
        return self._resource

    def process_training_data(self, training_data: TrainingData) -> TrainingData:
        self.process(training_data.training_examples)
        return training_data

    def process(self, messages: list[Message]) -> list[Message]:
        for message in messages:
            for attribute in DENSE_FEATURIZABLE_ATTRIBUTES:
                tokens = message.get(TOKENS_NAMES[attribute])
                if tokens:
                    self._add(message, attribute, [token.text for token in tokens])
        return messages

    def _add(self, message: Message, attribute: str, tokens: list[str]) -> None:
        vectors = self._encoder.encode([*tokens, message.get(attribute)]).astype(np.float32)
        for kind, part in ((FEATURE_TYPE_SEQUENCE, vectors[:-1]), (FEATURE_TYPE_SENTENCE, vectors[-1:])):
            message.add_features(Features(part, kind, attribute, self._config[FEATURIZER_CLASS_ALIAS]))


@DefaultV1Recipe.register(DefaultV1Recipe.ComponentType.INTENT_CLASSIFIER, is_trainable=True)
class LabelClassifier(DIETClassifier):  # type: ignore[misc]
    """DIET over another label than the intent: the one under `label` in each line's metadata.

    Answers under the label's name and `<label>_ranking`, shaped as Rasa shapes `intent` and `intent_ranking`.
    """

    @staticmethod
    def get_default_config() -> dict[str, Any]:
        return {**DIETClassifier.get_default_config(), "label": None}

    def train(self, training_data: TrainingData) -> Resource:
        label = self.component_config["label"]
        relabelled = []
        for example in training_data.nlu_examples:
            value = ((example.get(METADATA) or {}).get(METADATA_EXAMPLE) or {}).get(label)
            if value:
                features = [part for part in example.features if part.attribute == TEXT]
                data = {**{k: v for k, v in example.data.items() if k != METADATA}, INTENT: value}
                relabelled.append(Message(data=data, features=features))
        return super().train(TrainingData(relabelled))

    def process(self, messages: list[Message]) -> list[Message]:
        label = self.component_config["label"]
        for message in messages:
            best, ranking = self._predict_label(self._predict(message))
            message.set(label, best, add_to_output=True)
            message.set(f"{label}_ranking", ranking, add_to_output=True)
        return messages


def _encoder_module() -> Any:
    """nlu/encoder.py, without the package around it: that needs what this environment does not have."""
    name = "qingting_encoder"
    if name not in sys.modules:
        spec = importlib.util.spec_from_file_location(name, NLU / "encoder.py")
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        sys.modules[name] = module  # dataclasses look their module up
        spec.loader.exec_module(module)
    return sys.modules[name]
