"""Recall and nDCG of rankings whose figures are known."""

import math
import subprocess
import sys

import numpy as np
import pytest

from benchmarks import search, search_quality
from benchmarks.search_quality import bm25_scores, embedder_scores, retrieval_quality
from tests.search.conftest import WORDS, small_embedder
from transformer.config.errors import UsageError

CLASSES = np.array([0, 0, 0, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1])


def blocks(scores, size=2):
    return (scores[start : start + size] for start in range(0, len(scores), size))


def test_a_perfect_ranking_has_all_that_can_be_had():
    asked = np.array([0, 1, 1])
    measured = retrieval_quality(blocks((asked[:, None] == CLASSES).astype(np.float32)), asked, CLASSES)
    assert measured.ndcg == pytest.approx(1)
    assert measured.recall == measured.highest_recall
    assert measured.recall[10] == pytest.approx((1 + 10 / 12 + 10 / 12) / 3)
    assert measured.recall[100] == 1


def test_one_right_document_at_a_known_rank():
    scores = -np.arange(15, dtype=np.float32)[None]
    classes = np.zeros(15, np.int64)
    classes[3] = 1
    measured = retrieval_quality(blocks(scores), np.array([1]), classes)
    assert measured.ndcg == pytest.approx(1 / math.log2(3 + 2))
    assert measured.recall == {10: 1.0, 100: 1.0}
    classes = np.roll(classes, 10)
    assert retrieval_quality(blocks(scores), np.array([1]), classes).recall == {10: 0.0, 100: 1.0}


def test_blocks_of_any_size_give_the_same(monkeypatch):
    scores = np.random.default_rng(0).standard_normal((7, 15)).astype(np.float32)
    asked = np.array([0, 1, 0, 1, 1, 0, 0])
    whole = retrieval_quality(blocks(scores, 7), asked, CLASSES)
    cut = retrieval_quality(blocks(scores, 3), asked, CLASSES)
    assert (cut.ndcg, cut.recall[10]) == pytest.approx((whole.ndcg, whole.recall[10]))


def test_bm25_ranks_rare_words_above_common_ones_and_knows_no_others(caplog):
    documents = ["the wheat", "oil wheat", "oil price", "oil rate", "oil bank"]
    (scores,) = bm25_scores(documents, ["wheat oil", "unheard words", ""])
    assert scores[0].argmax() == 1
    assert scores[0, 0] > scores[0, 2]
    assert not scores[1:].any()
    assert not [record for record in caplog.records if record.name == "bm25s"], "the library tells each of its steps"


def test_scores_of_vectors_rank_a_text_above_others_for_itself(monkeypatch):
    monkeypatch.setattr(search_quality, "QUERIES_AT_ONCE", 5)
    scores = np.concatenate(list(embedder_scores(small_embedder(), WORDS, WORDS)))
    assert scores.shape == (16, 16)
    assert scores.argmax(axis=1).tolist() == list(range(16))


def test_a_model_that_there_is_not_is_told_before_anything_is_ranked(monkeypatch, tmp_path):
    monkeypatch.setattr(search, "read_source", lambda *_: pytest.fail("read before the models were opened"))
    with pytest.raises(UsageError, match="is not a run directory"):
        search.quality_table([str(tmp_path)])


def test_nothing_that_is_imported_takes_the_choice_of_devices_away():
    """JAX refuses to be set up once something has computed with it."""
    program = "import benchmarks.search; from transformer.training.devices import set_up_jax; set_up_jax()"
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr
