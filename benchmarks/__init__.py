"""This project and its peers on the same work, in one run: `make bench`, or `python -m benchmarks --help`.

`__main__` is the command. It measures the tables of `tables`: it starts one worker process (`worker`) for each competitor and asks the
workers in turn for timed rounds (`rounds`). The competitors are built by `ours`, `flax_peers` and `torch_peers`, which share only the
batch (`batch`) and, for real text, the tokens (`texts`). `start` times the way from the command to the first training step. `report`
writes what was measured.
"""
