"""The pages of reports: one file, complete, whatever the figures are."""

import itertools
import json
import re
from html.parser import HTMLParser

import numpy as np
import pytest

from tests.evaluation.report.invented import benchmark, comparison
from tests.evaluation.report.test_sentences import keys, without
from transformer.evaluation.report import comparison_page, parallelism_page, write_comparison_charts
from transformer.evaluation.report.comparison_sentences import comparison_sentences
from transformer.evaluation.report.document import inert_json

HOSTILE = "</script><script>alert(1)</script><!-- \"'&<b> \u202eright to left\u202c שלום 🦆 \ud800"


class Reader(HTMLParser):
    """What a browser would find: elements by name, texts outside scripts, and the JSON blocks."""

    def __init__(self, page):
        super().__init__()
        self.elements, self.addresses, self.text, self.blocks, self.inside = [], [], [], {}, None
        self.feed(page)

    def handle_starttag(self, tag, attributes):
        attributes = dict(attributes)
        self.elements.append(tag)
        self.addresses += [attributes[name] for name in ("src", "href") if name in attributes]
        self.inside = (tag, attributes.get("id"))

    def handle_endtag(self, tag):
        self.inside = None

    def handle_data(self, data):
        if self.inside and self.inside[0] == "script":
            if self.inside[1]:
                self.blocks[self.inside[1]] = json.loads(data)
        elif not (self.inside and self.inside[0] == "style"):
            self.text.append(data)


def test_a_page_is_one_file_that_needs_no_other():
    for page in (comparison_page(comparison()), parallelism_page([benchmark()])):
        assert len(page.encode()) < 5 * 2**20
        reader = Reader(page)
        assert reader.addresses == ["data:,"]
        assert "@import" not in page
        assert "url(" not in page.split("</style>")[0]


def test_the_summary_is_what_the_sentences_say():
    figures = comparison()
    text = "".join(Reader(comparison_page(figures)).text)
    for sentence in comparison_sentences(figures):
        assert sentence in text


def test_every_rival_pair_and_run_has_a_row():
    figures = comparison()
    text = re.sub(r"<script.*?</script>", "", comparison_page(figures), flags=re.DOTALL)
    tables = {caption: body.count("<tr>") - 1 for caption, body in re.findall(r"<caption>(.*?)</caption>(.*?)</table>", text, re.DOTALL)}
    assert tables["Rivals, on the test texts"] == 6
    assert tables["Each pair, test accuracy of the first minus the second, by the paired bootstrap"] == 15
    assert tables["Runs"] == 16
    assert tables["Learning rates tried"] == 10


def test_one_learning_rate_was_not_chosen_among_several():
    figures = comparison()
    assert "Learning rates were chosen on validation data among" in comparison_page(figures)
    figures["budget"]["learning_rates"] = [0.001]
    assert "Their learning rate was 0.00100." in comparison_page(figures)


def test_an_end_that_may_come_early_is_told():
    figures = comparison()
    assert "trained for at most" not in comparison_page(figures)
    figures["budget"]["may_end_early"] = True
    assert "trained for at most" in comparison_page(figures)


def test_hostile_names_stay_text():
    figures = comparison()
    for rival in figures["rivals"][:2]:
        rival["description"] = HOSTILE
    figures["name"] = figures["command"] = figures["data"]["name"] = figures["rivals"][0]["name"] = HOSTILE
    figures["machine"]["versions"][HOSTILE] = HOSTILE
    reader = Reader(comparison_page(figures))
    plain = Reader(comparison_page(comparison()))
    assert reader.elements.count("script") == plain.elements.count("script")
    assert "b" not in reader.elements
    shown = HOSTILE.encode(errors="replace").decode()
    assert "".join(reader.text).count(shown) >= 4
    named = json.dumps(reader.blocks["quality-data"], ensure_ascii=False)
    assert json.dumps(shown, ensure_ascii=False) in named


def test_json_blocks_hold_no_tag_and_keep_their_values():
    value = {"a": HOSTILE[:-1], "b": ["</script>", "<!--", "]]>", 1.5, None]}
    assert "<" not in inert_json(value)
    assert json.loads(inert_json(value)) == value


def test_pages_are_made_of_whatever_is_there():
    assert "Nothing was measured yet" in parallelism_page([{}])
    assert "nothing can be said about quality" in comparison_page({})
    assert parallelism_page([]).startswith("<!doctype html>")
    generator = np.random.default_rng(0)
    for complete, page in ((comparison(), comparison_page), (benchmark(), lambda one: parallelism_page([one, one]))):
        for _ in range(3):
            figures = complete
            for key in generator.choice(sorted(keys(complete)), 8, replace=False):
                figures = without(figures, key, gone=bool(generator.integers(2)))
            assert "None" not in "".join(Reader(page(figures)).text)


def test_no_crossing_is_not_told_as_never_faster():
    """None tells of many processors alone: with less work and a longer span the challenger is ahead at few, and overtaken later."""
    figures = benchmark()
    for row, processors in zip(figures["crossings"], itertools.cycle([None, 12]), strict=False):
        row["processors"] = processors
    body = re.search(r"<caption>From how many processors on.*?</table>", parallelism_page([figures]), re.DOTALL).group()
    cells = [re.findall(r"<td.*?>(.*?)</td>", row)[-1] for row in body.split("<tr>")[2:]]
    assert cells[:2] == ["from no number on", "12"]
    assert set(cells) == set(cells[:2])


def test_machines_stand_in_one_picture():
    page = parallelism_page([benchmark(), benchmark("gpu", "Invented GPU", 1, 50.0)])
    step = Reader(page).blocks["step-time-training-1-text-a-batch-data"]
    rows = next(iter(step["datasets"].values()))
    assert {row["place"] for row in rows} == {"Invented 9000, 1 core", "Invented 9000, 2 cores", "Invented GPU"}


def test_charts_are_written_without_a_browser(tmp_path):
    figures = comparison()
    files = write_comparison_charts(figures, tmp_path / "charts")
    assert {file.suffix for file in files} == {".svg", ".png"}
    assert sorted(files) == sorted((tmp_path / "charts").iterdir())
    assert {"quality.svg", "quality.png", "accuracy-against-seconds.svg"} <= {file.name for file in files}
    picture = (tmp_path / "charts" / "quality.svg").read_text()
    assert all(rival["name"] in picture for rival in figures["rivals"])
    assert (tmp_path / "charts" / "quality.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize("accuracy", [0.3, 0.9])
def test_the_chart_shows_the_figures(accuracy):
    blocks = Reader(comparison_page(comparison(accuracies={"lstm": accuracy}))).blocks
    rows = [row for data in blocks["quality-data"]["datasets"].values() for row in data if row.get("series") == "lstm" and "mean" in row]
    assert [row["mean"] for row in rows] == [accuracy]
