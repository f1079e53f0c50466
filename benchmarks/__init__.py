"""This project and its peers on the same work, in one run: `make bench`, or `python -m benchmarks --help`.

`__main__` is the command. It measures the tables of `tables`: it starts one worker process (`worker`) for each competitor and asks the
workers in turn for timed rounds (`rounds`). The competitors are built by `ours`, `flax_peers`, `torch_peers` and `hugging_face_peers`,
which share only what they have to do (`work`) and, for real text, the tokens (`texts`). `first_step` times the way from the command to the
first training step. `report` writes what was measured.

Two commands of their own: `python -m benchmarks.search` measures how fast the search is and how good (`search_quality`),
`python -m benchmarks.overlap` whether the device waits for the host.
"""
