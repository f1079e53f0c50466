"""What an export says of the models of each kind of objective, and what they compute."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
from flax import nnx
from jax import Array

from transformer.config import schema
from transformer.model.hugging_face import Kind
from transformer.training.objective import DeviceBatch, Parameters
from transformer.training.prediction import make_predict_step

Step = Callable[[Parameters, DeviceBatch], Array]


@dataclass(frozen=True)
class Task:
    """What is the same for all models that were trained with one kind of objective."""

    description: str
    """What such a model is."""
    hub_task: str
    """What the hub calls its task."""
    automatic_class: str
    """The class of the transformers library that reads it."""
    layout: Kind
    """What stands on the encoder in the Hugging Face layout."""
    result: str
    """Python that uses `model` on `inputs`."""
    step: Callable[[nnx.GraphDef[nnx.Module]], Step]
    """What an exported program of such a model computes, by the model's structure."""
    example: str = "a text"
    """A text to try; {mask} stands for the mask token."""
    labels: bool = False
    """Whether it gives a text one of the run's labels."""
    pairs: bool = False
    """Whether it reads the two texts of a pair together; otherwise it reads each alone, even if it was trained on pairs."""
    gaps: bool = False
    """Whether it is told of which columns of a text to give results."""


def task_of(objective: schema.Objective) -> Task:
    """The task of an objective's models."""
    match objective:
        case schema.Classification():
            return Task(
                description="A text classifier",
                hub_task="text-classification",
                automatic_class="AutoModelForSequenceClassification",
                layout="classification",
                result="probabilities = model(**inputs).logits.softmax(-1)  # columns as in model.config.id2label",
                step=make_predict_step,
                labels=True,
                pairs=True,
            )
        case schema.MaskedLanguageModel():
            return Task(
                description="A masked language model",
                hub_task="fill-mask",
                automatic_class="AutoModelForMaskedLM",
                layout="masked_language_model",
                result="logits = model(**inputs).logits",
                step=_token_probabilities,
                example="a text with a {mask}",
                gaps=True,
            )
        case schema.Contrastive():
            return Task(
                description="An encoder that makes a text a vector, to search with",
                hub_task="feature-extraction",
                automatic_class="AutoModel",
                layout="encoder",
                result="""\
states, mask = model(**inputs).last_hidden_state, inputs["attention_mask"][:, :, None]
vectors = (states * mask).sum(1) / mask.sum(1)
vectors = vectors / vectors.norm(dim=1, keepdim=True)""",
                step=_vectors,
            )


def reads_pairs(config: schema.Config) -> bool:
    """Whether an exported model reads pairs of texts."""
    return len(config.data.text) == 2 and task_of(config.objective).pairs


def _token_probabilities(graph: nnx.GraphDef[nnx.Module]) -> Step:
    def step(parameters: Parameters, batch: DeviceBatch) -> Array:
        model: Any = nnx.merge(graph, parameters)
        return jax.nn.softmax(model(**batch), axis=-1)

    return step


def _vectors(graph: nnx.GraphDef[nnx.Module]) -> Step:
    def step(parameters: Parameters, batch: DeviceBatch) -> Array:
        model: Any = nnx.merge(graph, parameters)
        vectors: Array = model(**batch)
        return vectors

    return step
