"""What is said between coordinators and participants, for tests that repeat it, hold it back or lose it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import msgspec

from sagaflow.definitions.messages import Command, Reply
from sagaflow.definitions.ports import Letter, QueueKind, Transport
from tests.runners.faults import Wiretap
from tests.runners.world import World

Tamper = Callable[[Letter], Sequence[Letter]]

KINDS = {QueueKind.COMMANDS: Command, QueueKind.COMPENSATIONS: Command, QueueKind.REPLIES: Reply}


def pass_on(letter: Letter) -> Sequence[Letter]:
    """Leave a letter alone."""
    return [letter]


def twice(letter: Letter) -> Sequence[Letter]:
    """Every letter comes twice."""
    return [letter, letter]


@dataclass
class Tap:
    """Everything that was published in a world, in the order in which it was."""

    transport: Transport
    """One without tampering, entered, to publish by."""
    heard: list[Letter] = field(default_factory=list)
    tamper: Tamper = pass_on

    @property
    def commands(self) -> Sequence[Command]:
        """The commands that were sent, actions and compensations."""
        return [msgspec.json.decode(one.message, type=Command) for one in self.heard if _is(one, Command)]

    @property
    def replies(self) -> Sequence[Reply]:
        """The replies that were given."""
        return [msgspec.json.decode(one.message, type=Reply) for one in self.heard if _is(one, Reply)]

    def of(self, kind: QueueKind) -> Sequence[Letter]:
        """The letters to queues of a kind."""
        return [letter for letter in self.heard if letter.to.kind is kind]


def _is(letter: Letter, kind: type) -> bool:
    return KINDS.get(letter.to.kind) is kind and msgspec.json.decode(letter.message)["type"] == kind.__name__.lower()


async def tap(world: World, tamper: Tamper = pass_on) -> Tap:
    """Listen to all that is said in the world from now on."""
    make = world.make_transport
    tapped = Tap(await world.stack.enter_async_context(make()), tamper=tamper)
    world.make_transport = lambda: Wiretap(make(), tapped.heard, lambda letter: tapped.tamper(letter))
    return tapped
