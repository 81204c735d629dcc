"""Memory control: loads, runs and stores the blocks of a layer that does not fit, cycle by cycle."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fractions import Fraction

from sim.config import ArrayConfig
from sim.memory import Block, Schedule, buffers_of, bytes_per_cycle
from sim.result import SimulationResult


@dataclass
class Transfer:
    """Bytes on their way from or to DRAM."""

    bytes_left: Fraction

    @property
    def is_done(self) -> bool:
        """True once all bytes have been moved."""
        return self.bytes_left <= 0


class DramChannel:
    """Channel that moves one transfer after the other; each transfer starts at the beginning of a cycle."""

    def __init__(self, bytes_per_cycle: Fraction) -> None:
        self.bytes_per_cycle = bytes_per_cycle
        self.transfers: deque[Transfer] = deque()

    def request(self, num_bytes: int) -> Transfer:
        """Queue a transfer."""
        transfer = Transfer(Fraction(num_bytes))
        if num_bytes:
            self.transfers.append(transfer)
        return transfer

    @property
    def is_idle(self) -> bool:
        """True if no transfer waits or runs."""
        return not self.transfers

    def tick(self) -> None:
        """Run one cycle."""
        if self.transfers:
            self.transfers[0].bytes_left -= self.bytes_per_cycle
            if self.transfers[0].is_done:
                self.transfers.popleft()


def run_blocks(
    blocks: Sequence[Block], config: ArrayConfig, run: Callable[[Block], SimulationResult]
) -> tuple[Schedule, list[SimulationResult]]:
    """Run the blocks in order; return when they ran, and the result of each.

    A buffer is loaded again after its block has run and the store of the block's outputs is queued. A block runs once
    it is loaded and the block before it is over.
    """
    channel = DramChannel(bytes_per_cycle(config))
    buffers = buffers_of(config)
    loads = [channel.request(block.load_bytes) for block in blocks[:buffers]]
    begins: list[int] = []
    results: list[SimulationResult] = []
    cycle = cycles_left = 0
    while len(results) < len(blocks) or cycles_left or not channel.is_idle:
        number = len(results)
        if not cycles_left and number < len(blocks) and loads[number].is_done:
            begins.append(cycle)
            results.append(run(blocks[number]))
            cycles_left = results[-1].cycles
        channel.tick()
        cycle += 1
        if cycles_left:
            cycles_left -= 1
            if not cycles_left:
                channel.request(blocks[len(results) - 1].store_bytes)
                if len(loads) < len(blocks):
                    loads.append(channel.request(blocks[len(loads)].load_bytes))
    return Schedule(cycle, begins, cycle - sum(result.cycles for result in results)), results
