"""Configuration dataclasses to plain mappings and back, every key and type checked."""

import dataclasses
import types
import typing
from collections.abc import Mapping
from typing import Any, Literal, TypeVar, Union

from raytrack.errors import ConfigError

_Config = TypeVar("_Config")


def merged(base: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """`base` with the entries of `over` laid over it, mapping by mapping."""
    result = dict(base)
    for key, value in over.items():
        below = result.get(key)
        result[key] = merged(below, value) if isinstance(below, Mapping) and isinstance(value, Mapping) else value
    return result


def to_mapping(config: Any) -> Any:
    """A configuration as plain mappings, lists and scalars, ready for YAML or JSON."""
    if dataclasses.is_dataclass(config):
        return {item.name: to_mapping(getattr(config, item.name)) for item in dataclasses.fields(config)}
    if isinstance(config, Mapping):
        return {key: to_mapping(value) for key, value in config.items()}
    if isinstance(config, (tuple, list)):
        return [to_mapping(value) for value in config]
    return config


def from_mapping(cls: type[_Config], data: Any, *, where: str, path: str = "") -> _Config:
    """Make a configuration dataclass from plain data, checking every key and type.

    Args:
        cls: A dataclass, with further dataclasses inside it or not.
        data: Nested mappings, lists and scalars, as YAML gives them.
        where: What error messages begin with, such as the file's name.
        path: Dotted path of `data` inside the whole.

    Raises:
        ConfigError: A key is unknown or missing, or a value has the wrong type or range; the message says where,
            what was expected and what was found.
    """
    under = f" under {path!r}" if path else ""
    if not isinstance(data, Mapping):
        raise ConfigError(f"{where}: expected a mapping{under}, got {_shown(data)}")
    known = {item.name: item for item in dataclasses.fields(cls)}  # pyright: ignore[reportArgumentType]
    hints = typing.get_type_hints(cls)
    for key in data:
        if key not in known:
            raise ConfigError(f"{where}: unknown key {key!r}{under}; known keys: {', '.join(known)}")
    for name, item in known.items():
        if name not in data and item.default is item.default_factory is dataclasses.MISSING:
            raise ConfigError(f"{where}: missing key {name!r}{under}")
    values = {
        key: _checked(hints[key], value, where=where, path=f"{path}.{key}" if path else key)
        for key, value in data.items()
    }
    try:
        return cls(**values)
    except ValueError as error:
        raise ConfigError(f"{where}: {error}") from error


def _checked(hint: Any, value: Any, *, where: str, path: str) -> Any:
    """`value` as the type `hint`, or a ConfigError that names its path."""
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if dataclasses.is_dataclass(hint):
        return from_mapping(typing.cast("type", hint), value, where=where, path=path)
    if origin in (Union, types.UnionType):
        # Only optional values are supported: what is left is one type, whose own message is the useful one.
        (inner,) = (item for item in arguments if item is not type(None))
        return None if value is None else _checked(inner, value, where=where, path=path)
    if origin is tuple and isinstance(value, (list, tuple)):
        hints = arguments[:1] * len(value) if arguments[-1] is Ellipsis else arguments
        if len(hints) == len(value):
            pairs = enumerate(zip(hints, value, strict=True))
            return tuple(_checked(item, one, where=where, path=f"{path}[{i}]") for i, (item, one) in pairs)
    if hint is float and type(value) is int:
        return float(value)
    if type(value) is hint or any(value == choice and type(value) is type(choice) for choice in arguments):
        return value
    raise ConfigError(f"{where}: {path} must be {_expected(hint)}, got {_shown(value)}")


def _expected(hint: Any) -> str:
    """A type in the words of someone who writes YAML."""
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin is Literal:
        return "one of " + ", ".join(str(choice) for choice in arguments)
    if origin is tuple:
        return f"a list of {_expected(arguments[0])}"
    names = {int: "a whole number", float: "a number", str: "text", bool: "true or false", type(None): "null"}
    return names.get(hint, str(hint))


def _shown(value: Any) -> str:
    return f"{value!r} ({type(value).__name__})" if not isinstance(value, str) else repr(value)
