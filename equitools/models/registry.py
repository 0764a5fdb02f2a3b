"""Networks by name: our own, those that a program registers, and those of other packages.

Another package offers a network through the entry-point group ``equitools.models``; the value is a `Backbone`
subclass (then the entry point's name is the network's) or a module that calls `register` when it is imported. Entry
points are read when a name is asked for that is not known yet, or when all names are listed. One that cannot be loaded
costs a `PluginWarning` that names it, and nothing else.
"""

from __future__ import annotations

import importlib
import warnings
from collections.abc import Callable
from importlib import metadata
from types import ModuleType
from typing import Any, TypeVar

from equitools.errors import ConfigError, UnknownNameError, nearest
from equitools.models.contract import Backbone, ModelConfig, parse_config

__all__ = ["ENTRY_POINT_GROUP", "PluginWarning", "build", "get", "names", "register"]

ENTRY_POINT_GROUP = "equitools.models"

_BUILTIN = {
    "egnn": "equitools.models.egnn",
    "faenet": "equitools.models.faenet",
    "many_body_mp": "equitools.models.many_body_mp",
}
_registered: dict[str, type[Backbone]] = {}
_tried: set[tuple[str, str]] = set()

BackboneT = TypeVar("BackboneT", bound=type[Backbone])


class PluginWarning(UserWarning):
    """A package's entry point in ``equitools.models`` could not be loaded."""


def register(name: str) -> Callable[[BackboneT], BackboneT]:
    """Register a `Backbone` subclass under a name; use it as a class decorator.

    Args:
        name: The name for configurations and files; a Python identifier.

    Returns:
        The decorator, which sets ``cls.name`` and returns the class.

    Raises:
        ConfigError: The name is not an identifier or is taken by another class, or the class is not a backbone.
    """

    def decorate(cls: BackboneT) -> BackboneT:
        if not (isinstance(cls, type) and issubclass(cls, Backbone)):
            raise ConfigError(f"register({name!r}) takes a subclass of equitools.models.Backbone, not {cls!r}.")
        if not (isinstance(cls.config_class, type) and issubclass(cls.config_class, ModelConfig)):
            raise ConfigError(f"{cls.__name__}.config_class must be a subclass of equitools.models.ModelConfig.")
        if not name.isidentifier():
            raise ConfigError(f"a model's name must be an identifier such as 'my_network', not {name!r}.")
        taken = _registered.get(name)
        if taken is not None and _origin(taken) != _origin(cls):
            raise ConfigError(
                f"the model name {name!r} is taken by {taken.__module__}.{taken.__qualname__}; "
                f"register {cls.__module__}.{cls.__qualname__} under another name."
            )
        if name in _BUILTIN and cls.__module__ != _BUILTIN[name]:
            raise ConfigError(f"the model name {name!r} belongs to equitools itself; choose another.")
        cls.name = name
        _registered[name] = cls
        return cls

    return decorate


def _origin(cls: type) -> tuple[str, str]:
    return cls.__module__, cls.__qualname__  # equal for a class whose module was reloaded


def _load_plugins() -> None:
    for point in metadata.entry_points(group=ENTRY_POINT_GROUP):
        key = (point.name, point.value)
        if key in _tried or point.value.partition(":")[0] in _BUILTIN.values():
            continue  # our own are imported when they are asked for
        _tried.add(key)
        try:
            target = point.load()
            if not isinstance(target, ModuleType) and target not in _registered.values():
                register(point.name)(target)
        # Whatever a foreign package raises while it is imported, our own models must keep working.
        except Exception as error:
            package = f" of {point.dist.name}" if point.dist is not None else ""
            warnings.warn(
                f"the plugin {point.name!r}{package} (entry point {point.value!r} in {ENTRY_POINT_GROUP!r}) "
                f"could not be loaded and is left out: {type(error).__name__}: {error}",
                PluginWarning,
                stacklevel=3,
            )


def names() -> list[str]:
    """Return the names of all networks that can be built, sorted."""
    _load_plugins()
    return sorted({*_BUILTIN, *_registered})


def get(name: str) -> type[Backbone]:
    """Return the class of a network.

    Args:
        name: A registered name.

    Returns:
        The `Backbone` subclass.

    Raises:
        UnknownNameError: No network has this name; the nearest one is named.
    """
    if name not in _registered and name in _BUILTIN:
        importlib.import_module(_BUILTIN[name])
    if name not in _registered:
        _load_plugins()
    if name not in _registered:
        raise UnknownNameError(f"there is no model {name!r}. {nearest(str(name), names())}")
    return _registered[name]


def build(name: str, **config: Any) -> Backbone:
    """Build a network with fresh weights.

    Args:
        name: A registered name; see `names`.
        **config: The fields of the network's configuration; at least ``cutoff`` (Å) and ``species``.

    Returns:
        The backbone.

    Raises:
        UnknownNameError: No network has this name.
        ConfigError: A key is unknown (the nearest is named) or missing, or a value is wrong.
    """
    cls = get(name)
    return cls(parse_config(cls.config_class, config, f"model {name!r}"))
