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
from types import UnionType
from typing import Annotated, Any, Final, Union, get_args, get_origin

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
    walk = _Walk()
    walk.through(inspect.type_info(declared), (), frozenset())
    return frozenset(walk.paths | walk.recurring if walk.paths else ())


class _Walk:
    """A walk through a type and the types in it."""

    def __init__(self) -> None:
        self.paths: set[Path] = set()
        self.recurring: set[Path] = set()

    def through(self, info: Any, path: Path, inside: frozenset[Any]) -> None:
        """A type as msgspec sees it. `inside` are the classes around it."""
        if isinstance(info, inspect.Metadata):
            if _is_mark(info):
                self.paths.add(path)
            else:
                self.through(info.type, path, inside)
            return
        declared = getattr(info, "cls", None)
        if declared is not None and declared in inside:
            self.recurring.add(path)
            return
        inside |= {declared}
        if isinstance(info, inspect.CustomType):
            for names, hint in _fields_of_model(info.cls):
                self.through_hint(hint, (*path, *names), inside)
        else:
            for name, part in _parts_of(info):
                self.through(part, (*path, *name), inside)

    def through_hint(self, hint: Any, path: Path, inside: frozenset[Any]) -> None:
        """A type as pydantic sees it, which knows unions that msgspec does not."""
        origin, arguments = get_origin(hint), get_args(hint)
        if origin is Annotated:
            if any(_is_mark(mark) for mark in arguments[1:]):
                self.paths.add(path)
            else:
                self.through_hint(arguments[0], path, inside)
            return
        if origin in (Union, UnionType):
            for case in arguments:
                self.through_hint(case, path, inside)
            return
        try:
            info = inspect.type_info(hint)
        except TypeError:  # it cannot be looked into any closer: if anything in it is sensitive, all of it is
            within = _Walk()
            for part in arguments:
                within.through_hint(part, path, inside)
            self.paths.update({path} if within.paths else ())
            self.recurring.update({path} if within.recurring else ())
        else:
            self.through(info, path, inside)


def _is_mark(meta: Any) -> bool:
    extra = meta.extra if isinstance(meta, msgspec.Meta | inspect.Metadata) else None
    return bool((extra or {}).get("sagaflow.sensitive"))


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


def _fields_of_model(declared: Any) -> Iterator[tuple[Path, Any]]:
    """The fields of a pydantic model, under each of the names that they may have in JSON. Others have none here."""
    fields: Mapping[str, Any] = getattr(declared, "model_fields", {})
    for name, field in fields.items():
        hint = Annotated[field.annotation, *field.metadata] if field.metadata else field.annotation
        if getattr(declared, "__pydantic_root_model__", False):
            yield (), hint
            continue
        read_as = getattr(field.validation_alias, "choices", [field.validation_alias])
        for alias in (name, field.alias, field.serialization_alias, *read_as):
            if isinstance(alias, str):
                yield (alias,), hint
            elif hasattr(alias, "path"):
                yield tuple(map(str, alias.path)), hint


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
        case str() | int() | float():
            yield str(value)
        case bytes() | bytearray():
            yield repr(bytes(value))[2:-1]
            yield value.decode(errors="replace")
        case _:
            yield str(value)
            yield repr(value)


def without(text: str, secrets: Iterable[str]) -> str:
    """The text with a mask in place of each secret, also where it is written as Python or JSON would quote it.

    In all but a few errors none of them is there: that is seen first, since there may be many.

    Example:
        >>> without("card 4111 was declined", ["4111"])
        'card *** was declined'
    """
    lines = (line for secret in secrets for line in (secret, *secret.splitlines()))
    forms = {form for line in lines for form in _forms(line) if form in text}
    if not forms:
        return text
    longest_first = sorted(forms, key=lambda form: (-len(form), form))
    return re.sub("|".join(map(_pattern, longest_first)), MASK, text)


QUOTED_MAX: Final = 3
"""How often a text may have been quoted within another: the `repr` of an error that quotes the JSON of a payload."""


def _forms(secret: str) -> Iterable[str]:
    """A text as it is, and as it is when it was quoted, and that again. For most texts these are the same."""
    if not secret.strip():
        return ()
    found, latest = {secret}, {secret}
    for _ in range(QUOTED_MAX):
        latest = {form for text in latest for form in _quoted(text)} - found
        found |= latest
    return found


def _quoted(text: str) -> Iterator[str]:
    """Python escapes apostrophes only where there are quotation marks, too; what is around the text decides."""
    escaped = repr(f'{text}"')[1:-2]
    yield escaped
    yield escaped.replace("\\'", "'")
    yield repr(f'{text}"'.encode(errors="backslashreplace"))[2:-2]
    yield json.dumps(text)[1:-1]
    yield json.dumps(text, ensure_ascii=False)[1:-1]


def _pattern(form: str) -> str:
    literal = re.escape(form)
    return literal if len(form) >= WORD_LENGTH else rf"(?<!\w){literal}(?!\w)"
