import json

from transformer.training.logging import MetricsFile


def lines(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_repeated_steps_are_written_once_and_half_a_line_is_dropped(tmp_path):
    path = tmp_path / "metrics.jsonl"
    first = MetricsFile(path)
    first.append(1, "train", {"loss": 2.0})
    first.append(2, "train", {"loss": 1.0})
    first.append(2, "validation", {"loss": 1.5})
    with path.open("a") as file:
        file.write('{"step": 3, "spl')  # killed while writing
    again = MetricsFile(path)
    again.append(2, "train", {"loss": 1.0})
    again.append(3, "train", {"loss": 0.5})
    assert [(line["step"], line["split"]) for line in lines(path)] == [(1, "train"), (2, "train"), (2, "validation"), (3, "train")]
