"""What MODULE:NAME means, for all commands that take it."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from sagaflow.definitions.participant import Participant
from sagaflow.definitions.saga import Saga
from sagaflow.errors import DefinitionError


def load_sagas(place: str) -> Sequence[Saga[Any]]:
    """The sagas that MODULE:NAME means.

    Raises:
        DefinitionError: there is no such module, no such name in it, or it is no saga.
    """
    return _all_at(place, (Saga,), "a Saga")


def load_definitions(places: Sequence[str]) -> Sequence[Saga[Any] | Participant[Any]]:
    """The sagas and participants that these mean, each of them one or a sequence of both.

    Raises:
        DefinitionError: there is no such module, no such name in it, or it is neither.
    """
    return [one for place in places for one in _all_at(place, (Saga, Participant), "a Saga or a Participant")]


def _all_at(place: str, kinds: tuple[type, ...], wanted: str) -> Sequence[Any]:
    found = _found_at(place, wanted)
    some = [found] if isinstance(found, kinds) else found
    if not isinstance(some, Sequence) or not some or not all(isinstance(one, kinds) for one in some):
        raise DefinitionError(f"{place} is a {type(found).__name__}; name {wanted}, or a sequence of them")
    return some


def _found_at(place: str, wanted: str) -> Any:
    module_name, colon, name = place.partition(":")
    if not (colon and module_name and name):
        raise DefinitionError(
            f"{place!r} does not name {'sagas' if wanted == 'a Saga' else wanted}; "
            "write MODULE:NAME, such as shop.checkout:checkout"
        )
    module = _module(module_name)
    if not hasattr(module, name):
        raise DefinitionError(f"there is no {name!r} in {module_name}; name {wanted} there, or a sequence of them")
    return getattr(module, name)


def _module(name: str) -> Any:
    here = str(Path.cwd())
    if here not in sys.path:  # a script finds what lies beside it, not what lies where it was called
        sys.path.insert(0, here)
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name is None or not f"{name}.".startswith(f"{error.name}."):
            raise  # the module is there; what it imports is not
        raise DefinitionError(
            f"there is no module {error.name!r} here; run this where it can be imported, or set PYTHONPATH"
        ) from error
