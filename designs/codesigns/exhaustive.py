"""Exhaustive co-design: every compression of a network with every array of a space; the front is the true one.

Compressions are cut into ranges of their numbers (`CompressionSpace.compressions`), which workers run as those of a
sweep run points. Files in the folder of the co-design:

    exhaustive/*.parquet   finished ranges: the designs that no other one of the range dominates; each file is whole or
                           absent, and its name is the range and the checksum of the file
    exhaustive.parquet     the true front, with its checksum; it replaces the ranges

Each run takes the ranges that it finds, checks them, and enumerates the rest. A file that was changed is not taken.
Costs of designs are those that a search predicts. Of designs with equal costs, the first one is a member of the front.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import re
import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from designs.codesigns.array_grid import LOADING
from designs.codesigns.array_problem import ArrayProblem, PortableProblem
from designs.codesigns.columns import DESIGN_COLUMNS, FIGURE_COLUMNS
from designs.codesigns.design_table import DesignTable
from designs.codesigns.enumeration import Enumeration
from designs.codesigns.layer_counts import CountsGrid, LayerCounts
from designs.codesigns.quality import regret
from designs.codesigns.trials import FrontDesigns, StudyTrial
from designs.design import HARDWARE, HARDWARE_COLUMNS
from designs.results import Column, provenance, read_results, results_bytes, schema_of, write_results
from designs.results_folder import check_links, lock_folder
from designs.sweeps.batches import BATCH_SECONDS, batch_seconds
from designs.sweeps.workers import Workers, chosen_workers, finished_batches
from traces import InputError
from traces.arrays import Floats64, Integers64
from traces.files.atomic_file import write_atomically
from traces.files.checksums import checked_values, file_checksum, with_checksum
from traces.pareto import non_dominated
from traces.shell.progress import Progress, progress_bar

if TYPE_CHECKING:
    from designs.codesigns.problem import CodesignProblem

EXHAUSTIVE_FILE, PARTS_FOLDER = "exhaustive.parquet", "exhaustive"
PART_FILES = re.compile(r"(\d{12,})-(\d{12,})(-[0-9a-f]{16})?\.parquet")
"""Names of the files of ranges; those of earlier versions have no checksum."""
MOST_DESIGNS = 2_000_000_000
"""Most designs of a space that is enumerated."""
_MOST_COUNTED = 2**27  # compressions, of which those within the largest change are counted one by one
_FIRST_COMPRESSIONS = 16  # of a range, before the time of one is known
_MOST_GROWTH = 8  # from one range to the next
_MERGED_AT_ONCE = 2**16  # designs
_LADDER_STEPS = 8
_PART_COLUMNS = [
    Column("compression", pa.int64(), "", "number of the compression"),
    *HARDWARE_COLUMNS,
    *FIGURE_COLUMNS,
]


@dataclass(frozen=True, eq=False)
class TrueFront:
    """Front of all designs of a space.

    Attributes
    ----------
    trials : list of StudyTrial
        Compressions that have members of the front, in order; `number` is the number of the compression, `designs` are
        its members, and `least` is the least of these.
    compressions : int
        Compressions within the largest change of the outputs; all were enumerated.
    designs : int
        Designs that were costed.
    """

    trials: list[StudyTrial]
    compressions: int
    designs: int

    @property
    def members(self) -> int:
        """Number of members of the front."""
        return sum(len(trial.designs) for trial in self.trials)

    def regret(self, objectives: Sequence[str], costs: Floats64) -> dict[str, float]:
        """Return how far a front is from this one.

        Parameters
        ----------
        objectives : sequence of str
            Figures to minimise.
        costs : float64 [designs, objectives]
            Predicted costs of the front.

        Returns
        -------
        dict of str to float
            The fields of `designs.codesigns.quality.Regret`, and compressions, designs and members of this front.

        Raises
        ------
        InputError
            If this front or the other one has no design.
        """
        if not self.trials or not len(costs):
            raise InputError(
                f"fronts that are compared must have designs; found {len(costs)} and {self.members} members; relax the "
                f"bounds"
            )
        true_costs = np.concatenate([trial.designs.costs(objectives) for trial in self.trials])
        found = dataclasses.asdict(regret(objectives, costs, true_costs))
        return found | {"compressions": self.compressions, "designs": self.designs, "members": self.members}


def exhaustive_front(problem: CodesignProblem, folder: Path, workers: int | Workers = 1) -> TrueFront:
    """Enumerate every compression of a problem with every array.

    Parameters
    ----------
    problem : CodesignProblem
        The problem.
    folder : Path
        Folder of the co-design, in which every range of compressions is saved when it is finished. The same call
        continues an interrupted enumeration, and returns the front of a finished one.
    workers : int or Workers
        Number of processes on this machine, or `designs.sweeps.dask_workers.Cluster`. The front does not depend on it.

    Returns
    -------
    TrueFront
        The front.

    Raises
    ------
    InputError
        If the space has more than MOST_DESIGNS designs, workers would need the network, the folder cannot be written,
        another run writes to it, or finished ranges were removed from it meanwhile.
    """
    crew = chosen_workers(workers)
    if crew.apart:
        _check_portable(problem)
    parts = _Parts(folder, problem)
    check_links(folder, (EXHAUSTIVE_FILE, PARTS_FOLDER))
    lock = lock_folder(parts.folder)
    try:
        kept = parts.read_front()
        if kept is not None:
            parts.remove()
            return kept
        compressions = _check_size(problem)
        found = parts.finished()
        if parts.gaps(found):
            _enumerate(problem, crew, parts, found, compressions)
            found = parts.finished()
            missing = sum(end - begin for begin, end in parts.gaps(found))
            if missing:
                raise InputError(
                    f"{parts.folder}: a finished enumeration must have all of its {parts.number:,} compressions; "
                    f"{missing:,} are missing, though they were enumerated: files may have been removed meanwhile; run "
                    f"the same again to enumerate these again"
                )
        return parts.finish(found)
    finally:
        lock.release()


def portable_problem(problem: CodesignProblem) -> PortableProblem:
    """Return a problem for processes without its network; all counts of its compressions and arrays are made here.

    Parameters
    ----------
    problem : CodesignProblem
        The problem. No array of its space may load weights.

    Returns
    -------
    PortableProblem
        The same arrays, compressions and figures.

    Notes
    -----
    A broadcast takes more cycles on a larger array, so compressions with many entries have the longest ones. Some of
    each width, from the most entries to the fewest, show the longest broadcast for each packing; all shorter ones are
    counted, too. `PortableProblem` refuses one that is missing all the same.
    """
    space, enumeration = problem.compressions, problem.enumeration
    for row in space.ladders(_LADDER_STEPS):
        enumeration(space.choices(row))
    by_length = _shorter_too(enumeration.long_broadcasts)
    grid = enumeration.grid
    precisions = grid.values["precision"]
    listed = [
        (name, space.candidates[layer][place].choice)
        for layer, name in enumerate(space.names)
        for place in space.enumerated[layer].tolist()
    ]
    counts = {}
    with progress_bar("counting layers", len(listed)) as advance:
        for name, choice in listed:
            for precision in precisions:
                counts[name, choice, precision] = _counts(problem, grid.packings, by_length, (name, choice), precision)
            advance()
    analysis = problem.analysis
    return PortableProblem(
        problem.space,
        problem.search,
        problem.loss_figure,
        problem.calls,
        problem.live_words,
        dataclasses.replace(space, losses=None),  # they serve the order of proposals
        {precision: analysis.loss_predictions[precision] for precision in precisions},
        analysis.planner.other_bytes,
        counts,
    )


def _shorter_too(longest: Mapping[int, Iterable[int]]) -> dict[int, list[int]]:
    """Return the packings by lengths of broadcasts, each with all lengths from 2 cycles to its longest."""
    most = max(longest, default=1)
    return {
        length: sorted(set().union(*(set(of) for other, of in longest.items() if other >= length)))
        for length in range(2, most + 1)
    }


def _counts(
    problem: CodesignProblem,
    packings: tuple[Any, ...],
    by_length: Mapping[int, Sequence[int]],
    of: tuple[str, Any],
    precision: Any,
) -> LayerCounts:
    """Return the counts of a layer and choice, with a broadcast of one cycle for all packings, and the longer ones."""
    grid = problem.enumeration.grid
    queues, lines = grid.values["queue_slots"], grid.entries_per_line
    counts = problem.layer_counts(*of, CountsGrid(packings, queues, (1,), lines, precision))
    for length, places in by_length.items():
        some = tuple(packings[place] for place in places)
        counts = counts.joined(problem.layer_counts(*of, CountsGrid(some, queues, (length,), lines, precision)))
    return counts


def _check_portable(problem: CodesignProblem) -> None:
    """Raise InputError if arrays of the problem cannot be costed in other processes."""
    loading = [mode for mode in problem.enumeration.grid.values["memory_mode"] if mode in LOADING]
    if loading:
        raise InputError(
            f"workers must be 1 for arrays that load weights, memory_mode {' and '.join(loading)}: each of them is "
            f"simulated with the network, which is in this process alone"
        )
    if type(problem).excesses is not ArrayProblem.excesses:
        raise InputError("workers must be 1 for a target of a fleet, which has bounds of its own")


def _check_size(problem: CodesignProblem) -> int:
    """Return the number of compressions within the largest change; raise InputError if the designs are too many."""
    space, arrays = problem.compressions, len(problem.enumeration.grid)
    counted = space.num_compressions <= _MOST_COUNTED
    compressions = sum(map(len, space.all_compressions())) if counted else space.num_compressions
    if compressions * arrays <= MOST_DESIGNS and counted:
        return compressions
    choices = space.choices(space.corners()[0])
    problem.enumeration(choices)  # so that its layers are counted
    begin = time.perf_counter()
    problem.enumeration(choices)
    per_second = arrays / (time.perf_counter() - begin)
    raise InputError(
        f"a space must have at most {MOST_DESIGNS:,} designs to be enumerated; found {'' if counted else 'up to '}"
        f"{compressions * arrays:.4g}: {compressions:.4g} compressions with {arrays:,} arrays each, which take "
        f"{compressions * arrays / per_second / 3600:,.3g} hours on one worker at a measured {per_second:,.0f} designs "
        f"a second; give fewer densities, widths or arrays, or a tighter bound on the loss, or leave exhaustive out"
    )


def _enumerate(
    problem: CodesignProblem, crew: Workers, parts: _Parts, found: Sequence[_Part], compressions: int
) -> None:
    """Enumerate all compressions that no part has, and keep each range."""
    inputs = RangeInputs(portable_problem(problem) if crew.apart else problem, parts.origin)
    total = compressions * len(problem.enumeration.grid)
    done = sum(part.designs for part in found)
    with crew.start(inputs) as workers, Progress("exhaustive", "designs", total, done) as progress:
        for finished in finished_batches(Ranges(parts.gaps(found), workers.workers), workers):
            parts.keep(finished)
            progress.advance(finished.designs)


@dataclass(frozen=True)
class CompressionRange:
    """Compressions from number `begin` to before `end`, a batch for one worker."""

    begin: int
    end: int

    def __len__(self) -> int:
        return self.end - self.begin

    def single(self) -> list[CompressionRange]:
        """Return ranges of one compression each."""
        return [CompressionRange(number, number + 1) for number in range(self.begin, self.end)]

    @property
    def item(self) -> str:
        """Name of the first compression."""
        return f"compression {self.begin}"


@dataclass(frozen=True, eq=False)
class FinishedRange:
    """Result of one range.

    Attributes
    ----------
    batch : CompressionRange
        The range.
    part : bytes
        Content of a result file with the designs that no other one of the range dominates.
    designs : int
        Designs that were costed.
    seconds : float
        Time that it took.
    """

    batch: CompressionRange
    part: bytes
    designs: int
    seconds: float


@dataclass(frozen=True, eq=False)
class RangeInputs:
    """Data that all ranges share.

    Attributes
    ----------
    problem : CodesignProblem or PortableProblem
        The problem; the portable one for other processes.
    origin : mapping
        Origin of the enumeration, for the files of the ranges.
    """

    problem: CodesignProblem | PortableProblem
    origin: Mapping[str, Any]
    in_memory = True

    def run(self, batch: CompressionRange) -> FinishedRange:
        """Enumerate a range."""
        begin = time.perf_counter()
        space, objectives = self.problem.compressions, self.problem.search.objectives
        rows = space.compressions(batch.begin, batch.end)
        places = np.flatnonzero(space.within(rows))
        front, costed = _Merged(self.problem.figure_names, objectives), 0
        for place in places.tolist():
            found = self._enumeration(space.choices(rows[place]))
            own = found.front(objectives).designs
            front.add(np.full(len(own), batch.begin + place), own)
            costed += found.tried
        numbers, designs = front.members()
        of_part = {**dataclasses.asdict(batch), "compressions": len(places), "designs": costed}
        part = results_bytes(_part_table(numbers, designs), {**self.origin, "range": of_part})
        return FinishedRange(batch, part, costed, time.perf_counter() - begin)

    @cached_property
    def _enumeration(self) -> Enumeration:
        return Enumeration(self.problem) if isinstance(self.problem, PortableProblem) else self.problem.enumeration

    def forget(self) -> None:
        """Free what `run` keeps."""
        self.__dict__.pop("_enumeration", None)

    def accessible(self, _: Callable[..., Sequence[Any]]) -> RangeInputs:
        """Return the same inputs: no worker needs a file."""
        return self


class Ranges:
    """Ranges of the compressions that are not enumerated, about as long as a sweep's batches.

    Parameters
    ----------
    gaps : sequence of (int, int)
        First number, and the number behind the last one, of the compressions that are not enumerated.
    workers : int
        Number of workers.
    """

    def __init__(self, gaps: Sequence[tuple[int, int]], workers: int) -> None:
        self._gaps, self._workers = deque(gaps), workers
        self._left = sum(end - begin for begin, end in gaps)
        self._most = _FIRST_COMPRESSIONS
        self._seconds = BATCH_SECONDS / _FIRST_COMPRESSIONS  # of a compression

    def __bool__(self) -> bool:
        return bool(self._gaps)

    def next(self) -> CompressionRange:
        """Return the next range: the last ones are shorter, so that all workers have one."""
        begin, end = self._gaps.popleft()
        share = max(BATCH_SECONDS, self._left * self._seconds / (2 * self._workers))
        length = int(min(batch_seconds(self._workers), share) / self._seconds)
        taken = CompressionRange(begin, min(end, begin + max(1, min(length, self._most))))
        if taken.end < end:
            self._gaps.appendleft((taken.end, end))
        self._left -= len(taken)
        return taken

    def learn(self, finished: FinishedRange) -> None:
        """Adapt the length of ranges to the run time of this one."""
        length = len(finished.batch)
        self._seconds = max(finished.seconds / length, 1e-9)
        self._most = _MOST_GROWTH * max(length, self._most // _MOST_GROWTH**2)


class _Merged:
    """Designs that no other one dominates, of those added so far; of equal ones, the first compression's."""

    def __init__(self, figures: Sequence[str], objectives: Sequence[str]) -> None:
        self._objectives = objectives
        self._numbers: list[Integers64] = [np.zeros(0, dtype=np.int64)]
        self._tables, self._none = [DesignTable.empty(figures)], DesignTable.empty(figures)
        self._waiting = 0

    def add(self, numbers: Integers64, designs: DesignTable) -> None:
        """Add designs with the numbers of their compressions, both in order."""
        self._numbers.append(numbers)
        self._tables.append(designs)
        self._waiting += len(designs)
        if self._waiting > _MERGED_AT_ONCE:
            self.members()

    def members(self) -> tuple[Integers64, DesignTable]:
        """Return the numbers of their compressions, and the designs, in order."""
        tables = [table for table in self._tables if len(table)]
        if not tables:
            return self._numbers[0], self._none
        numbers, designs = np.concatenate(self._numbers), DesignTable.joined(tables)
        order = np.argsort(numbers, kind="stable")
        kept = order[non_dominated(designs.costs(self._objectives)[order], keep_equal=False)]
        self._numbers, self._tables, self._waiting = [numbers[kept]], [designs.take(kept)], 0
        return self._numbers[0], self._tables[0]


@dataclass(frozen=True)
class _Part:
    """File of a finished range, with the compressions within the largest change and the designs of the range."""

    path: Path
    begin: int
    end: int
    compressions: int
    designs: int


class _Parts:
    """Files of one enumeration."""

    def __init__(self, folder: Path, problem: CodesignProblem) -> None:
        self.folder, self._result = folder / PARTS_FOLDER, folder / EXHAUSTIVE_FILE
        self._problem, self.number = problem, problem.compressions.num_compressions
        settings = problem.origin() | {"compressions": self.number, "candidates": _digest(problem)}
        self.origin: dict[str, Any] = json.loads(json.dumps(provenance(settings)))  # as it comes back from a file

    def keep(self, finished: FinishedRange) -> None:
        """Write a finished range; raise InputError if the disk is full or read-only. Earlier ones stay."""
        try:
            write_atomically(self._path(finished.batch, finished.part), finished.part)
        except InputError as error:
            raise InputError(
                f"{error}; the compressions enumerated before are kept; make room and run the same again to continue"
            ) from error

    def _path(self, batch: CompressionRange, content: bytes) -> Path:
        checksum = hashlib.sha256(content).hexdigest()[:16]
        return self.folder / f"{batch.begin:012d}-{batch.end:012d}-{checksum}.parquet"

    def _paths(self) -> list[Path]:
        """Return the files of ranges, in order; other files are not the project's."""
        return sorted(path for path in self.folder.glob("*.parquet") if PART_FILES.fullmatch(path.name))

    def finished(self) -> list[_Part]:
        """Return the ranges that are there, in order, none twice; files that are changed or foreign are removed."""
        found: list[_Part] = []
        for path in self._paths():
            part = self._read(path)
            if part is None or (found and part[0].begin < found[-1].end):
                path.unlink(missing_ok=True)
            else:
                found.append(part[0])
        return found

    def gaps(self, found: Sequence[_Part]) -> list[tuple[int, int]]:
        """Return the compressions that no part has, as first number and the number behind the last one."""
        ends = [0, *(part.end for part in found)]
        begins = [*(part.begin for part in found), self.number]
        return [(end, begin) for end, begin in zip(ends, begins, strict=True) if end < begin]

    def _read(self, path: Path) -> tuple[_Part, pa.Table] | None:
        """Return a part and its rows; None if it was changed, or is no range of this enumeration."""
        name = PART_FILES.fullmatch(path.name)
        try:
            if name is None or name[3] != f"-{file_checksum(path)[:16]}":
                return None
            table, origin = read_results(path, _PART_COLUMNS, empty=True)
            of_part = origin.pop("range")
            part = _Part(path, *(of_part[key] for key in ("begin", "end", "compressions", "designs")))
        except (InputError, OSError, KeyError, TypeError):
            return None
        whole = (part.begin, part.end) == (int(name[1]), int(name[2]))
        numbers = table["compression"].to_numpy()
        whole = whole and 0 <= part.begin < part.end <= self.number and origin == self.origin
        return (part, table) if whole and ((part.begin <= numbers) & (numbers < part.end)).all() else None

    def finish(self, found: Sequence[_Part]) -> TrueFront:
        """Merge all parts, write the front, and remove them; raise InputError if one is missing. They stay then."""
        problem = self._problem
        front = _Merged(problem.figure_names, problem.search.objectives)
        for part in found:
            read = self._read(part.path)
            if read is None:
                raise InputError(
                    f"{part.path}: the file of a finished range must stay until all are finished; found none, or "
                    f"another one; run the same again to enumerate these compressions again"
                )
            front.add(*_designs_of(read[1], "compression", problem.figure_names))
        numbers, designs = front.members()
        true = TrueFront(
            _trials(problem, numbers, designs),
            sum(part.compressions for part in found),
            sum(part.designs for part in found),
        )
        by_number = {trial.number: trial for trial in true.trials}
        table = FrontDesigns(by_number, numbers, designs).table()
        counts = {"compressions": true.compressions, "designs": true.designs, "members": true.members}
        enumerated = with_checksum(counts, [self.origin, table.to_pydict()])
        write_results(self._result, table, {**self.origin, "enumerated": enumerated})
        self.remove()
        return true

    def remove(self) -> None:
        """Remove the parts."""
        for path in self._paths():
            path.unlink(missing_ok=True)

    def read_front(self) -> TrueFront | None:
        """Return the front of an earlier run; None if there is none, or it was changed or is another problem's."""
        try:
            table, origin = read_results(self._result, DESIGN_COLUMNS, empty=True)
            counts = checked_values(origin.pop("enumerated"), [self.origin, table.to_pydict()])
        except (InputError, KeyError):
            return None
        if origin != self.origin or counts is None:
            return None
        numbers, designs = _designs_of(table, "trial", self._problem.figure_names)
        return TrueFront(_trials(self._problem, numbers, designs), counts["compressions"], counts["designs"])


def _digest(problem: CodesignProblem) -> str:
    """Return a hash of what the numbers of compressions and their predicted losses and bytes follow from."""
    space, digest = problem.compressions, hashlib.sha256()
    for name, of_layer in zip(space.names, space.candidates, strict=True):
        digest.update(f"{name}\0".encode())
        for each in of_layer:
            costs = [each.costs[cost] for cost in sorted(each.costs)]
            digest.update(repr((*each.choice.origin, each.change, costs)).encode())
    digest.update(repr((space.widths, space.most_change, problem.analysis.planner.other_bytes)).encode())
    for precision in problem.enumeration.grid.values["precision"]:
        prediction = problem.analysis.loss_predictions[precision]
        for field in dataclasses.fields(prediction):
            digest.update(np.asarray(getattr(prediction, field.name), dtype=np.float64).tobytes())
    return digest.hexdigest()[:16]


def _trials(problem: CodesignProblem, numbers: Integers64, designs: DesignTable) -> list[StudyTrial]:
    """Return the compressions of designs as trials."""
    space, arrays, trials = problem.compressions, len(problem.enumeration.grid), []
    for number in np.unique(numbers).tolist():
        own = designs.take(numbers == number)
        least = {name: float(values.min()) for name, values in own.figures.items()}
        choices = space.choices(space.compressions(number, number + 1)[0])
        trials.append(StudyTrial(number, choices, own, arrays, least=least))
    return trials


def _part_table(numbers: Integers64, designs: DesignTable) -> pa.Table:
    """Return _PART_COLUMNS."""
    columns = {"compression": numbers, **designs.hardware, **designs.figures}
    none = [None] * len(numbers)
    schema = schema_of(_PART_COLUMNS)
    if not len(numbers):
        return schema.empty_table()
    return pa.table([pa.array(columns.get(field.name, none), field.type) for field in schema], schema=schema)


def _designs_of(table: pa.Table, number: str, figures: Sequence[str]) -> tuple[Integers64, DesignTable]:
    """Return the numbers of compressions in a column of a table, and its designs."""
    if not table.num_rows:
        return np.zeros(0, dtype=np.int64), DesignTable.empty(figures)
    columns = {name: np.array(table[name].to_pylist()) for name in (number, *HARDWARE, *figures)}
    hardware = {name: columns[name] for name in HARDWARE}
    return columns[number], DesignTable(hardware, {name: columns[name] for name in figures})
