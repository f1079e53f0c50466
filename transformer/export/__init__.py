"""A finished run in a form that other programs read: the Hugging Face layout, or StableHLO."""
