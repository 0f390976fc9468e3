"""Whether what came as JSON is what a dataclass states: whoever sent it may be broken, or of another mind."""

import math
import types
from collections.abc import Callable, Mapping
from dataclasses import fields, is_dataclass
from functools import cache
from typing import Any, Union, get_args, get_origin, get_type_hints

LARGEST = 2**63 - 1
"""What no figure of ours exceeds, and databases hold."""
Check = Callable[[Any, str], None]


def check_types(value: Any) -> None:
    """Hold a dataclass's values against its annotations, numbers finite. Raises ValueError that names the field."""
    kind: Any = type(value)
    _of(kind)(value, kind.__name__)


@cache
def _of(hint: Any) -> Check:
    if is_dataclass(hint) and isinstance(hint, type):
        return _dataclass(hint)
    origin, arguments = get_origin(hint), get_args(hint)
    if origin in (Union, types.UnionType) and len(arguments) == 2 and arguments[1] is types.NoneType:
        return _or_none(_of(arguments[0]))
    if origin is tuple and len(arguments) == 2 and arguments[1] is Ellipsis:
        return _each(_of(arguments[0]))
    if origin is not None and issubclass(origin, Mapping):
        return _mapping(*map(_of, arguments))
    if hint in (int, float):
        return _number(hint)
    if hint in (str, bool):
        return _instance(hint)
    raise TypeError(f"{hint} is no type that messages have.")


def _dataclass(hint: type) -> Check:
    hints = get_type_hints(hint)
    checks = tuple((one.name, _of(hints[one.name])) for one in fields(hint))

    def check(value: Any, name: str) -> None:
        if not isinstance(value, hint):
            raise _wrong(value, name, hint)
        for field, of_field in checks:
            of_field(getattr(value, field), field)

    return check


def _or_none(of_value: Check) -> Check:
    return lambda value, name: None if value is None else of_value(value, name)


def _each(of_item: Check) -> Check:
    def check(value: Any, name: str) -> None:
        if not isinstance(value, tuple):
            raise _wrong(value, name, tuple)
        for one in value:
            of_item(one, name)

    return check


def _mapping(of_key: Check, of_item: Check) -> Check:
    def check(value: Any, name: str) -> None:
        if not isinstance(value, Mapping):
            raise _wrong(value, name, dict)
        for key, one in value.items():
            of_key(key, name)
            of_item(one, name)

    return check


def _number(hint: type) -> Check:
    kinds = (int,) if hint is int else (int, float)

    def check(value: Any, name: str) -> None:
        if not isinstance(value, kinds) or isinstance(value, bool) or not abs(value) <= LARGEST or math.isnan(value):
            raise _wrong(value, name, hint)

    return check


def _instance(hint: type) -> Check:
    def check(value: Any, name: str) -> None:
        if not isinstance(value, hint):
            raise _wrong(value, name, hint)

    return check


def _wrong(value: Any, name: str, hint: Any) -> ValueError:
    return ValueError(f"{name} is {repr(value)[:60]}; expected {getattr(hint, '__name__', hint)}")
