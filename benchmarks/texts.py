"""Batches of real texts, written to files that every competitor reads. `python -m benchmarks.texts CONFIG MAXIMUM_LENGTH STEPS DIRECTORY`.

- `grouped`: this project's own batches, the first steps of an epoch.
- `random_order`: the default practice: the same texts a batch on average, in random order, padded to the longest of the batch.
- `random_order_64`: the same batches padded to the next multiple of 64, so that a compiled step meets few shapes.
"""

import sys
from pathlib import Path

import numpy as np

from benchmarks.tables import LENGTH_GROUPS, VOCABULARY
from benchmarks.work import CLASSES, Batch, save_batches
from transformer.config.load import load_config
from transformer.data.batching import TrainingBatches, batch_shapes
from transformer.data.dataset import load_dataset
from transformer.data.tokenization import Split


def _grouped(batches: TrainingBatches, steps: int) -> list[Batch]:
    made = [batches.batch(step) for step in range(steps)]
    return [Batch(batch["tokens"], batch["segments"] != 0, batch["labels"] % CLASSES) for batch in made]


def random_order(split: Split, texts: int, steps: int, length_multiple: int) -> list[Batch]:
    """Batches of `texts` texts in random order, padded to the longest of each, rounded up to the next multiple."""
    order = np.random.default_rng(0).permutation(len(split))[: texts * steps]
    return [_padded(split, order[start : start + texts], length_multiple) for start in range(0, len(order), texts)]


def _padded(split: Split, rows: np.ndarray, length_multiple: int) -> Batch:
    longest = int(split.lengths[rows].max())
    length = -(-longest // length_multiple) * length_multiple
    mask = np.arange(length) < split.lengths[rows][:, None]
    tokens = np.zeros(mask.shape, np.int32)
    tokens[mask] = np.concatenate([split.tokens[split.offsets[row] : split.offsets[row + 1]] for row in rows])
    return Batch(tokens, mask, split.labels[rows] % CLASSES)


def main(config_path: str, maximum_length: str, steps: str, directory: str) -> None:
    """Load the config's data and write the three plans."""
    # The config gives the texts; what the figures depend on is the same for all configs.
    config = load_config(
        config_path,
        [
            f"data.maximum_length={maximum_length}",
            f"tokenizer.vocabulary_size={VOCABULARY}",
            f"batching.tokens={8 * int(maximum_length)}",
            f"batching.length_groups={LENGTH_GROUPS}",
        ],
    )
    dataset = load_dataset(config, print)
    shapes = batch_shapes(dataset.train.lengths, config.batching, config.data.maximum_length)
    batches = TrainingBatches(dataset.train, dataset.special, shapes, config.seed)
    texts = round(batches.mean_examples)
    plans = {
        "grouped": _grouped(batches, int(steps)),
        "random_order": random_order(dataset.train, texts, int(steps), 1),
        "random_order_64": random_order(dataset.train, texts, int(steps), 64),
    }
    for name, plan in plans.items():
        save_batches(str(Path(directory) / f"{name}.npz"), plan)


if __name__ == "__main__":
    main(*sys.argv[1:])
