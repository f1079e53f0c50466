"""One step and one loop for every model; what is learned; checkpoints and runs."""
