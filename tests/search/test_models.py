"""What a search is asked with, and the temperature of its cosines."""

from types import SimpleNamespace

import pytest

from transformer.config import schema
from transformer.config.errors import UsageError
from transformer.search import models


@pytest.mark.parametrize(("objective", "temperature"), [(schema.Contrastive(temperature=0.2), 0.2), (schema.Classification(), 0.05)])
def test_a_config_that_names_a_run_is_searched_with_as_the_run(tmp_path, monkeypatch, embedder, objective, temperature):
    run = tmp_path / "run"
    run.mkdir()
    monkeypatch.setattr(models, "load_run", {run: SimpleNamespace(config=SimpleNamespace(objective=objective))}.__getitem__)
    monkeypatch.setattr(models, "embed_run", lambda run: embedder)
    monkeypatch.setattr(models, "locate_weights", lambda weights, report: run)
    data = "data: {source: {kind: files, train: [{path: none.csv}]}}\n"
    (tmp_path / "config.yaml").write_text(f"name: next\n{data}model: {{initialize_from: {{kind: run, path: {run}}}}}\n")
    for name in (run, tmp_path / "config.yaml"):
        assert models.open_model(str(name), print) == (embedder, temperature)


def test_a_config_that_starts_from_nothing_is_told_what_to_do(tmp_path):
    (tmp_path / "config.yaml").write_text("name: next\ndata: {source: {kind: files, train: [{path: none.csv}]}}\n")
    with pytest.raises(UsageError, match=r"no model\.initialize_from; train it with python train\.py .*config\.yaml"):
        models.open_model(str(tmp_path / "config.yaml"), print)
