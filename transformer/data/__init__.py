"""From sources of texts to batches of few static shapes."""
