"""Which parameters learn, and how fast: layers kept as they are, low-rank sums, layer-wise decay, the head's own rate."""

from typing import Any

import jax
import numpy as np

from transformer.config import schema
from transformer.model.parameter_paths import names_on_path


def learning_rate_shares(config: schema.Config, parameters: Any) -> Any:
    """Each parameter's learning rate as a share of the schedule's: a pytree like `parameters`, 0 for those that stay as they are.

    With d = `optimizer.layer_decay`, layer l of L (counted from 1) has d**(L - l), the embeddings d**L (Howard and Ruder 2018, section 3.2;
    Clark et al. 2020, section 3.1), and what stands on the encoder `optimizer.head_rate`.
    """
    return jax.tree_util.tree_map_with_path(lambda path, leaf: _share(names_on_path(path), np.ndim(leaf), config), parameters)


def is_frozen(share: Any) -> bool:
    """Whether a parameter with this share stays as it is."""
    return not np.any(share)


def _share(path: list[str], dimensions: int, config: schema.Config) -> float | np.ndarray:
    if path[0] != "encoder":
        return config.optimizer.head_rate
    model, decay = config.model, config.optimizer.layer_decay
    if model.adapters is not None:
        return 1.0 if "low_rank" in path else 0.0
    frozen_layers = model.frozen_layers if isinstance(model, schema.Transformer) else None
    if path[1] == "layers" and not path[2].isdecimal():
        # Scanned layers: the first axis counts them.
        layer = np.arange(1, model.layers + 1).reshape(-1, *[1] * (dimensions - 1))
        return np.where(layer > (frozen_layers or 0), decay ** (model.layers - layer), 0.0).astype(np.float32)
    if path[1] == "layers":
        layer_number = int(path[2]) + 1
    elif path[1].startswith("embedding"):
        layer_number = 0
    else:
        layer_number = model.layers
    frozen = frozen_layers is not None and layer_number <= frozen_layers and (layer_number < model.layers or path[1] == "layers")
    return 0.0 if frozen else float(decay ** (model.layers - layer_number))
