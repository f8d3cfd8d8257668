"""Large bodies are admitted a few at a time, the oldest first, and none is forgotten."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Awaitable, Callable
from typing import Any, cast

from service.http.body_gate import BodyGate, Entry
from service.http.exchange import Exchange

MIB = 1 << 20


class Held:
    """The part of an exchange that the gate uses."""

    def __init__(self) -> None:
        self.is_held = False

    def hold_body(self) -> None:
        self.is_held = True

    def release_body(self) -> None:
        self.is_held = False


def with_gate(scenario: Callable[[BodyGate], Awaitable[Any]], seconds_a_mib: float = 0.0) -> Any:
    async def run() -> Any:
        return await scenario(BodyGate(asyncio.get_running_loop(), lambda size: size / MIB * seconds_a_mib))

    return asyncio.run(run())


def enter(gate: BodyGate, mib: int, seconds: float = 60, expired: Callable[[], None] = lambda: None) -> Entry:
    return gate.enter(cast(Exchange, Held()), mib * MIB, seconds, expired)


def held(entries: list[Entry]) -> list[bool]:
    states = [cast(Held, entry.exchange).is_held for entry in entries]
    assert states == [entry.is_held for entry in entries]
    return states


def test_bodies_come_in_their_order_as_there_is_room() -> None:
    async def scenario(gate: BodyGate) -> None:
        entries = [enter(gate, mib) for mib in (26, 6)]
        for entry in entries:
            gate.has_come(entry)
        entries += [enter(gate, mib) for mib in (10, 1, 10)]
        assert held(entries) == [False, False, True, True, True], "a small one does not overtake"
        gate.leave(entries[1])
        assert held(entries) == [False, False, False, False, True]
        for entry in entries:
            gate.leave(entry)
        assert held(entries) == [False] * 5
        assert gate.bytes == 0

    with_gate(scenario)


def test_one_larger_than_all_room_comes_all_the_same() -> None:
    async def scenario(gate: BodyGate) -> None:
        entries = [enter(gate, 100)]
        gate.has_come(entries[0])
        entries.append(enter(gate, 1))
        assert held(entries) == [False, True]
        gate.leave(entries[0])
        assert held(entries) == [False, False]

    with_gate(scenario)


def test_one_that_ends_or_has_come_while_it_is_held_holds_up_nobody() -> None:
    async def scenario(gate: BodyGate) -> None:
        first = enter(gate, 32)
        gate.has_come(first)
        entries = [enter(gate, mib) for mib in (20, 5, 2)]
        assert held(entries) == [True, True, True]
        gate.leave(entries[0])
        gate.has_come(entries[1])
        assert held(entries) == [False, False, True]
        gate.leave(first)
        assert held(entries) == [False] * 3

    with_gate(scenario)


def test_heads_alone_keep_nobody_waiting_for_long() -> None:
    async def scenario(gate: BodyGate) -> None:
        heads = [enter(gate, 32) for _ in range(20)]
        waiting = enter(gate, 1)
        assert waiting.is_held
        async with asyncio.timeout(20):
            while waiting.is_held:
                await asyncio.sleep(0.01)
        assert gate.bytes <= 32 * MIB
        gate.has_come(heads[0])
        for entry in (*heads, waiting):
            gate.leave(entry)
        assert gate.bytes == 0

    with_gate(scenario)


def test_one_that_is_held_too_long_is_told_and_stays_with_its_client() -> None:
    async def scenario(gate: BodyGate) -> None:
        told = asyncio.Event()
        first = enter(gate, 32)
        gate.has_come(first)
        late = enter(gate, 30, 0.1, told.set)
        await asyncio.wait_for(told.wait(), 20)
        assert cast(Held, late.exchange).is_held
        after = enter(gate, 1)
        gate.leave(first)
        assert not after.is_held
        assert gate.bytes == MIB

    with_gate(scenario)


def test_one_that_would_be_read_too_late_is_held_although_there_is_memory() -> None:
    async def scenario(gate: BodyGate) -> None:
        first = enter(gate, 4)  # takes 8 seconds to read
        patient, hasty = enter(gate, 1, seconds=60), enter(gate, 1, seconds=12)
        assert held([patient, hasty]) == [False, True]
        gate.has_come(first)
        gate.leave(first)
        assert held([patient, hasty]) == [False, False]

    with_gate(scenario, seconds_a_mib=2.0)


def test_one_comes_alone_however_long_it_takes_to_read() -> None:
    async def scenario(gate: BodyGate) -> None:
        assert held([enter(gate, 4, seconds=0.1)]) == [False]

    with_gate(scenario, seconds_a_mib=2.0)


def test_one_whose_deadline_is_over_is_held_before_it_is_refused() -> None:
    async def scenario(gate: BodyGate) -> None:
        first = enter(gate, 32)
        gate.has_come(first)
        waiting = enter(gate, 1)  # has a timer, so that a deadline in the past is over at once
        told: list[bool] = []
        exchange = Held()
        gate.enter(cast(Exchange, exchange), MIB, -1, lambda: told.append(exchange.is_held))
        assert told == [True]
        assert held([waiting]) == [True]
        gate.leave(first)
        assert held([waiting]) == [False]

    with_gate(scenario)


def test_refused_clients_return_one_after_another() -> None:
    async def scenario(gate: BodyGate) -> None:
        seconds = [gate.return_seconds(MIB) for _ in range(40)]
        assert seconds[0] >= 1
        assert max(seconds) <= 10
        steps = [after - before for before, after in itertools.pairwise(seconds)]
        assert sum(step < 0 for step in steps) == 2, "after 10 seconds, the next one is back to 1 second"
        assert all(abs(step - 0.5) < 0.1 for step in steps if step > 0)

    with_gate(scenario, seconds_a_mib=0.5)
