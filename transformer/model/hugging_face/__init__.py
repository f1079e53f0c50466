"""BERT, RoBERTa, DistilBERT and ModernBERT as the transformers library has them: configs and weights, read and written, as plain data."""

from transformer.model.hugging_face.layout import Kind
from transformer.model.hugging_face.reading import read_architecture, read_parameters
from transformer.model.hugging_face.writing import write_model

__all__ = ["Kind", "read_architecture", "read_parameters", "write_model"]
