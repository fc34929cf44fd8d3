"""The options of a step as a processing job carries them: words of its command line."""

from __future__ import annotations

import json
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from synth_components.config import ConfigError, StepConfig, to_strings
from synth_components.steps.command import flattened
from synth_sagemaker.request import Text

NONE: Mapping[str, Text] = MappingProxyType({})


def texts_of(config: StepConfig, expressions: Mapping[str, Text] = NONE) -> dict[str, Text]:
    """Return the options that were said, as text; the others have the defaults of the image's version.

    A map of a generator's options is flattened: ``generator.min_leaf``.

    Args:
        expressions: By option, what a pipeline makes into text when it runs.

    Raises:
        ConfigError: if an expression is for an option that the config does not have.
    """
    cls = type(config)
    texts: dict[str, Text] = {key: text for key, text in to_strings(config).items() if key in config.model_fields_set}
    for name, field in flattened(cls).items():
        held: Mapping[str, Any] = config.model_dump(mode="json")[field]
        texts.pop(field, None)
        texts |= {
            f"{name}.{key}": value if isinstance(value, str) else json.dumps(value, sort_keys=True)
            for key, value in held.items()
        }
    for name in expressions:
        if name not in cls.model_fields:
            raise ConfigError(f"{cls.__name__} has no option '{name}' for an expression", option=name)
    return {**texts, **expressions}


def words_of(config: StepConfig, expressions: Mapping[str, Text] = NONE) -> list[Text]:
    """Return the same as the words of a command line: ``["--num-rows", "1000"]``."""
    return [
        word for name, text in texts_of(config, expressions).items() for word in (f"--{name.replace('_', '-')}", text)
    ]
