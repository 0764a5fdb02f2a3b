"""YAML as people write it: numbers such as 1e-3 are numbers, and a key given twice is a mistake."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import yaml

from equitools.errors import ConfigError

__all__ = ["apply_override", "parse_yaml", "read_yaml"]


class _Loader(yaml.SafeLoader):
    pass


# YAML 1.1 wants a dot and a signed exponent, so that PyYAML reads 1e-3 as a string; YAML 1.2 does not.
_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(r"^[-+]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)[eE][-+]?[0-9]+$"),
    list("-+0123456789."),
)


def _mapping(loader: _Loader, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:  # noqa: ARG001
    seen: set[Any] = set()
    for key_node, _ in node.value:
        key = loader.construct_object(key_node, deep=True)
        if isinstance(key, list | dict):
            raise yaml.constructor.ConstructorError(None, None, f"{key!r} cannot be a key", key_node.start_mark)
        if key in seen:
            raise yaml.constructor.ConstructorError(None, None, f"the key {key!r} is given twice", key_node.start_mark)
        seen.add(key)
    return yaml.SafeLoader.construct_mapping(loader, node, deep=True)


_Loader.add_constructor(yaml.resolver.BaseResolver.DEFAULT_MAPPING_TAG, _mapping)


def parse_yaml(text: str, what: str) -> Any:
    """Parse YAML.

    Args:
        text: The document.
        what: Where it comes from, for the message.

    Raises:
        ConfigError: With the line of the mistake.
    """
    try:
        return yaml.load(text, Loader=_Loader)  # noqa: S506 - the loader derives from SafeLoader
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f" in line {mark.line + 1}, column {mark.column + 1}" if mark is not None else ""
        problem = getattr(error, "problem", None) or str(error)
        raise ConfigError(f"{what} is not valid YAML{where}: {problem}.") from error


def read_yaml(path: Path) -> dict[str, Any]:
    """Read a YAML file whose top level is a mapping.

    Raises:
        ConfigError: Missing, unreadable, empty, invalid, or not a mapping.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError as error:
        raise ConfigError(f"There is no configuration file {str(path)!r}.") from error
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"The configuration file {str(path)!r} cannot be read: {error}.") from error
    values = parse_yaml(text, f"The configuration file {str(path)!r}")
    if values is None:
        raise ConfigError(f"The configuration file {str(path)!r} is empty; it needs at least data and model.")
    if not isinstance(values, dict):
        raise ConfigError(
            f"The configuration file {str(path)!r} must hold sections such as data: and model:, "
            f"but holds a {type(values).__name__}."
        )
    return values


def apply_override(values: dict[str, Any], override: str) -> None:
    """Set one value by ``key.sub=value``, in place.

    A section that is absent, null or a single word (``reference_energies: fit``) is replaced by a section.

    Raises:
        ConfigError: Where the override has another form.
    """
    path, equals, text = override.partition("=")
    keys = [key.strip() for key in path.split(".")]
    if not equals or not all(keys):
        raise ConfigError(
            f"An override has the form key.sub=value, such as loss.forces=10, but was given {override!r}."
        )
    section = values
    for key in keys[:-1]:
        if not isinstance(section.get(key), dict):
            section[key] = {}
        section = section[key]
    section[keys[-1]] = parse_yaml(text, f"The value of the override {override!r}")
