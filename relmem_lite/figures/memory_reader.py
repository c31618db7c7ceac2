"""What can still be read of each stored item, step by step: a map with a cursor over time and item."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from relmem_lite.figures.maps import heat_map
from relmem_lite.figures.page import MovingFigure
from relmem_lite.figures.style import figure


@dataclass(frozen=True, repr=False)
class MemoryReader(MovingFigure):
    """What `memory_reader` returns; a notebook shows it as a page with radio buttons, sliders, Back and Next."""

    page = "memory_reader.html"

    tables: Mapping[str, np.ndarray]
    step_labels: tuple[str, ...]
    name: str
    title: str

    def words(self) -> str:
        """Say how much of the first item and of the last stored one can be read at the end, in each table."""
        told = [
            f"{name}: R² = {table[0, -1]:.2f} for item 1, {table[-1, -1]:.2f} for item {len(table)}"
            for name, table in self.tables.items()
        ]
        return f"What can be read in the end (step {self.step_labels[-1]}). {'; '.join(told)}."

    def data(self) -> dict:
        """Return every table, from nothing (null) to 1."""
        tables = [
            (name, [[None if np.isnan(value) else round(float(value), 3) for value in row] for row in table])
            for name, table in self.tables.items()
        ]
        return {"tables": tables, "steps": self.step_labels, "name": self.name}

    def still(self):
        """Draw the table that is shown first."""
        table = self.tables[self.name]
        fig, ax = figure(1.6 + 0.42 * len(table))
        rows = [str(item + 1) for item in range(len(table))]
        heat_map(
            table.clip(0), rows, self.step_labels, ax=ax, title=self.name, row_title="item", column_title="after step"
        )
        return fig


def memory_reader(
    tables: Mapping[str, Sequence[Sequence[float]]],
    step_labels: Sequence[str] | None = None,
    *,
    name: str | None = None,
    title: str = "What can still be read of each item",
) -> MemoryReader:
    """Return how well stored items can be read from a state, as a page to look through: no kernel needed.

    The reader chooses a table, a step and an item, and sees what could be read of all items at that step.

    Args:
        tables: for each name, such as a network's, R² of each item after each step, (items, steps), at most 1; NaN
            where an item is not stored yet. All of one size.
        step_labels: names of the steps; numbers from 1 if not given.
        name: the table shown first; the first of `tables` if not given.
        title: what the figure shows.

    Raises:
        ValueError: no table, tables of different sizes, with values above 1 or with an item that can never be read, or
            a name that is not there.
    """
    tables = {who: np.asarray(table, dtype=float) for who, table in tables.items()}
    shapes = {table.shape for table in tables.values()}
    if len(shapes) != 1 or any(len(shape) != 2 or 0 in shape for shape in shapes):
        raise ValueError(f"The tables must have one shape (items, steps) for all, got {sorted(shapes)}.")
    for who, table in tables.items():
        if np.isnan(table).all(1).any() or np.isnan(table[:, -1]).any() or np.nanmax(table) > 1:
            raise ValueError(f"{who}: every item must have an R², at most 1, from its step to the last one.")
    (_, steps), *_ = shapes
    step_labels = tuple(str(step + 1) for step in range(steps)) if step_labels is None else tuple(step_labels)
    if len(step_labels) != steps:
        raise ValueError(f"There are {len(step_labels)} step labels for {steps} steps.")
    name = next(iter(tables)) if name is None else name
    if name not in tables:
        raise ValueError(f"There is no table {name!r} to show: choose one of {', '.join(tables)}.")
    return MemoryReader(tables, step_labels, name, title)
