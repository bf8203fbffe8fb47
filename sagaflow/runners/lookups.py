"""Looking sagas up, with their payloads: many who ask at a time are one question to the store."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from uuid import UUID

from sagaflow.definitions.ports import SagaStore
from sagaflow.definitions.records import Payload, SagaRecord
from sagaflow.errors import SagaNotFound, Unavailable
from sagaflow.runners.batches import Batcher, until_available

LOOKUPS_BATCH_MAX = 200

Found = tuple[SagaRecord, Sequence[Payload]]


@dataclass(frozen=True, slots=True, eq=False)
class _Question:
    saga_id: UUID
    answer: asyncio.Future[Found]


class Lookups:
    """Reads sagas for those who ask, in batches."""

    def __init__(self, store: SagaStore) -> None:
        self._store = store
        self._questions: Batcher[_Question] = Batcher("lookups", self._read, LOOKUPS_BATCH_MAX, forsake=_forsake)

    def open(self) -> None:
        """Begin to answer."""
        self._questions.open()

    async def close(self) -> None:
        """Stop; those who still wait are told so."""
        await self._questions.abort()

    async def find(self, saga_id: UUID) -> Found:
        """The saga as it stands, with all of its payloads.

        Raises:
            SagaNotFound: there is none of this id.
        """
        question = _Question(saga_id, asyncio.get_running_loop().create_future())
        self._questions.put(question)
        return await question.answer

    async def _read(self, questions: Sequence[_Question]) -> None:
        saga_ids = list({question.saga_id for question in questions})
        try:
            records = await until_available("the store", lambda: self._store.find(saga_ids))
            stored = await until_available("the store", lambda: self._store.payloads(saga_ids))
        except Exception as error:  # noqa: BLE001  # whatever it is, it is for those who asked
            for question in questions:
                _refuse(question, error)
            return
        by_id = {record.saga_id: record for record in records}
        payloads: dict[UUID, list[Payload]] = defaultdict(list)
        for payload in stored:
            payloads[payload.saga_id].append(payload)
        for question in questions:
            record = by_id.get(question.saga_id)
            if record is None:
                _refuse(question, SagaNotFound(f"there is no saga {question.saga_id}"))
            elif not question.answer.done():
                question.answer.set_result((record, payloads[question.saga_id]))


def _refuse(question: _Question, error: Exception) -> None:
    if not question.answer.done():  # otherwise who asked has gone
        question.answer.set_exception(error)


def _forsake(question: _Question) -> None:
    _refuse(question, Unavailable("the coordinator has stopped; ask another for the outcome"))
