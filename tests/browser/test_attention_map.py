"""The attention map as a reader has it: opened from disk in Chromium."""

import numpy as np
import pytest

from transformer.attention_map.explanation import Explanation
from transformer.attention_map.page import attention_map_page
from transformer.attention_map.words import Word

HOSTILE = "</script><img src=x onerror=\"document.title='broken'\">"
TEXT = f"石油 {HOSTILE} שלום 🦆 oil"
NAMES = ["石", "油", HOSTILE, "שלום", "🦆", "oil"]

pytestmark = pytest.mark.usefixtures("silent")


def explanation(attention=True):
    """Six words between [CLS] and [SEP]; in layer 2, head 1, each looks at the next one alone."""
    words = [Word(0, 1, None, 0, 0, "[CLS]")]
    for name in NAMES:
        begin = TEXT.index(name)
        words.append(Word(len(words), len(words) + 1, 0, begin, begin + len(name)))
    words.append(Word(len(words), len(words) + 1, None, 0, 0, "[SEP]"))
    length = len(words)
    weights = np.full((2, 2, length, length), 1 / length)
    weights[1, 0] = np.roll(np.eye(length), 1, axis=1)
    evidence = np.array([0.0, 1.5, -0.5, 0.1, 0.0, 0.2, 2.0, 0.0])
    return Explanation(
        texts=(TEXT,),
        cut=(False,),
        words=words,
        labels=["crude", HOSTILE],
        probabilities=np.array([0.9, 0.1]),
        without=np.where([bool(word.special) for word in words], np.nan, 0.5),
        evidence=evidence,
        self_attention=weights if attention else None,
        rollout=np.full((length, length), 1 / length) if attention else None,
        pooling={"attention": np.linspace(0, 0.25, length)},
    )


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    path = tmp_path_factory.mktemp("map") / "map.html"
    path.write_text(attention_map_page(explanation(), HOSTILE, "transformer"), encoding="utf-8")
    return path.as_uri()


def choose(browser, identifier, option):
    from selenium.webdriver.support.select import Select

    Select(browser.find_element("id", identifier)).select_by_visible_text(option)


def strengths(browser):
    return browser.execute_script(
        "return [...document.querySelectorAll('#looks .word')].map((word) => Number(word.style.getPropertyValue('--w')))"
    )


def point_at(browser, panel, index):
    from selenium.webdriver.common.action_chains import ActionChains

    word = browser.find_element("css selector", f"#{panel} .word[data-index='{index}']")
    browser.execute_script("arguments[0].scrollIntoView({block: 'center'})", word)
    ActionChains(browser).move_to_element(word).perform()
    return word


def test_a_word_shows_where_it_looks(browser, page):
    browser.get(page)
    choose(browser, "layer", "layer 2")
    choose(browser, "head", "head 1")
    point_at(browser, "looks", 1)
    assert strengths(browser) == [0, 0, 1, 0, 0, 0, 0, 0]
    assert browser.find_element("css selector", "#looks output").text == "“石” looks at"
    assert browser.find_element("id", "looked-at").text.split("\n") == ["油", "100.0 %"]
    choose(browser, "layer", "layer 1")
    point_at(browser, "looks", 2)
    assert strengths(browser) == [1] * 8
    choose(browser, "layer", "all layers: attention rollout")
    assert not browser.find_element("id", "head").is_displayed()


def test_a_click_holds_a_word_and_the_arrow_keys_move(browser, page):
    from selenium.webdriver.common.keys import Keys

    browser.get(page)
    choose(browser, "layer", "layer 2")
    choose(browser, "head", "head 1")
    held = point_at(browser, "looks", 4)
    held.click()
    point_at(browser, "looks", 1)
    assert np.argmax(strengths(browser)) == 5
    held.send_keys(Keys.ARROW_RIGHT)
    assert np.argmax(strengths(browser)) == 6
    assert browser.switch_to.active_element.text == "🦆"


def test_words_tell_what_they_did(browser, page):
    browser.get(page)
    point_at(browser, "evidence-panel", 6)
    assert browser.find_element("css selector", "#evidence-panel output").text == "“oil”: 50.00 % without it; evidence +2.00"
    point_at(browser, "evidence-panel", 2)
    assert browser.find_element("css selector", "#evidence-panel output").text.endswith("evidence −0.50")
    point_at(browser, "attention-panel", 7)
    assert browser.find_element("css selector", "#attention-panel output").text == "“[SEP]”: weight 25.00 %"


def test_hostile_text_is_shown_as_text(browser, page):
    browser.get(page)
    assert HOSTILE in browser.title
    assert browser.find_elements("tag name", "img") == []
    words = browser.execute_script("return [...document.querySelectorAll('#looks .word:not(.special)')].map((word) => word.textContent)")
    assert words == NAMES
    assert browser.find_element("css selector", "#looks .text").text.replace("[CLS]", "").replace("[SEP]", "").strip() == TEXT


def test_a_model_without_attention_shows_evidence_alone(browser, tmp_path):
    from dataclasses import replace

    path = tmp_path / "map.html"
    path.write_text(attention_map_page(replace(explanation(attention=False), pooling={}), "run", "lstm"), encoding="utf-8")
    browser.get(path.as_uri())
    assert "has no attention weights" in browser.find_element("tag name", "body").text
    assert browser.find_elements("id", "looks") == []
    point_at(browser, "evidence-panel", 6)
    assert "evidence" in browser.find_element("css selector", "#evidence-panel output").text
