"""Recurrent encoders."""

from flax import nnx

from transformer.config import schema


class RecurrentEncoder(nnx.Module):
    """Takes this place until helper model-recurrent writes it."""

    output_width: int

    def __init__(self, config: schema.Recurrent, *, vocabulary_size: int, maximum_length: int, pairs: bool, rngs: nnx.Rngs) -> None:
        raise NotImplementedError
