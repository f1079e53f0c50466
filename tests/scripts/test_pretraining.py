"""A run that learned to fill gaps: what its end shows, what it refuses, and what it is good for."""

import json

ROWS = [{"text": f"the {animal} {sound} today", "label": animal} for animal, sound in (("cat", "purrs"), ("dog", "barks"))] * 12


def test_pretrain_then_whoever_asks_for_labels_is_told_to_fine_tune_which_works(command, capsys, tmp_path, monkeypatch):
    monkeypatch.setenv("ENCODER_TRAINER_CACHE", str(tmp_path / "cache"))
    (tmp_path / "rows.jsonl").write_text("\n".join(map(json.dumps, ROWS)))
    config = {
        "name": "classify",
        "data": {"source": {"kind": "files", "train": [{"path": str(tmp_path / "rows.jsonl")}]}, "maximum_length": 16},
        "batching": {"tokens": 128},
        "training": {"maximum_steps": 2},
    }
    (tmp_path / "classify.json").write_text(json.dumps(config))
    masked = {"tokenizer": {"vocabulary_size": 64}, "model": {"width": 16, "layers": 1, "feed_forward": 16}}
    (tmp_path / "masked.json").write_text(json.dumps(config | masked | {"objective": {"kind": "masked_language_model"}}))
    run = tmp_path / "run"

    assert command("train", tmp_path / "masked.json", "--run-dir", run) == 0
    shown = capsys.readouterr().out
    assert all(f"validation {figure}" in shown for figure in ("accuracy", "perplexity", "loss"))
    assert "macro" not in shown

    advice = f"model.initialize_from.kind=run model.initialize_from.path={run}"
    for name, arguments in (
        ("predict", ["a text"]),
        ("evaluate", ["--split", "validation"]),
        ("attention_map", ["a text", "--output", tmp_path / "map.html"]),
    ):
        assert command(name, run, *arguments) == 2
        told = capsys.readouterr().err
        assert f"python train.py CONFIG objective.kind=classification {advice}" in told
        assert "Traceback" not in told
    assert not (tmp_path / "map.html").exists()

    assert command("train", tmp_path / "classify.json", *advice.split(), "--run-dir", tmp_path / "tuned") == 0
    assert "validation macro-F1" in capsys.readouterr().out
