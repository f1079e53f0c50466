"""What is masked, what is predicted, and what is learned from it."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from hypothesis import given
from hypothesis import strategies as st

from transformer.config import schema
from transformer.config.errors import UsageError
from transformer.data.dataset import load_dataset
from transformer.data.tokenization import encode_texts, special_tokens
from transformer.data.tokenizer_training import train_tokenizer
from transformer.model.build import build_masked_language_model
from transformer.training.loop import train
from transformer.training.objectives.masked_language_model import MaskedLanguageModelObjective, Masking, choose_tokens, replace_tokens
from transformer.training.run import load_run

LENGTH = 24
rates = st.sampled_from([0.15, 0.3, 0.5])
seeds = st.integers(0, 2**31 - 1)
choose = jax.jit(choose_tokens, static_argnums=2)


@given(st.lists(st.lists(st.booleans(), min_size=LENGTH, max_size=LENGTH), min_size=2, max_size=2), rates, seeds)
def test_in_each_row_the_share_of_eligible_tokens_is_chosen(rows, rate, seed):
    eligible = np.array(rows)
    selected, used = choose(eligible, np.ones_like(eligible), rate, jax.random.key(seed))
    for row, columns, chosen in zip(eligible, np.asarray(selected), np.asarray(used), strict=True):
        assert chosen.sum() == (max(np.round(np.float32(rate) * np.float32(row.sum())), 1) if row.any() else 0)
        assert row[columns[chosen]].all()
        assert len(set(columns.tolist())) == len(columns)


@given(st.lists(st.integers(1, 6), min_size=1, max_size=4), rates, seeds)
def test_words_are_chosen_whole_until_the_next_does_not_fit(lengths, rate, seed):
    words = np.full(LENGTH, -1)
    words[: sum(lengths)] = np.repeat(np.arange(len(lengths)), lengths)
    starts = (np.diff(words, prepend=-1) != 0) | (words < 0)
    selected, used = choose((words >= 0)[None], starts[None], rate, jax.random.key(seed))
    chosen = np.asarray(selected)[np.asarray(used)]
    budget = max(np.round(np.float32(rate) * np.float32(sum(lengths))), 1)
    assert len(chosen) <= budget
    # Words that can never fit are cut into their tokens.
    lengths = [part for length in lengths for part in ([1] * length if length > budget else [length])]
    words[: sum(lengths)] = np.repeat(np.arange(len(lengths)), lengths)
    for word, length in enumerate(lengths):
        assert (words[chosen] == word).sum() in (0, length)
    left = [length for word, length in enumerate(lengths) if word not in words[chosen]]
    assert not left or len(chosen) + max(left) > budget


def test_every_token_is_as_likely_to_be_chosen():
    eligible = jnp.ones((4000, 12), bool)
    selected, used = choose(eligible, eligible, 0.25, jax.random.key(0))
    counts = np.bincount(np.asarray(selected)[np.asarray(used)], minlength=12)
    # Each count is binomial with 4000 draws of 1/4: four deviations and a half.
    assert np.abs(counts - 1000).max() < 4.5 * (4000 * 0.25 * 0.75) ** 0.5


@pytest.mark.parametrize("kind", ["wordpiece", "bpe", "unigram", "byte", "character"])
@pytest.mark.parametrize(
    ("words", "between"), [("我喜欢学习语言你呢", ""), (["wheat", "“rose”", "oil"], "—"), (["wheat", "rose", "a"], " ")]
)
def test_whole_words_are_masked_at_the_rate_in_every_script(kind, words, between):
    text = between.join(np.random.default_rng(0).choice(list(words), 400))
    tokenizer = train_tokenizer(schema.TrainedTokenizer(kind=kind, vocabulary_size=270), [text[:30]] * 3)
    masking = Masking(settings_of(masking_rate=0.15, whole_words=True), tokenizer, special_tokens(tokenizer))
    tokens = encode_texts(tokenizer, [text], 128).tokens
    rows = jnp.tile(tokens, (200, 1))
    used = jax.jit(masking)(rows, jnp.ones_like(rows), jax.random.key(0))[3]
    assert used.sum(axis=1).mean() / masking.ordinary[tokens].sum() == pytest.approx(0.15, abs=0.02)


def test_no_special_token_is_masked_or_drawn():
    tokenizer = train_tokenizer(schema.TrainedTokenizer(vocabulary_size=40), ["a wheat rose oil"])
    tokenizer.add_special_tokens(["<|end|>"])
    masking = Masking(settings_of(), tokenizer, special_tokens(tokenizer))
    special = {"[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "<|end|>"}
    assert {tokenizer.id_to_token(index) for index in np.flatnonzero(~masking.ordinary)} == special


def test_four_fifths_become_mask_a_tenth_another_token_and_a_tenth_stay():
    tokens = jnp.full((200, 100), 5)
    ordinary = jnp.arange(5, 25)
    replaced = np.asarray(replace_tokens(tokens, "bert", 4, ordinary, jax.random.key(0)))
    count = replaced.size
    # A random token is the old one once in twenty times.
    for found, share in (((replaced == 4).mean(), 0.8), ((replaced == 5).mean(), 0.1 + 0.1 / 20), ((replaced > 5).mean(), 0.1 * 19 / 20)):
        assert abs(found - share) < 4 * (share * (1 - share) / count) ** 0.5
    random = np.bincount(replaced[replaced > 5], minlength=25)[6:]
    assert set(np.unique(replaced)) == {4, *range(5, 25)}
    assert random.max() - random.min() < 9 * (count * 0.1 / 20) ** 0.5
    assert (replace_tokens(tokens, "mask", 4, ordinary, jax.random.key(0)) == 4).all()


@pytest.fixture(scope="module")
def dataset(make_config):
    """Of a vocabulary so small that words have several pieces."""
    return load_dataset(make_config(objective={"kind": "masked_language_model"}, tokenizer={"vocabulary_size": 44}), print)


def settings_of(**settings):
    return schema.MaskedLanguageModel(**{"masking_rate": 0.3, **settings})


def model_of(dataset, length=32, **settings):
    config = schema.Transformer(**{"width": 16, "heads": 2, "layers": 2, "feed_forward": 32, "dropout": 0.0, **settings})
    size = dataset.tokenizer.get_vocab_size()
    return build_masked_language_model(config, vocabulary_size=size, maximum_length=length, pairs=False, key=jax.random.key(0))


def apply(model, batch, selected):
    """All logits of the places `selected`."""
    return nnx.jit(lambda model: model(**batch, selected=selected))(model)


def first_batch(dataset, make_config):
    config = make_config(objective={"kind": "masked_language_model"})
    batch = MaskedLanguageModelObjective(settings_of(), dataset).batches(config, dataset).batch(0)
    return {name: jnp.asarray(rows) for name, rows in batch.items()}


def test_the_mask_is_a_function_of_its_key_spares_special_tokens_and_tells_what_stood_there(dataset, make_config):
    batch = first_batch(dataset, make_config)
    masking = Masking(settings_of(replacement="mask"), dataset.tokenizer, dataset.special)
    gapped, selected, targets, weights = masking(batch["tokens"], batch["segments"], jax.random.key(1))
    again = masking(batch["tokens"], batch["segments"], jax.random.key(1))
    assert all((one == other).all() for one, other in zip((gapped, selected, targets, weights), again, strict=True))
    assert (masking(batch["tokens"], batch["segments"], jax.random.key(2))[1] != selected).any()
    tokens, gaps = np.asarray(batch["tokens"]), np.zeros(gapped.shape, bool)
    for row, columns in enumerate(np.asarray(selected)):
        gaps[row, columns[np.asarray(weights)[row] > 0]] = True
    np.testing.assert_array_equal(np.asarray(gapped), np.where(gaps, dataset.special.mask, tokens))
    assert not np.isin(tokens[gaps], [dataset.special.first, dataset.special.separator, dataset.special.padding]).any()
    np.testing.assert_array_equal(targets, np.take_along_axis(tokens, np.asarray(selected), axis=1))


def test_pieces_of_a_word_are_masked_together(dataset, make_config):
    batch = first_batch(dataset, make_config)
    gapped, _, _, _ = Masking(settings_of(whole_words=True, replacement="mask"), dataset.tokenizer, dataset.special)(
        batch["tokens"], batch["segments"], jax.random.key(3)
    )
    together = broken = 0
    special = [dataset.special.first, dataset.special.separator, dataset.special.unknown]
    tokens, gaps = np.asarray(batch["tokens"]), np.asarray(gapped) == dataset.special.mask
    for row, gap in zip(tokens, gaps, strict=True):
        for column in range(1, len(row)):
            if dataset.tokenizer.id_to_token(int(row[column])).startswith("##") and row[column - 1] not in special:
                together += gap[column] and gap[column - 1]
                broken += gap[column] != gap[column - 1]
    assert together > 0
    assert broken == 0


def test_logits_at_chosen_places_are_those_of_all_places(dataset, make_config):
    batch, model = first_batch(dataset, make_config), model_of(dataset)
    rows, length = batch["tokens"].shape
    everywhere = apply(model, batch, jnp.tile(jnp.arange(length), (rows, 1)))
    selected = jnp.tile(jnp.array([3, 0, 17]), (rows, 1))
    np.testing.assert_allclose(apply(model, batch, selected), everywhere[:, jnp.array([3, 0, 17])], atol=1e-5)


def test_the_loss_is_the_mean_over_the_masked_places_alone(dataset, make_config):
    batch, model, key = first_batch(dataset, make_config), model_of(dataset), jax.random.key(5)
    objective = MaskedLanguageModelObjective(settings_of(), dataset)
    loss, weight = nnx.jit(objective.loss)(model, batch, key)
    gapped, selected, targets, used = objective._masking(batch["tokens"], batch["segments"], jax.random.split(key)[0])
    columns = jnp.tile(jnp.arange(gapped.shape[1]), (len(gapped), 1))
    everywhere = jax.nn.log_softmax(apply(model, {**batch, "tokens": gapped}, columns))
    expected = sum(-float(everywhere[row, selected[row, place], targets[row, place]]) for row, place in zip(*np.nonzero(used), strict=True))
    assert float(loss) == pytest.approx(expected, rel=1e-5)
    assert float(weight) == int(np.asarray(used).sum())


def test_gradient_comes_from_masked_places_alone(dataset, make_config):
    batch, key = first_batch(dataset, make_config), jax.random.key(6)
    objective = MaskedLanguageModelObjective(settings_of(), dataset)

    class AnyLogits(nnx.Module):
        def __init__(self, logits):
            self.logits = logits

        def __call__(self, tokens, segments, positions, *, selected, key=None):
            return jnp.take_along_axis(self.logits, selected[:, :, None], axis=1)

    logits = jnp.zeros((*batch["tokens"].shape, dataset.tokenizer.get_vocab_size()))
    gradient = jax.jit(jax.grad(lambda logits: objective.loss(AnyLogits(logits), batch, key)[0]))(logits)
    _, selected, _, used = objective._masking(batch["tokens"], batch["segments"], jax.random.split(key)[0])
    masked = np.zeros(batch["tokens"].shape, bool)
    rows, places = np.nonzero(used)
    masked[rows, np.asarray(selected)[rows, places]] = True
    np.testing.assert_array_equal(np.abs(gradient).max(axis=-1) > 0, masked)
    assert masked.any()


def test_packed_texts_are_predicted_as_if_each_were_alone(dataset, make_config):
    batch, model = first_batch(dataset, make_config), model_of(dataset)
    rows, length = batch["tokens"].shape
    columns = jnp.tile(jnp.arange(length), (rows, 1))
    packed = apply(model, batch, columns)
    row = int(np.argmax(np.asarray(batch["segments"]).max(axis=1)))
    segments, tokens = np.asarray(batch["segments"])[row], np.asarray(batch["tokens"])[row]
    assert segments.max() > 1
    # One text a row, from the left.
    alone = {name: np.zeros((rows, length), np.int32) for name in batch}
    for segment in range(1, segments.max() + 1):
        text = tokens[segments == segment]
        alone["tokens"][segment - 1, : len(text)] = text
        alone["segments"][segment - 1, : len(text)] = 1
        alone["positions"][segment - 1, : len(text)] = np.arange(len(text))
    logits = apply(model, jax.tree.map(jnp.asarray, alone), columns)
    for segment in range(1, segments.max() + 1):
        there = segments == segment
        np.testing.assert_allclose(logits[segment - 1, : there.sum()], packed[row, there], atol=1e-4)


def test_texts_of_which_nothing_can_be_masked_are_refused(make_config, tmp_path):
    (tmp_path / "known.txt").write_text("\n".join(["a wheat rose oil"] * 20))
    (tmp_path / "unknown.txt").write_text("未知\n")
    source = {"train": [{"path": str(tmp_path / "known.txt")}], "test": [{"path": str(tmp_path / "unknown.txt")}]}
    config = make_config(data={"source": source, "label": None}, objective={"kind": "masked_language_model"})
    dataset = load_dataset(config, print)
    with pytest.raises(UsageError, match="no token of the test texts could be masked"):
        MaskedLanguageModelObjective(settings_of(), dataset)


def test_the_mean_weight_is_the_mean_of_the_weights(dataset, make_config):
    config = make_config(objective={"kind": "masked_language_model"})
    objective = MaskedLanguageModelObjective(settings_of(), dataset)
    batches = objective.batches(config, dataset)
    weigh = jax.jit(lambda batch: objective._masking(batch["tokens"], batch["segments"], jax.random.key(0))[3].sum())
    weights = [float(weigh(batches.batch(step))) for step in range(batches.steps_per_epoch)]
    # Rounding moves each row by half a token at most.
    rows = batches.shapes[0][0]
    assert objective.mean_weight(batches) == pytest.approx(np.mean(weights), abs=rows / 2)
    assert objective.mean_weight(batches) == pytest.approx(np.mean(weights), rel=0.05)


def test_a_language_of_echoes_is_learned(make_config, tmp_path):
    """Every sentence is one word, said again and again: what is missing stands beside the gap."""
    words = "zero one two three four five six seven eight nine".split()
    lines = [" ".join([words[row % 10]] * (4 + row % 7)) for row in range(300)]
    (tmp_path / "echoes.txt").write_text("\n".join(lines))
    config = make_config(
        data={"source": {"train": [{"path": str(tmp_path / "echoes.txt")}], "test": []}, "label": None, "validation_fraction": 0.1},
        objective={"kind": "masked_language_model", "masking_rate": 0.2},
        model={"dropout": 0.0},
        optimizer={"learning_rate": 0.02},
        training={"epochs": 6, "average_decay": 0.0, "evaluate_every": 3, "checkpoint_every": 1000, "metric": "loss"},
    )
    summary = train(config, tmp_path / "run")
    lines = (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()
    first = next(line for line in map(json.loads, lines) if line["split"] == "validation")
    assert first["accuracy"] < 0.5
    assert summary["validation"]["accuracy"] > 0.9
    assert summary["validation"]["perplexity"] == pytest.approx(np.exp(summary["validation"]["loss"]))
    assert summary["test"] is None
    assert json.loads((tmp_path / "run" / "labels.json").read_text()) == []


def test_a_run_that_was_stopped_and_resumed_ends_bit_identical(make_config, tmp_path, train_until):
    config = make_config(
        objective={"kind": "masked_language_model", "whole_words": True}, training={"epochs": 2, "evaluate_every": 3, "checkpoint_every": 4}
    )
    train(config, tmp_path / "whole")
    train_until(5, config, tmp_path / "run")
    assert train(config, tmp_path / "run", resume="require") is not None
    one, other = (load_run(tmp_path / name) for name in ("whole", "run"))
    for a, b in zip(jax.tree.leaves(one.parameters), jax.tree.leaves(other.parameters), strict=True):
        np.testing.assert_array_equal(a, b)
    figures = [json.loads((tmp_path / name / "summary.json").read_text()) for name in ("whole", "run")]
    assert [figures[0][name] for name in ("validation", "test", "tokens", "best_step")] == [
        figures[1][name] for name in ("validation", "test", "tokens", "best_step")
    ]
    assert set(figures[0]["test"]) == {"loss", "perplexity", "accuracy"}
