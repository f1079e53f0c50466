"""attention_map.py: a run and a text in, a page out."""

import json

import pytest

FISH = "the small house near water fins scales"


def test_a_page_is_written_and_names_what_predict_names(trained, command, capsys, tmp_path):
    command("predict", trained / "good", FISH)
    predicted = json.loads(capsys.readouterr().out)
    assert command("attention_map", trained / "good", FISH, "--output", tmp_path / "map.html") == 0
    share = predicted["probabilities"][predicted["label"]]
    assert capsys.readouterr().out.startswith(f"{predicted['label']} ({share:.2%})")
    page = (tmp_path / "map.html").read_text(encoding="utf-8")
    assert f"“{predicted['label']}”" in page
    assert "Where each word looks" in page
    assert "attention rollout" in page
    assert len(page.encode()) < 5 * 2**20


def test_pairs_are_a_json_list(trained, command, capsys, tmp_path):
    assert (
        command("attention_map", trained / "pairs", json.dumps(["the house", "barks bone leash"]), "--output", tmp_path / "map.html") == 0
    )
    assert capsys.readouterr().out.startswith("dog")
    assert command("attention_map", trained / "pairs", "barks", "--output", tmp_path / "map.html") == 2
    assert 'write a JSON list of two strings: ["first", "second"]' in capsys.readouterr().err


@pytest.mark.parametrize("text", ["", "wort " * 20_000, "\x00\x01[CLS]\u202e</script>", "e" + "\u0301" * 500, "未知 ☃ 🦆"])
def test_hostile_texts_are_shown(trained, command, tmp_path, text):
    assert command("attention_map", trained / "good", text, "--output", tmp_path / "map.html") == 0
    page = (tmp_path / "map.html").read_text(encoding="utf-8")
    assert page.count("</script>") == page.count("<script")


def test_a_page_that_cannot_be_written_is_told_before_the_work(trained, command, capsys, tmp_path):
    for path, told in ((tmp_path, "is not a regular file"), (tmp_path / "absent" / "map.html", "no directory")):
        assert command("attention_map", tmp_path, FISH, "--output", path) == 2
        assert told in capsys.readouterr().err
    assert command("attention_map", tmp_path, FISH, "--output", tmp_path / "map.html") == 2
    assert "is not a run directory" in capsys.readouterr().err
    assert command("attention_map", tmp_path, b"caf\xe9".decode(errors="surrogateescape"), "--output", tmp_path / "map.html") == 2
