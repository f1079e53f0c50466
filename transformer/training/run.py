"""A trained run, read back."""

import dataclasses
import json
from pathlib import Path

import jax
import numpy as np
from flax import nnx
from jax.sharding import Mesh
from jaxtyping import Int
from tokenizers import Tokenizer

from transformer.config import schema
from transformer.config.errors import UsageError
from transformer.config.load import load_config
from transformer.data.batching import batch_shapes
from transformer.data.tokenization import SpecialTokens, special_tokens
from transformer.training.checkpoints import load_parameters
from transformer.training.devices import data_mesh, replicate, with_divisible_rows
from transformer.training.models import abstract_model
from transformer.training.objective import Parameters
from transformer.training.prediction import Predictor, make_predict_step
from transformer.training.run_directory import read_stored, with_own_tokenizer


@dataclasses.dataclass(frozen=True)
class Run:
    """A trained run, ready to use."""

    directory: Path
    config: schema.Config
    tokenizer: Tokenizer
    special: SpecialTokens
    labels: list[str]
    parameters: Parameters
    """Those of the best checkpoint."""
    graph: nnx.GraphDef[nnx.Module]
    mesh: Mesh

    def require_one_model(self, purpose: str) -> None:
        """Raise UsageError if the run trained an ensemble, whose members `purpose` cannot tell apart."""
        if isinstance(self.config.objective, schema.Classification) and self.config.objective.members > 1:
            raise UsageError(
                f"the run in {self.directory} trained {self.config.objective.members} models whose probabilities are averaged, and "
                f"{purpose} one; train it with objective.members=1"
            )

    def predictor(self, lengths: Int[np.ndarray, " examples"]) -> Predictor:
        """What gives texts of such lengths in tokens their class probabilities, in few shapes; call it with `parameters` and a split.

        Raises:
            UsageError: the run has learned no labels.
        """
        if not isinstance(self.config.objective, schema.Classification):
            start = f" model.initialize_from.kind=run model.initialize_from.path={self.directory}"
            raise UsageError(
                f"the run in {self.directory} has learned no labels: its objective is {self.config.objective.kind}; train a classifier"
                f"{' from it' if self.config.model.kind == 'transformer' else ''}, with a CONFIG whose texts have labels: python train.py "
                f"CONFIG objective.kind=classification{start if self.config.model.kind == 'transformer' else ''}"
            )
        shapes = batch_shapes(lengths, self.config.batching, self.config.data.maximum_length)
        return Predictor(make_predict_step(self.graph), self.special, shapes, self.mesh)


def load_run(directory: Path | str) -> Run:
    """Read a finished run back, with the parameters of its best checkpoint.

    Raises:
        UsageError: the directory is no run, its training has not ended, or it is damaged.
    """
    directory = Path(directory)
    if not (directory / "config.yaml").exists():
        raise UsageError(f"{directory} is not a run directory: it has no config.yaml; runs lie in runs/NAME once train.py has made them")
    if not (directory / "summary.json").exists():
        raise UsageError(f"the run in {directory} has not ended: it has no summary.json; run its train.py command again to finish it")
    config = with_own_tokenizer(directory, load_config(directory / "config.yaml"))
    tokenizer = read_stored(directory / "tokenizer.json", Tokenizer.from_str)
    labels: list[str] = read_stored(directory / "labels.json")
    best_step = read_stored(directory / "summary.json", lambda text: json.loads(text)["best_step"])
    config = config.model_copy(update={"batching": with_divisible_rows(config.batching)})
    mesh = data_mesh(config.batching.row_multiple, stepped=config.model.stepped)
    graph, abstract = abstract_model(config, tokenizer, labels)
    sharding = jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec())
    like = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=sharding), abstract)
    parameters = replicate(load_parameters(directory / "checkpoints", best_step, like), mesh)
    return Run(directory, config, tokenizer, special_tokens(tokenizer), labels, parameters, graph, mesh)
