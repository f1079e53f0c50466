"""A config and rows that train within seconds."""

CONFIG = """\
name: tiny
data:
  source:
    kind: files
    train:
      - path: train.csv
    test:
      - path: test.csv
  text: [text]
  label: label
  validation_fraction: 0.2
  maximum_length: 16
tokenizer:
  kind: wordpiece
  vocabulary_size: 64
batching:
  tokens: 128
model:
  kind: transformer
  width: 16
  heads: 2
  layers: 1
  feed_forward: 16
training:
  epochs: 1
"""
ROWS = "text,label\n" + "the cat purrs,cat\na dog barks,dog\n" * 10
