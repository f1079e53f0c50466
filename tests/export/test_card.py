"""A model card says what the run knows, in front matter that the hub reads, whatever the names in it are."""

import re

import jax
import pytest
from huggingface_hub import ModelCard
from hypothesis import given
from hypothesis import strategies as st

from transformer.export.card import hugging_face_card, stablehlo_card
from transformer.export.markdown import code

BERT = {"norm_position": "post", "positions": "learned", "embedding_norm": True, "pooling": ["first"], "head": "tanh"}
HEADINGS = ["# `made`", "## Use", "## Data", "## Training", "## Figures", "## Limits"]
HOSTILE = ["---\n# owned", "``` ", "a`b``c", "<script>", "| x |", "[link](https://nowhere)", "", "\u2028line", "魚: {x}"]


def headings(card):
    return [line for line in card.split("---\n", 2)[2].splitlines() if line.startswith("#")]


def test_it_says_what_the_run_knows(make_run):
    run = make_run(BERT, summary={"test_rows_in_train": 4})
    card = hugging_face_card(run, {"model_type": "bert"}, "out")
    data = ModelCard(card).data
    assert (data.library_name, data.pipeline_tag, data.license) == ("transformers", "text-classification", "unknown")
    assert headings(card) == HEADINGS
    known = ["`rows.jsonl`", "5,485 train", "4 test texts also stand", "98,765 tokens", "7 of 1,234", "| validation | 0.5000 | 0.2500 |"]
    known += ["`a`, `b`, `c`", "first 24 tokens", "validation data only", "licence", "python train.py 'a config.yaml'", "`0123abc`"]
    for part in known:
        assert part in card, part


def test_a_run_that_was_never_scored_says_so(make_run):
    card = hugging_face_card(make_run(BERT, summary={"validation": None, "test": None}), {"model_type": "bert"}, "out")
    for part in ("None: it had neither validation nor test data.", "It was not tested.", "steps: 1,234."):
        assert part in card, part
    for part in ("| split |", "validation accuracy", "validation data only"):
        assert part not in card, part


def test_parameters_are_counted_as_they_are_exported(make_run):
    plain, summed = make_run(BERT), make_run({**BERT, "low_rank": {"rank": 2}})
    count = sum(leaf.size for leaf in jax.tree.leaves(plain.parameters))
    for run in (plain, summed):
        assert f"parameters: {count:,}." in hugging_face_card(run, {"model_type": "bert"}, "out")
    ensemble = stablehlo_card(make_run(BERT, objective={"members": 3}), "out")
    assert f"the mean of the probabilities of 3 models, each a transformer encoder, layers: 2, parameters: {3 * count:,}." in ensemble


@pytest.mark.parametrize(
    ("objective", "task", "automatic"),
    [
        ("classification", "text-classification", "AutoModelForSequenceClassification"),
        ("masked_language_model", "fill-mask", "AutoModelForMaskedLM"),
        ("contrastive", "feature-extraction", "AutoModel"),
    ],
)
def test_every_objective_has_its_task_and_class(make_run, objective, task, automatic):
    run = make_run({key: value for key, value in BERT.items() if key != "head"}, objective={"kind": objective})
    card = hugging_face_card(run, {"model_type": "bert"}, "out")
    assert ModelCard(card).data.pipeline_tag == task
    snippet = "\n".join(line[4:] for line in card.splitlines() if line.startswith("    ") and "python" not in line)
    compile(snippet, "card", "exec")
    assert f"{automatic}.from_pretrained(name)" in snippet
    assert ModelCard(stablehlo_card(run, "out")).data.library_name == "jax"


@pytest.mark.parametrize(("objective", "pairs"), [("classification", True), ("contrastive", False)])
def test_only_a_model_that_reads_pairs_is_shown_with_one(make_run, objective, pairs):
    run = make_run(BERT, objective={"kind": objective}, data={"text": ["first", "second"]})
    for card in (hugging_face_card(run, {"model_type": "bert"}, "out"), stablehlo_card(run, "out")):
        assert ("a second text" in card) == pairs


def test_hub_names_are_told_to_the_hub(make_run):
    weights = {"kind": "hub", "name": "some/encoder", "revision": "main"}
    run = make_run({**BERT, "initialize_from": weights}, data={"source": {"kind": "hub", "name": "some/texts"}})
    card = hugging_face_card(run, {"model_type": "bert"}, "out")
    data = ModelCard(card).data
    assert (data.base_model, data.datasets) == ("some/encoder", ["some/texts"])
    assert "`some/encoder` on the Hugging Face hub, revision `main`" in card


def test_names_cannot_break_it(make_run):
    path = "/home/me/```\n# owned\n.jsonl"
    source = {"kind": "files", "train": [{"path": path, "label": name} for name in HOSTILE if name.strip()]}
    run = make_run(BERT, labels=HOSTILE, data={"source": source, "text": ["`\n# owned"]})
    for card in (hugging_face_card(run, {"model_type": "bert"}, '"\n# owned'), stablehlo_card(run, "$(rm -r ~)\n# owned")):
        assert headings(card) == HEADINGS
        assert ModelCard(card).data.pipeline_tag == "text-classification"
        assert "/home/me" not in card
        outside = re.sub(r"(?<!`)(`+)(?!`).*?(?<!`)\1(?!`)", "", card)
        assert "<script>" not in outside
        assert "[link]" not in outside


def test_many_labels_are_not_all_listed(make_run):
    card = stablehlo_card(make_run(BERT, labels=[f"label {index}" for index in range(70)]), "out")
    assert "It knows 70 labels" in card
    assert "`label 49` and 20 more" in card


@given(st.text())
def test_a_name_as_code_is_one_span(name):
    shown = code(name)
    assert len(shown.splitlines()) == 1
    fence = re.match("`*", shown)[0]
    assert not fence or (shown.endswith(fence) and fence not in re.findall("`+", shown[len(fence) : -len(fence)]))
