"""Competitors do the same work: the same batches, models of one size."""

import sys
from pathlib import Path

import numpy as np

from benchmarks.rounds import Worker
from benchmarks.texts import random_order
from benchmarks.work import load_batches, random_batch, save_batches
from transformer.data.tokenization import Split

SIZE = {"width": 16, "layers": 2, "heads": 2, "feed_forward": 32, "dropout": 0.0, "vocabulary": 50, "length": 8}


def test_the_batch_is_always_the_same_and_survives_the_disk(tmp_path: Path) -> None:
    file = str(tmp_path / "batches.npz")
    made = [random_batch(4, 8, 50), random_batch(2, 16, 50)]
    save_batches(file, made)
    for batch, read in zip([random_batch(4, 8, 50), random_batch(2, 16, 50)], load_batches({"file": file}), strict=True):
        np.testing.assert_array_equal(batch.tokens, read.tokens)
        np.testing.assert_array_equal(batch.mask, read.mask)
        np.testing.assert_array_equal(batch.labels, read.labels)
    assert ((made[0].tokens != 0) == made[0].mask).all()


def test_random_order_pads_every_text_once_to_the_longest_of_its_batch() -> None:
    lengths = np.array([3, 1, 5, 2, 4])
    offsets = np.concatenate([[0], lengths.cumsum()])
    split = Split(np.arange(1, 16), offsets, np.arange(5))
    for multiple in (1, 8):
        batches = random_order(split, 2, 2, multiple)
        assert len(batches) == 2
        for batch in batches:
            longest = batch.mask.sum(axis=1).max()
            assert batch.mask.shape == (2, -(-longest // multiple) * multiple)
            for tokens, mask, label in zip(batch.tokens, batch.mask, batch.labels, strict=True):
                assert tokens[mask].tolist() == split.tokens[offsets[label] : offsets[label + 1]].tolist()
                assert not tokens[~mask].any()
        assert len({label for batch in batches for label in batch.labels}) == 4


def test_this_project_and_its_jax_peer_train_models_of_one_size() -> None:
    work = {"batch": 2, "length": 8, "vocabulary": 50}
    workers = [
        Worker(sys.executable, "benchmarks.ours:transformer", {**SIZE, "precision": "float32", "work": work}, {}),
        Worker(sys.executable, "benchmarks.flax_peers:transformer", {**SIZE, "split_state": True, "work": work}, {}),
    ]
    try:
        ours, theirs = [worker.answer() for worker in workers]
        assert ours == theirs
        assert workers[0].run(1)["loss"] > 0
    finally:
        for worker in workers:
            worker.close()
