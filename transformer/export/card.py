"""The model card of an export: what the run knows of data, training, figures and limits, and what nobody knows."""

import json
import shlex
from pathlib import PurePosixPath
from typing import Any

import jax
import yaml
from flax import nnx

from transformer.config import schema
from transformer.export.markdown import block, bullets, code
from transformer.export.tasks import reads_pairs, task_of
from transformer.model.parameter_paths import flat
from transformer.training.run import Run
from transformer.training.run_directory import read_stored

LISTED = 50
"""Most label names that a card lists."""
UNTESTED = "not on other kinds of text, not for what it does to groups of people, not against texts that are made to mislead it"
UNKNOWN = "the licences of the training data and of the weights at the start, if there were any; look them up before you pass this on"
PROGRAM = """\
`program.bin` is read by `jax.export.deserialize`. Its arguments are the parameters (`parameters.npz`) and a batch: a dictionary of int32
arrays [batch, length] `tokens`, `segments` (1, and 0 for padding) and `positions` (from 0); `predict.py` shows how. It is made for CPU,
CUDA and TPU; such programs were tested on CPU only."""
COMPATIBILITY = """\
It was made by JAX {version}, and older versions may not read it. JAX promises that its versions of the following six months do; later
ones may refuse: then export the run again. On GPUs and TPUs JAX may round the inputs of float32 products, so that outputs are not quite
those on a CPU; `jax.default_matmul_precision` changes that."""


def hugging_face_card(run: Run, config: dict[str, Any], name: str) -> str:
    """The card of a run in the Hugging Face layout, in Markdown, with the front matter that the hub reads.

    Args:
        config: the exported config.json.
        name: of the exported directory.
    """
    task = task_of(run.config.objective)
    texts = '["a first text"], ["a second text"]' if reads_pairs(run.config) else '["a text", "another"]'
    use = f"""\
from transformers import {task.automatic_class}, AutoTokenizer

name = {json.dumps(name)}
tokenizer, model = AutoTokenizer.from_pretrained(name), {task.automatic_class}.from_pretrained(name)
inputs = tokenizer({texts}, padding=True, truncation=True, return_tensors="pt")
{task.result}"""
    notes = [f"The architecture is `{config['model_type']}` of the transformers library; the weights are float32."]
    if run.config.model.adapters is not None:
        notes.append("It was trained by LoRA, and the low-rank sums are merged into the weights.")
    if run.config.model.precision != "float32":
        notes.append(
            f"It was trained, and its figures were measured, with {run.config.model.precision} inputs of matrix products. In float32 its "
            "outputs are not quite the same."
        )
    merged = [leaf for path, leaf in flat(nnx.to_pure_dict(run.parameters)).items() if "low_rank" not in path.split(".")]
    return _card(run, library="transformers", parameters=sum(leaf.size for leaf in merged), use=block(use), notes=notes)


def stablehlo_card(run: Run, name: str) -> str:
    """The card of a run as a StableHLO program.

    Args:
        name: of the exported directory.
    """
    example = task_of(run.config.objective).example.format(mask=run.tokenizer.id_to_token(run.special.mask))
    text = """'["a first text", "a second text"]'""" if reads_pairs(run.config) else f'"{example}"'
    use = f"pip install jax flatbuffers numpy tokenizers\npython {shlex.quote(name)}/predict.py {text}"
    notes = [PROGRAM, COMPATIBILITY.format(version=jax.__version__)]
    parameters = sum(leaf.size for leaf in jax.tree.leaves(run.parameters))
    return _card(run, library="jax", parameters=parameters, use=block(use), notes=notes)


def _card(run: Run, *, library: str, parameters: int, use: str, notes: list[str]) -> str:
    config = run.config
    summary: dict[str, Any] = read_stored(run.directory / "summary.json")
    environment: dict[str, Any] = read_stored(run.directory / "environment.json")
    kind = f"a {config.model.kind} encoder" if config.model.kind == "transformer" else f"an encoder of kind {config.model.kind}"
    members = config.objective.members if isinstance(config.objective, schema.Classification) else 1
    made = kind if members == 1 else f"the mean of the probabilities of {members} models, each {kind}"
    parts = [
        f"# {code(config.name)}",
        f"{task_of(config.objective).description}: {made}, layers: {config.model.layers}, parameters: {parameters:,}.",
        "## Use",
        use,
        *notes,
        "## Data",
        bullets(_data(config, summary)),
        "## Training",
        bullets(_training(config, summary)),
        "## Figures",
        *_figures(summary),
        "The command that trained it:",
        block(f"python {shlex.join(environment['command'])}"),
        f"Commit {code(str(environment['commit']))}, JAX {environment['packages']['jax']}, Python {environment['python']}.",
        "## Limits",
        bullets(_limits(run, summary)),
    ]
    return f"---\n{_front_matter(config, library)}---\n\n" + "\n\n".join(parts) + "\n"


def _front_matter(config: schema.Config, library: str) -> str:
    values: dict[str, Any] = {
        "library_name": library,
        "pipeline_tag": task_of(config.objective).hub_task,
        # What the hub calls a licence that nobody has stated.
        "license": "unknown",
        "tags": ["encoder", config.model.kind],
    }
    if isinstance(config.data.source, schema.HubSource):
        values["datasets"] = [config.data.source.name]
    if isinstance(config.model.start_weights, schema.HubWeights):
        values["base_model"] = config.model.start_weights.name
    if task_of(config.objective).labels:
        values["metrics"] = ["accuracy", "f1"]
    return yaml.safe_dump(values, allow_unicode=True, sort_keys=False)


def _data(config: schema.Config, summary: dict[str, Any]) -> list[str]:
    lines = [f"Source: {_source(config.data.source)}."]
    lines.append("Examples: " + ", ".join(f"{number:,} {split}" for split, number in summary["examples"].items()) + ".")
    lines.append(
        f"Text: {' and '.join(map(code, config.data.text))}"
        + (f"; label: {code(config.data.label)}." if config.data.label and config.reads_labels else ".")
    )
    lines.append(f"Read in training: {summary['tokens']['real']:,} tokens, each pass counted.")
    if overlap := summary["test_rows_in_train"]:
        lines.append(f"{overlap:,} test texts also stand in the training data.")
    return lines


def _source(source: schema.Source) -> str:
    match source:
        case schema.HubSource():
            parts = [f"{code(source.name)} on the Hugging Face hub"]
            parts += [f"configuration {code(source.configuration)}"] if source.configuration else []
            parts += [f"revision {code(source.revision)}"] if source.revision else []
            return ", ".join(parts)
        case schema.PackageSource():
            return f"{_names(source)} in the published package {code(source.package)} {code(source.version)}"
        case schema.FilesSource():
            return f"the files {_names(source)}"


def _names(files: schema.Files) -> str:
    # Folders of whoever trained it are nobody's affair.
    return ", ".join(code(PurePosixPath(file.path).name) for file in [*files.train, *files.validation, *files.test])


def _training(config: schema.Config, summary: dict[str, Any]) -> list[str]:
    optimizer, schedule = config.optimizer, config.schedule
    best = f"best step by validation {config.training.metric}: {summary['best_step']:,} of"
    lines = [
        f"Objective: {config.objective.kind}; {best if summary['validation'] is not None else 'steps:'} {summary['steps']:,}.",
        f"Optimizer: {optimizer.kind}, learning rate {optimizer.learning_rate:g}, weight decay {optimizer.weight_decay:g}.",
        f"Schedule: {schedule.kind}, {schedule.warmup_steps} steps of warm-up.",
        f"Batches of {config.batching.tokens:,} tokens, texts of up to {config.data.maximum_length:,} tokens, seed {config.seed}.",
    ]
    if config.model.start_weights is not None:
        lines.insert(0, f"Weights at the start: {_weights(config.model.start_weights)}.")
    return lines


def _weights(weights: schema.Weights) -> str:
    match weights:
        case schema.HubWeights():
            return f"{code(weights.name)} on the Hugging Face hub" + (f", revision {code(weights.revision)}" if weights.revision else "")
        case schema.PackageWeights():
            return f"those in the published package {code(weights.package)} {code(weights.version)}"
        case schema.DirectoryWeights():
            return f"a model in the Hugging Face layout, {code(PurePosixPath(weights.path).name)}"
        case schema.RunWeights():
            return f"an earlier run, {code(PurePosixPath(weights.path).name)}"


def _figures(summary: dict[str, Any]) -> list[str]:
    splits = {split: summary[split] for split in ("validation", "test") if summary[split] is not None}
    if not splits:
        return ["None: it had neither validation nor test data."]
    names = list(dict.fromkeys(name for scores in splits.values() for name in scores))
    rows = [["split", *names], ["---"] * (len(names) + 1)]
    rows += [[split, *(f"{scores[name]:.4f}" if name in scores else "" for name in names)] for split, scores in splits.items()]
    once = " Test data were read once." if summary["test"] is not None else ""
    return ["\n".join(f"| {' | '.join(row)} |" for row in rows), f"Measured when it was trained.{once}"]


def _limits(run: Run, summary: dict[str, Any]) -> list[str]:
    limits = []
    if task_of(run.config.objective).labels:
        names = ", ".join(map(code, run.labels[:LISTED])) + (f" and {len(run.labels) - LISTED} more" if len(run.labels) > LISTED else "")
        limits.append(f"It knows {len(run.labels)} labels, and gives one of them to every text, whatever it is about: {names}.")
    if summary["test"] is not None:
        tested = f"It was tested on texts of the same source only: {UNTESTED}."
    elif summary["validation"] is not None:
        tested = (
            f"It was tested on texts of the same source only, and on validation data only, by which the best step was chosen: {UNTESTED}."
        )
    else:
        tested = "It was not tested."
    return [
        *limits,
        f"It reads the first {run.config.data.maximum_length:,} tokens of a text, special tokens included; the rest is cut off.",
        "Its language is that of the training texts, which is not recorded; other languages were not tested.",
        tested,
        f"Not recorded are {UNKNOWN}.",
    ]
