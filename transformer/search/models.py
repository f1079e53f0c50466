"""Where an embedder comes from: a finished run, or weights in the Hugging Face layout."""

from collections.abc import Callable
from pathlib import Path

import jax
import jax.numpy as jnp
from flax import nnx

from transformer.config import schema
from transformer.config.errors import UsageError
from transformer.config.load import load_config
from transformer.data.pretrained import CONFIG, SEARCH_TEMPERATURE, locate_weights, read_config, read_safetensors, tell_of_own_code
from transformer.data.tokenization import read_tokenizer
from transformer.model.build import build_sentence_embedder
from transformer.model.hugging_face import read_architecture, read_parameters
from transformer.search.embedding import Embedder, EncoderEmbedder
from transformer.training.devices import data_mesh, replicate, with_divisible_rows
from transformer.training.run import Run, load_run

LONGEST = 512
"""Most tokens of a text that weights without a config of this project are given."""


def open_model(name: str, tell: Callable[[str], None]) -> tuple[Embedder, float]:
    """The embedder of a model, and the temperature of its cosines: that of its contrastive training, which exported weights tell too, or
    such a training's default.

    Args:
        name: a run directory; a directory in the Hugging Face layout; a config file, for the weights of its `model.initialize_from`; or,
            where nothing of that name lies here, a model on the hub.

    Raises:
        UsageError: there is no such model, or it cannot be read.
    """
    path = Path(name).expanduser()
    if path.is_file():
        config = load_config(path)
        weights = config.model.start_weights
        if weights is None:
            raise UsageError(
                f"{path} names no weights: it has no model.initialize_from; train it with python train.py {path}, and name the run"
            )
        if isinstance(weights, schema.RunWeights):
            return _open_run(locate_weights(weights, tell))
        return _open_weights(weights, config.data.maximum_length, config.batching, tell)
    if (path / "config.json").is_file():
        return _open_weights(schema.DirectoryWeights(path=str(path)), LONGEST, schema.Batching(), tell)
    if path.exists() or not _may_be_on_the_hub(name):
        return _open_run(path)
    return _open_weights(schema.HubWeights(name=name), LONGEST, schema.Batching(), tell)


def _open_run(directory: Path) -> tuple[Embedder, float]:
    run = load_run(directory)
    objective = run.config.objective if isinstance(run.config.objective, schema.Contrastive) else schema.Contrastive()
    return embed_run(run), objective.temperature


def embed_run(run: Run) -> Embedder:
    """The embedder of a finished run's encoder, whatever it was trained for. Raises UsageError for an ensemble."""
    run.require_one_model("a search needs")
    return EncoderEmbedder(
        run.graph,
        run.parameters,
        run.tokenizer,
        settings=run.config.model.model_dump(mode="json"),
        batching=run.config.batching,
        maximum_length=run.config.data.maximum_length,
        mesh=run.mesh,
    )


def _open_weights(
    source: schema.DirectoryWeights | schema.HubWeights | schema.PackageWeights,
    maximum_length: int,
    batching: schema.Batching,
    tell: Callable[[str], None],
) -> tuple[Embedder, float]:
    """The embedder of weights in the Hugging Face layout, and their temperature.

    Texts are cut to `maximum_length` tokens, or to as many as the weights have positions for.
    """
    directory = locate_weights(source, tell)
    config = read_config(directory)
    temperature = config.get(SEARCH_TEMPERATURE, schema.Contrastive().temperature)
    if not isinstance(temperature, float | int) or not temperature > 0:
        raise UsageError(f"{directory / CONFIG}: {SEARCH_TEMPERATURE} should be a number above 0, not {temperature!r}; correct it")
    settings = schema.Transformer.model_validate(read_architecture(config))
    tell_of_own_code(directory, config, tell)
    tokenizer = read_tokenizer(directory / "tokenizer.json")
    length = min(maximum_length, settings.maximum_positions or maximum_length)

    def model() -> nnx.Module:
        size = tokenizer.get_vocab_size()
        return build_sentence_embedder(settings, key=jax.random.key(0), vocabulary_size=size, maximum_length=length, pairs=False)

    graph, parameters = nnx.split(nnx.eval_shape(model))
    found = jax.tree.map(jnp.asarray, read_parameters(config, read_safetensors(directory), nnx.to_pure_dict(parameters)))
    nnx.replace_by_pure_dict(parameters, found)
    batching = with_divisible_rows(batching)
    mesh = data_mesh(batching.row_multiple)
    embedder = EncoderEmbedder(
        graph,
        replicate(parameters, mesh),
        tokenizer,
        settings=settings.model_dump(mode="json"),
        batching=batching,
        maximum_length=length,
        mesh=mesh,
    )
    return embedder, float(temperature)


def _may_be_on_the_hub(name: str) -> bool:
    # Hub names are `organization/name`. A run directory that was misspelled is more likely the longer the path.
    return name.count("/") == 1 and not name.startswith(("runs/", ".", "/", "~"))
