"""The words of a report follow from its figures: another figure, another sentence."""

import copy
import itertools
import re

import pytest

from tests.evaluation.report.invented import benchmark, comparison
from transformer.evaluation.parallelism.bound import Rates, bounds_and_crossings
from transformer.evaluation.report.comparison_sentences import comparison_sentences
from transformer.evaluation.report.measurements import Setting, growth_exponent, settings
from transformer.evaluation.report.parallelism_sentences import parallelism_sentences


def told(figures):
    sentences = comparison_sentences if figures["kind"] == "comparison" else parallelism_sentences
    return "\n".join(sentences(figures))


def sentence(figures, pattern):
    return next(line for line in told(figures).splitlines() if re.search(pattern, line))


def test_whoever_is_best_is_called_best():
    assert "transformer classifies best: 84.20 % of 7,000 test texts are right" in told(comparison())
    text = told(comparison(accuracies={"lstm": 0.9}))
    assert "lstm classifies best: 90.00 %" in text
    assert "lstm is significantly better than transformer (by 5.80 points)" in text
    assert "transformer, at 84.20 %, is significantly worse, by 5.80 points, than lstm (recurrence)" in text
    assert "transformer classifies best" not in text
    text = told(comparison(accuracies={"TF-IDF": 0.9}))
    assert "TF-IDF classifies best" in text
    assert "No network reaches it" in text


def test_a_difference_that_could_be_luck_is_not_called_significant():
    text = told(comparison(p=0.2))
    assert "no significant difference" in text
    assert "significantly better" not in text
    assert "(significantly)" not in text
    text = told(comparison(accuracies={"lstm": 0.9}, p=0.2))
    assert "transformer, at 84.20 %, does not differ significantly (5.80 points lower, p = 0.200) from lstm (recurrence)" in text
    assert "significantly worse" not in text
    assert "no significant difference" not in told(comparison(p=0.01))


@pytest.mark.parametrize("difference", [0.0, 4e-5, -4e-5])
def test_a_difference_of_nothing_has_no_direction(difference):
    figures = comparison(accuracies={"lstm": 0.9}, p=0.2)
    for pair in figures["pairs"]:
        if {pair["a"], pair["b"]} == {"transformer", "lstm"}:
            pair["difference"] = difference
    assert "transformer, at 84.20 %, does not differ significantly (0.00 points, p = 0.200) from lstm (recurrence)" in told(figures)


def test_the_order_of_a_pair_makes_no_difference():
    figures = comparison()
    turned = copy.deepcopy(figures)
    for pair in turned["pairs"]:
        pair["a"], pair["b"], pair["difference"] = pair["b"], pair["a"], -pair["difference"]
    assert told(turned) == told(figures)


def test_a_bootstrap_against_the_leader_is_told():
    figures = comparison()
    for pair in figures["pairs"]:
        if {pair["a"], pair["b"]} == {"transformer", "lstm"}:
            pair["difference"] = -pair["difference"]
    assert "however, transformer is significantly worse than lstm" in told(figures)


def test_the_floor_is_told_from_both_sides():
    line = sentence(comparison(accuracies={"TF-IDF": 0.825}), "floor")
    above, below = line.split("below it:")
    assert "transformer (significantly)" in above
    assert "lstm (significantly)" in below
    assert "minGRU" not in above


def test_a_floor_of_characters_knows_their_neighbours():
    figures = comparison()
    assert "TF-IDF, which knows nothing of word order: " in told(figures)
    figures["rivals"][-1]["terms"] = "characters"
    assert "TF-IDF, which knows no order but that of neighbouring characters: " in told(figures)


def test_the_fastest_is_named_with_the_other_side_beside_it():
    assert re.search(r"gated convolutions trains fastest, 13,\d+ real tokens a second; transformer reads", told(comparison()))
    line = sentence(comparison(rates={"transformer": 40_000, "gated convolutions": 5_000}), "trains fastest")
    assert re.search(r"transformer trains fastest, [34]\d,\d+ real tokens a second; lstm reads", line)


def test_time_to_the_target_names_those_that_never_reach_it():
    figures = comparison()
    slow = next(rival for rival in figures["rivals"] if rival["name"] == "lstm")
    slow["seconds_to_target"] = None
    slow["runs"][0]["seconds_to_target"] = None
    line = sentence(figures, "validation accuracy of")
    assert re.search(r"is reached in every run by gated convolutions \(after 2 min 09 s\), transformer \(after ", line)
    assert "in 2 of 3 runs by lstm" in line
    assert "in no run" not in line
    slow["runs"][1]["seconds_to_target"] = slow["runs"][2]["seconds_to_target"] = None
    assert "; in no run by lstm." in sentence(figures, "validation accuracy of")
    for rival in figures["rivals"]:
        rival["seconds_to_target"] = None
        for run in rival["runs"]:
            run["seconds_to_target"] = None
    assert "is reached in every run by nobody" in told(figures)
    assert "TF-IDF" not in sentence(figures, "nobody")


def test_what_nobody_tested_is_not_called_insignificant():
    figures = comparison(accuracies={"lstm": 0.9})
    for pair in figures["pairs"]:
        pair["p"] = None
    assert "significant" not in told(figures)
    assert "transformer, at 84.20 %, is 5.80 points below lstm (recurrence)" in told(figures)


def test_what_shows_as_equal_is_called_equal():
    figures = comparison()
    for rival in figures["rivals"]:
        rival["real_tokens_per_second"] = {"median": 1000.2, "low": 1000.2, "high": 1000.2} if rival["name"] != "TF-IDF" else None
        rival["peak_bytes"] = {"median": 2**30, "low": 2**30, "high": 2**30} if rival["name"] != "TF-IDF" else None
    figures["rivals"][0]["real_tokens_per_second"]["median"] = 1000.4
    figures["rivals"][0]["peak_bytes"]["median"] = 2**30 + 1
    assert "1.00 ×" not in sentence(figures, "trains fastest")
    assert "as many." in sentence(figures, "trains fastest")
    assert "All need the same memory" in told(figures)


def test_unequal_sizes_are_called_unfair():
    assert "within the 5 % of a fair comparison" in told(comparison())
    figures = comparison()
    figures["rivals"][0]["parameters"]["without_embeddings"] = 900_000
    assert "more than the 5 % that a fair comparison allows" in told(figures)


def test_one_seed_has_no_interval():
    figures = comparison()
    best = figures["rivals"][0]
    best["runs"], best["accuracy"] = best["runs"][:1], {"mean": 0.842, "low": None, "high": None}
    assert "a single run, so there is no interval" in told(figures)


def test_equals_are_told_to_be_level():
    assert "transformer and lstm are level at the top: 84.20 %" in told(comparison(accuracies={"lstm": 0.842}))


def test_a_recurrent_network_that_is_faster_is_told_to_be_faster_and_the_other_way_round():
    faster = benchmark(slower={"lstm": 0.1})
    assert re.search(r"lstm \(recurrence\) takes .* the time of transformer, in training on both cores: it is faster in all", told(faster))
    slower = benchmark(slower={"lstm": 50.0})
    assert "it is slower in all" in told(slower)
    assert "it is faster in" not in sentence(slower, "^lstm ")
    mixed = sentence(benchmark(slower={"lstm": 1.1}), "lstm against transformer, in training")
    assert "with 1 text a batch it is about as fast at 32 tokens and faster at 512 to 4,096 tokens" in mixed


def test_speed_up_is_told_as_measured():
    figures = benchmark()
    for row in figures["measured"]:
        if (row["mode"], row["batch"], row["length"]) == ("training", 1, 4096):
            row["median"] = {("lstm", 1): 1.22, ("lstm", 2): 1.0, ("transformer", 1): 1.91, ("transformer", 2): 1.0}.get(
                (row["model"], row["cores"]), 1.0
            )
    assert "at 1 × 4,096 transformer 1.91 ×, lstm 1.22 × and minGRU 1.00 ×" in told(figures)


def test_span_growth_is_fitted_to_the_figures():
    figures = benchmark()
    for row in figures["counted"]:
        row["span"] = {"lstm": 7 * row["length"], "transformer": 500, "minGRU": 3 * row["length"] ** 0.5}[row["model"]]
    line = sentence(figures, "longest chain")
    assert "1.00 × for transformer (length to the power 0.00)" in line
    assert "128 × for lstm (length to the power 1.00)" in line
    assert "minGRU (length to the power 0.50)" in line
    assert growth_exponent({10: 5.0, 1000: 5e4}) == pytest.approx(2.0)
    assert growth_exponent({10: 5.0}) is None


def test_from_how_many_processors_on_is_told():
    figures = benchmark()
    for row in figures["crossings"]:
        row["processors"] = 12 if row["length"] > 512 else None
    line = sentence(figures, "Brent")
    assert "with 1 text a batch from no number of processors on at 32 to 512 tokens and from 12 processors on at 4,096 tokens" in line


def test_faster_at_few_processors_alone_is_not_told_to_be_faster_at_none():
    """Less work and a longer span: ahead on one processor, overtaken later."""
    figures, rates = benchmark(), Rates(operations_per_second_one_core=1e9, seconds_per_dependent_operation=1e-7)
    for row in figures["counted"]:
        row.update({"work": 10**8, "span": 10**5} if row["model"] == "transformer" else {"work": 10**9, "span": 10**2})
    figures |= bounds_and_crossings(figures["models"], figures["counted"], rates)
    one = {row["model"]: row["seconds"] for row in figures["bounds"] if row["processors"] == 1}
    assert one["transformer"] < one["lstm"]
    assert "at no number" not in told(figures)
    assert "from no number of processors on at 32 to 4,096 tokens" in sentence(figures, "Brent")


def test_out_of_memory_is_told():
    assert "2 of 96 measurements failed (batch × length): transformer at 16 × 4,096 (out of memory)" in told(benchmark())


def test_batches_of_one_length_are_told_apart():
    assert settings({(1, 512), (8, 512), (16, 512)}) == [Setting(batch=1), Setting(batch=8), Setting(batch=16)]
    assert settings({(1, 512), (8, 64)}) == [Setting()]
    crossings = sentence(benchmark(lengths=[512]), "By Brent's bound")
    assert "with 1 text a batch from" in crossings
    assert "all shapes" not in crossings


def test_settings_are_found_among_the_shapes():
    lengths = [32, 64, 128, 256]
    mixed = {(batch, length) for batch in (1, 16) for length in lengths} | {(256 // length, length) for length in lengths}
    assert settings(mixed) == [Setting(tokens=256), Setting(batch=1), Setting(batch=16)]
    assert settings({(4, 32), (2, 64)}) == [Setting()]


@pytest.mark.parametrize("figures", [comparison(), benchmark()], ids=["comparison", "benchmark"])
def test_sentences_do_without_any_figure(figures):
    """Whichever key is missing or null everywhere, what remains is told, and nothing is made up in its place."""
    for key, gone in itertools.product(keys(figures), (True, False)):
        text = told({"kind": figures["kind"], **without(figures, key, gone)})
        assert "None" not in text
        assert not re.search(r"\bnan\b", text)


def keys(figures):
    if isinstance(figures, dict):
        return set(figures) | {key for value in figures.values() for key in keys(value)}
    return {key for value in figures for key in keys(value)} if isinstance(figures, list) else set()


def without(figures, key, gone):
    if isinstance(figures, dict):
        kept = {name: without(value, key, gone) for name, value in figures.items() if name != key}
        return kept if gone or key not in figures else kept | {key: None}
    return [without(value, key, gone) for value in figures] if isinstance(figures, list) else figures
