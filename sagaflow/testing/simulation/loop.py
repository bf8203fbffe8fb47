"""An event loop with its own time: one thread, no sockets, and the same order of everything for the same seed.

Time stands still while anything can run, and jumps to the next timer when nothing can. What is ready to run is run
in an order drawn from the seed: first come, first served is only one of the orders that a real world has.
"""

from __future__ import annotations

import asyncio
import heapq
import itertools
import random
from asyncio import events
from collections.abc import Callable, Coroutine, Generator, Sequence
from contextvars import Context, copy_context
from types import coroutine
from typing import TYPE_CHECKING, Any, Final, NoReturn, Protocol, TypeVar

T = TypeVar("T")

CANCELLED_TIMERS_MAX: Final = 200
"""How many timers that were cancelled are kept, before the others are gathered anew."""


UNWINDING_AWAITS_MAX: Final = 50
"""How often something that is forgotten may await on its way out."""


class Stalled(RuntimeError):
    """Nothing can happen any more, and what was waited for has not happened."""


class OutOfTime(RuntimeError):
    """The time that was given is over."""


class NotSimulated(RuntimeError):
    """Something was asked for that would make two runs differ: a thread, a socket, a process."""


class WorldIsOver(BaseException):
    """Thrown into what still waits when a world is forgotten."""


class Gate(Protocol):
    """Decides whether a callback may run now."""

    def __call__(self, handle: asyncio.Handle) -> bool: ...


class _Handle(asyncio.Handle):
    """A callback. A world makes one for each step, so it asks for no debug mode, which this loop has not got."""

    __slots__ = ()

    def __init__(
        self, callback: Callable[..., object], args: Sequence[Any], loop: SimulatedLoop, context: Context | None
    ) -> None:
        self._context = copy_context() if context is None else context
        self._loop = loop
        self._callback = callback
        self._args = args
        self._cancelled = False
        self._repr = None
        self._source_traceback = None

    def cancel(self) -> None:
        """It is not called any more."""
        self._cancelled = True
        self._callback = self._args = None  # type: ignore[assignment]  # as asyncio does


class _TimerHandle(_Handle, asyncio.TimerHandle):
    """A callback that has a time."""

    __slots__ = ()

    def __init__(
        self,
        when: float,
        callback: Callable[..., object],
        args: Sequence[Any],
        loop: SimulatedLoop,
        context: Context | None,
    ) -> None:
        _Handle.__init__(self, callback, args, loop, context)
        self._when = when
        self._scheduled = True

    def cancel(self) -> None:
        """It is not called any more; the loop counts those that it still keeps."""
        if not self._cancelled:
            if self._scheduled:
                self._loop._timer_cancelled_count += 1
            self._cancelled = True
            self._callback = self._args = None  # type: ignore[assignment]


class _When(float):
    """The time of a timer, and the timer: numbers are compared without a call of Python."""

    __slots__ = ("handle",)
    handle: _TimerHandle


class SimulatedLoop(asyncio.BaseEventLoop):
    """Runs one coroutine, and all that it starts, to its end.

    Args:
        order: the chance that decides what of all that is ready runs next; None: first come, first served.
        inline_threads: run what is given to a thread (`asyncio.to_thread`) at once, in this thread, instead of
            refusing it.
        trace: told of each step: its number, the time, and the name of the task or callback.
    """

    _ready: Any
    _scheduled: Any
    _timer_cancelled_count: int

    def __init__(
        self,
        order: random.Random | None = None,
        *,
        inline_threads: bool = False,
        trace: Callable[[int, float, str], None] | None = None,
    ) -> None:
        super().__init__()
        self._seconds = 0.0
        self._clock_resolution = 0.0
        self._draw = None if order is None else order.random
        self._inline_threads = inline_threads
        self._trace = trace
        self._numbers = itertools.count(1)
        self.steps = 0
        self.gate: Gate | None = None
        self.tasks: list[asyncio.Task[Any]] = []
        """Every task that was begun. They are kept, so that none is collected in the middle of a run."""
        self.failure: Exception | None = None
        """Set by whoever finds that something is wrong: the run ends with it after the current step."""
        self.trouble: list[str] = []
        """What callbacks have raised."""
        self.set_task_factory(self._make_task)  # type: ignore[arg-type]  # typeshed knows no subclass of Task here
        self.set_exception_handler(self._note_trouble)

    def call_soon(self, callback: Callable[..., object], *args: Any, context: Context | None = None) -> asyncio.Handle:  # type: ignore[override]
        """Nobody calls from another thread, and the loop is never closed while it runs: nothing is to be asked."""
        handle = _Handle(callback, args, self, context)
        self._ready.append(handle)
        return handle

    def call_at(  # type: ignore[override]
        self, when: float, callback: Callable[..., object], *args: Any, context: Context | None = None
    ) -> asyncio.TimerHandle:
        """Call it at a time, in the seconds of this world."""
        timer = _When(when)
        timer.handle = _TimerHandle(when, callback, args, self, context)
        heapq.heappush(self._scheduled, timer)
        return timer.handle

    def call_later(  # type: ignore[override]
        self, delay: float, callback: Callable[..., object], *args: Any, context: Context | None = None
    ) -> asyncio.TimerHandle:
        """Call it after so many seconds."""
        return self.call_at(self._seconds + delay, callback, *args, context=context)

    def time(self) -> float:
        """The seconds since the world began."""
        return self._seconds

    def run(self, main: Coroutine[Any, Any, T], *, seconds_max: float = 1e9, steps_max: int = 1_000_000) -> T:
        """Run a coroutine to its end, in no real time.

        Raises:
            Stalled: it waits for what cannot happen.
            OutOfTime: it took longer than that, in the time of this world or in steps.
        """
        last = self.steps + steps_max
        outer = events._get_running_loop()  # another loop may be running around this one, such as a test's
        events._set_running_loop(self)
        try:
            task = self.create_task(main, name="main")
            while not task.done():
                self._step(seconds_max)
                if self.failure is not None:
                    raise self.failure
                if self.steps > last:
                    raise OutOfTime(f"{steps_max} steps led nowhere; the time is {self._seconds:.3f} s")
            return task.result()
        finally:
            events._set_running_loop(outer)

    def abandon(self) -> None:
        """Forget everything that still waits, without letting it run: what a power failure does to a machine."""
        self._ready.clear()
        self._scheduled.clear()
        outer = events._get_running_loop()
        events._set_running_loop(self)
        try:
            for task in self.tasks:
                _forget(task)
        finally:
            self._ready.clear()
            self._scheduled.clear()
            events._set_running_loop(outer)
        self.tasks.clear()
        self.close()

    def _step(self, seconds_max: float) -> None:
        ready = self._ready
        if not ready:
            self._jump(seconds_max)
        if self._draw is not None and (count := len(ready)) > 1:
            place = int(self._draw() * count)
            ready[0], ready[place] = ready[place], ready[0]
        handle = ready.popleft()
        if handle._cancelled or (self.gate is not None and not self.gate(handle)):
            return
        self.steps += 1
        if self._trace is not None:
            self._trace(self.steps, self._seconds, _name_of(handle))
        try:
            handle._context.run(handle._callback, *handle._args)
        except (SystemExit, KeyboardInterrupt):
            raise
        except BaseException as error:  # noqa: BLE001  # as every loop does
            self.call_exception_handler({"message": f"Exception in {handle!r}", "exception": error, "handle": handle})

    def _jump(self, seconds_max: float) -> None:
        """Nothing can run now: go to the next timer."""
        self._drop_cancelled()
        scheduled = self._scheduled
        if not scheduled:
            raise Stalled(f"after {self._seconds:.3f} s nothing can happen any more")
        if scheduled[0] > seconds_max:
            raise OutOfTime(f"{seconds_max:.0f} s are over")
        self._seconds = max(self._seconds, scheduled[0].handle._when)
        while scheduled and scheduled[0] <= self._seconds:
            handle = heapq.heappop(scheduled).handle
            handle._scheduled = False
            self._ready.append(handle)

    def _drop_cancelled(self) -> None:
        scheduled = self._scheduled
        if self._timer_cancelled_count > CANCELLED_TIMERS_MAX:
            for timer in scheduled:
                if timer.handle._cancelled:
                    timer.handle._scheduled = False
            self._scheduled = scheduled = [timer for timer in scheduled if not timer.handle._cancelled]
            heapq.heapify(scheduled)
            self._timer_cancelled_count = 0
        while scheduled and scheduled[0].handle._cancelled:
            self._timer_cancelled_count -= 1
            heapq.heappop(scheduled).handle._scheduled = False

    def _make_task(
        self, loop: asyncio.AbstractEventLoop, work: Coroutine[Any, Any, T], *, name: str | None = None, **rest: Any
    ) -> asyncio.Task[T]:
        """Tasks are numbered in each world anew, so that a trace says the same whatever ran before."""
        number = next(self._numbers)
        task = asyncio.Task(work, loop=loop, name=name or f"{_qualname(work)} {number}", **rest)
        self.tasks.append(task)
        return task

    def _note_trouble(self, loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        self.trouble.append(f"{context['message']}: {context.get('exception')!r}")

    # What has no place here.

    def run_in_executor(self, executor: Any, func: Callable[..., T], *args: Any) -> asyncio.Future[T]:  # type: ignore[override]
        """Run it here and now, if that was asked for."""
        if not self._inline_threads:
            raise NotSimulated(f"{func!r} wants a thread, and a simulation has one only; await it without a thread")
        future: asyncio.Future[T] = self.create_future()
        try:
            future.set_result(func(*args))
        except Exception as error:  # noqa: BLE001  # it is raised where the thread is awaited
            future.set_exception(error)
        return future

    def call_soon_threadsafe(  # type: ignore[override]
        self, callback: Callable[..., object], *args: Any, context: Context | None = None
    ) -> asyncio.Handle:
        """There is one thread."""
        return self.call_soon(callback, *args, context=context)

    def _refuse(self, *args: Any, **kwargs: Any) -> NoReturn:
        raise NotSimulated("a simulation has no sockets, processes, pipes and signals; give the world a port instead")

    if not TYPE_CHECKING:
        add_reader = add_writer = remove_reader = remove_writer = _refuse
        create_connection = create_server = create_datagram_endpoint = getaddrinfo = getnameinfo = _refuse
        create_unix_connection = create_unix_server = connect_read_pipe = connect_write_pipe = _refuse
        subprocess_exec = subprocess_shell = sock_connect = sock_recv = sock_sendall = sock_accept = _refuse
        add_signal_handler = remove_signal_handler = _refuse


def _name_of(handle: asyncio.Handle) -> str:
    callback: Any = handle._callback  # type: ignore[attr-defined]
    owner = getattr(callback, "__self__", None)
    return owner.get_name() if isinstance(owner, asyncio.Task) else _qualname(callback)


def _qualname(thing: object) -> str:
    return str(getattr(thing, "__qualname__", type(thing).__qualname__))


def _forget(task: asyncio.Task[Any]) -> None:
    if task.done():
        if not task.cancelled():
            task.exception()  # so that nobody complains that it was never retrieved
        return
    task._log_destroy_pending = False  # type: ignore[attr-defined]
    work = task.get_coro()
    for _ in range(UNWINDING_AWAITS_MAX):  # what its `finally` blocks do in a world that is over counts for nothing
        try:
            work.throw(WorldIsOver())
        except BaseException:  # noqa: BLE001
            return


@coroutine
def let_others_run() -> Generator[None, None, None]:
    """Give way once: anything that is ready may run before."""
    yield
