"""How many processors a model can use: work, span and time against the length of its texts."""
