"""Label names, duplicates, and the splits that a source does not have."""

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence

import numpy as np
from jaxtyping import Int

from transformer.config.errors import UsageError
from transformer.config.schema import Data
from transformer.data.formats import listed
from transformer.data.sources import Rows, Source


def complete_splits(source: Source, data: Data, *, labelled: bool = True) -> tuple[dict[str, Rows], int, list[str]]:
    """The splits of the source, with test and validation split off where it has none; how many test rows have a text that also stands
    among the training rows (those included that become validation); and what a person should know about the rows.

    Raises UsageError for an empty split, and for a class with one example (or a single text) where a split must take from it.
    """
    splits, notes = dict(source.splits), []
    for name, rows in splits.items():
        if rows.blank:
            notes.append(f"{rows.blank} blank {'row' if rows.blank == 1 else 'rows'} of {name} left out")
        if not rows:
            needed = "a text and a label" if labelled else "a text"
            raise UsageError(f"split {name} is empty: data.source.{name} has no row with {needed}; correct or remove it")
    if data.deduplicate:
        for name, rows in splits.items():
            splits[name] = _without_duplicates(rows)
            if dropped := len(rows) - len(splits[name]):
                notes.append(f"{dropped} of {len(rows)} rows of {name} left out: their text stood before")
    overlap, before = 0, ""
    for name, fraction in (("test", data.test_fraction), ("validation", data.validation_fraction)):
        if name not in splits and fraction:
            try:
                kept, taken = stratified_split(splits["train"].labels, fraction, data.split_seed, name)
            except UsageError as error:
                raise UsageError(f"{error}{before}") from error
            splits["train"], splits[name] = splits["train"].take(kept.tolist()), splits["train"].take(taken.tolist())
            total, how = len(kept) + len(taken), ", stratified" if labelled else ""
            notes.append(f"{name} split off train: {len(taken)} of {total} rows{how}, data.split_seed={data.split_seed}")
            before = f"; before, data.{name}_fraction={fraction} took {len(taken)} of {total} rows for {name}: set it lower"
        if name == "test" and "test" in splits:
            texts = set(splits["train"].texts)
            overlap = sum(text in texts for text in splits["test"].texts)
    return splits, overlap, notes + [f"labels {listed(alike)} differ in capitals or white space only" for alike in _alike(splits["train"])]


def _alike(rows: Rows) -> list[list[str]]:
    """Labels that a person may have meant as one."""
    groups = defaultdict(list)
    for label in sorted(set(rows.labels)):
        groups["".join(label.split()).casefold()].append(label)
    return [group for group in groups.values() if len(group) > 1]


def stratified_split(
    labels: Sequence[str], fraction: float, seed: int, name: str
) -> tuple[Int[np.ndarray, " kept"], Int[np.ndarray, " taken"]]:
    """Indices to keep and indices to take, each ascending: of every class the given fraction, rounded, but at least one on each side.

    Depends on nothing but its arguments. Raises UsageError for a class with one example.
    """
    counts = Counter(labels)
    if len(labels) == 1:
        raise UsageError(f"cannot split {name} off a single training row; give the source a {name} split, or set data.{name}_fraction=0")
    if single := sorted(label for label, count in counts.items() if count == 1):
        raise UsageError(
            f"cannot split {name} off the training rows, stratified by label: one example alone in class {listed(single)}; add examples "
            f"or remove the class, give the source a {name} split, or set data.{name}_fraction=0; where these are no classes, set "
            "data.label to another column, or data.label_threshold for numbers"
        )
    generator = np.random.Philox(np.random.SeedSequence([seed, ("test", "validation").index(name)]))
    # Raw bits, because NumPy may change how its generators draw permutations from them.
    order = np.argsort(generator.random_raw(len(labels)), kind="stable")
    wanted = {label: min(max(round(count * fraction), 1), count - 1) for label, count in counts.items()}
    taken = np.zeros(len(labels), bool)
    for index in order:
        label = labels[index]
        if wanted[label]:
            wanted[label] -= 1
            taken[index] = True
    return np.flatnonzero(~taken), np.flatnonzero(taken)


def label_order(splits: Mapping[str, Rows], known: Sequence[str] | None) -> list[str]:
    """Label names in index order: the source's own order where it has one; numbers by size; otherwise by name.

    Raises UsageError for training rows of a single class, and for a label that occurs outside the training split alone.
    """
    present = set(splits["train"].labels)
    if len(present) < 2:
        raise UsageError(f"all training rows have the label {present.pop()!r}; training needs two or more: check data.label")
    names = list(known) if known else sorted(present, key=_by_number if all(map(_is_integer, present)) else str)
    for split, rows in splits.items():
        if strange := sorted(set(rows.labels) - set(names)):
            raise UsageError(f"split {split} has the label {strange[0]!r}, which no training row has; those have {listed(names)}")
    return names


def _without_duplicates(rows: Rows) -> Rows:
    first = {text: index for index, text in reversed(list(enumerate(rows.texts)))}
    return rows.take(sorted(first.values()))


def _is_integer(name: str) -> bool:
    return name.removeprefix("-").isdecimal()


def _by_number(name: str) -> tuple[int, str]:
    return int(name), name  # 1 and 01 are two labels of one number
