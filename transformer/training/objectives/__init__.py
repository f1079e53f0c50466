"""What is learned. A further objective is a further file here, and a case below."""

from transformer.config import schema
from transformer.data.dataset import Dataset
from transformer.training.objective import Objective
from transformer.training.objectives.classification import ClassificationObjective
from transformer.training.objectives.contrastive import ContrastiveObjective
from transformer.training.objectives.masked_language_model import MaskedLanguageModelObjective


def build_objective(settings: schema.Objective, dataset: Dataset) -> Objective:
    """The objective that the config asks for."""
    match settings:
        case schema.Classification():
            return ClassificationObjective(settings, dataset.special)
        case schema.MaskedLanguageModel():
            return MaskedLanguageModelObjective(settings, dataset)
        case schema.Contrastive():
            return ContrastiveObjective(settings)
