"""Sensitive values: which parts of a payload nobody is to read in an error, and how they are taken out of a text.

    class Pay(msgspec.Struct):
        amount: int
        card: Annotated[str, Sensitive]

Marked is a type, wherever it stands: a field, the items of a list, the values of a dict, one case of a union, a whole
struct. From a type follow the paths of its sensitive parts, once; from a payload and the paths, the secrets in it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterable, Iterator, Mapping
from typing import Annotated, Any, Final

import msgspec
from msgspec import inspect

Sensitive: Final = msgspec.Meta(extra={"sagaflow.sensitive": True})
"""Marks a type of payloads as sensitive: `Annotated[str, Sensitive]`."""

MASK: Final = "***"

WORD_LENGTH: Final = 4
"""Secrets that are shorter are hidden only where they stand alone: a "7" must not blot out every line number."""

Path = tuple[str, ...]
"""Names of fields and numbers of items, from the outside in; `EVERY` stands for all of them."""

EVERY: Final = "*"


def sensitive_paths(declared: Any) -> frozenset[Path]:
    """Where values of this type are sensitive. The empty path is the whole.

    Where a type comes again inside itself, and anything of the payload is sensitive, all of it is.

    Example:
        >>> sorted(sensitive_paths(dict[str, tuple[int, Annotated[str, Sensitive]]]))
        [('*', '1')]
    """
    paths, recurring = set[Path](), set[Path]()
    _walk(inspect.type_info(declared), (), frozenset(), paths, recurring)
    return frozenset(paths | recurring if paths else ())


def _walk(info: Any, path: Path, inside: frozenset[Any], paths: set[Path], recurring: set[Path]) -> None:
    if isinstance(info, inspect.Metadata):
        if (info.extra or {}).get("sagaflow.sensitive"):
            paths.add(path)
        else:
            _walk(info.type, path, inside, paths, recurring)
        return
    declared = getattr(info, "cls", None)
    if declared is not None and declared in inside:
        recurring.add(path)
        return
    for name, part in _parts_of(info):
        _walk(part, (*path, *name), inside | {declared}, paths, recurring)


def _parts_of(info: Any) -> Iterator[tuple[Path, Any]]:
    """The parts of a type, each by its name in JSON; the cases of a union are at the place of the union."""
    match info:
        case inspect.UnionType():
            yield from (((), case) for case in info.types)
        case inspect.DictType():
            yield (EVERY,), info.value_type
        case inspect.TupleType():
            yield from (((str(number),), item) for number, item in enumerate(info.item_types))
        case inspect.CollectionType():
            yield (EVERY,), info.item_type
        case inspect.NamedTupleType():
            yield from (((str(number),), field.type) for number, field in enumerate(info.fields))
        case inspect.StructType(array_like=True):
            first = int(info.tag_field is not None or info.tag is not None)
            yield from (((str(number),), field.type) for number, field in enumerate(info.fields, first))
        case inspect.StructType() | inspect.DataclassType() | inspect.TypedDictType():
            yield from (((field.encode_name,), field.type) for field in info.fields)
        case inspect.CustomType() if hasattr(info.cls, "model_fields"):
            for name, field in info.cls.model_fields.items():
                marks = [mark for mark in field.metadata if mark is Sensitive]
                annotation = Annotated[field.annotation, marks[0]] if marks else field.annotation
                yield (field.serialization_alias or field.alias or name,), inspect.type_info(annotation)


def secrets_of(value: Any, paths: Collection[Path]) -> frozenset[str]:
    """The texts of what is sensitive in a payload (plain values, as from JSON). True, false and null are none.

    Example:
        >>> secrets_of({"cards": [{"number": "4111", "holder": "Ann"}]}, [("cards", "*", "number")])
        frozenset({'4111'})
    """
    return frozenset(text for path in paths for part in _at(value, path) for text in _texts(part))


def _at(value: Any, path: Path) -> Iterator[Any]:
    if not path:
        yield value
        return
    name, rest = path[0], path[1:]
    if isinstance(value, Mapping):
        named = value.values() if name == EVERY else [value[name]] if name in value else []
    elif isinstance(value, list):
        named = value if name == EVERY else [value[int(name)]] if name.isdigit() and int(name) < len(value) else []
    else:
        named = []
    for part in named:
        yield from _at(part, rest)


def _texts(value: Any) -> Iterator[str]:
    match value:
        case bool() | None:
            return
        case Mapping():
            for part in value.values():
                yield from _texts(part)
        case list():
            for part in value:
                yield from _texts(part)
        case _:
            yield str(value)


def without(text: str, secrets: Iterable[str]) -> str:
    """The text with a mask in place of each secret, also where it is written as Python or JSON would quote it.

    Example:
        >>> without("card 4111 was declined", ["4111"])
        'card *** was declined'
    """
    forms = {form for secret in secrets for line in (secret, *secret.splitlines()) for form in _forms(line)}
    if not forms:
        return text
    longest_first = sorted(forms, key=lambda form: (-len(form), form))
    return re.sub("|".join(map(_pattern, longest_first)), MASK, text)


def _forms(secret: str) -> Iterator[str]:
    if secret.strip():
        yield secret
        yield repr(secret)[1:-1]
        yield json.dumps(secret)[1:-1]
        yield json.dumps(secret, ensure_ascii=False)[1:-1]


def _pattern(form: str) -> str:
    literal = re.escape(form)
    return literal if len(form) >= WORD_LENGTH else rf"(?<!\w){literal}(?!\w)"
