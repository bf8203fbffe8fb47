"""The examples in the docstrings of the definitions are true."""

import doctest
import importlib
import pkgutil

import pytest

from sagaflow import definitions

MODULES = sorted(module.name for module in pkgutil.iter_modules(definitions.__path__, "sagaflow.definitions."))


@pytest.mark.parametrize("module", MODULES)
def test_the_examples_of_a_module_are_true(module: str) -> None:
    assert doctest.testmod(importlib.import_module(module)).failed == 0


def test_there_are_examples() -> None:
    finder = doctest.DocTestFinder(exclude_empty=True)
    examples = [test for module in MODULES for test in finder.find(importlib.import_module(module)) if test.examples]
    assert {test.name.rpartition(".")[2] for test in examples} >= {"Saga", "Participant", "Reader"}
