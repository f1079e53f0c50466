"""What is learned. A further objective is a further file here, and a case below."""

from transformer.config import schema
from transformer.config.errors import UsageError
from transformer.data.dataset import Dataset
from transformer.training.objective import Objective
from transformer.training.objectives.classification import ClassificationObjective
from transformer.training.objectives.contrastive import ContrastiveObjective, tokens_between
from transformer.training.objectives.masked_language_model import MaskedLanguageModelObjective


def build_objective(settings: schema.Objective, dataset: Dataset) -> Objective:
    """The objective that the config asks for. Raises UsageError where it does not fit the data or the tokenizer."""
    match settings:
        case schema.Classification():
            return ClassificationObjective(settings, dataset.special)
        case schema.MaskedLanguageModel():
            return MaskedLanguageModelObjective(settings, dataset)
        case schema.Contrastive():
            between = tokens_between(dataset.tokenizer, dataset.special)
            if dataset.train.pair_starts is not None and between is None:
                raise UsageError(
                    "objective.kind=contrastive on pairs needs a tokenizer that begins every text with its first token, and writes a pair "
                    "as the one text and then the other; train one, with tokenizer.kind=wordpiece"
                )
            return ContrastiveObjective(settings, between or 0)
