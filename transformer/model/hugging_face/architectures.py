"""The architectures that are supported."""

from transformer.model.hugging_face.bert import BERT
from transformer.model.hugging_face.distilbert import DISTILBERT
from transformer.model.hugging_face.layout import Layout
from transformer.model.hugging_face.modernbert import MODERNBERT
from transformer.model.hugging_face.roberta import ROBERTA

LAYOUTS: dict[str, Layout] = {layout.model_type: layout for layout in (BERT, ROBERTA, DISTILBERT, MODERNBERT)}
