# `make train` and `make test` work alone on a machine that has git, make and Python 3.11 to 3.13; each sets .venv up first.
# PYTHON=/path/to/python chooses the Python; EXTRAS=cuda (or tpu, wandb, parity) installs that extra as well.

export PYTHON EXTRAS

.PHONY: train test compare lint docs bench parity peers environment lock clean

train: environment
	.venv/bin/python train.py configs/quickstart.yaml

compare: environment
	.venv/bin/python scripts/compare.py configs/compare/reuters_r8.yaml

test: environment
	.venv/bin/python -m pytest --numprocesses 2 --dist loadfile

lint: environment
	.venv/bin/python -m ruff check
	.venv/bin/python -m ruff format --check
	.venv/bin/python -m mypy
	.venv/bin/lint-imports

docs: environment
	.venv/bin/python scripts/generate_reference.py

# The peers (PyTorch, Hugging Face) get an environment of their own, under Python 3.11 where there is one: it has an older JAX, so that this
# project is measured on two. PEER_PYTHON=/path/to/python chooses another; ARGUMENTS=--help tells what can be measured.
PEER_PYTHON ?= $(shell python3.11 -c '' 2>/dev/null && echo python3.11)
bench: environment peers
	.venv/bin/python -m benchmarks $(ARGUMENTS)

# Reads what the other library writes, and has it read what we write. Tests have no network, so the published weights are fetched before.
parity: peers
	@.venv-parity/bin/python -c "from transformer.config.load import load_config; \
		from transformer.data.pretrained import locate_weights; \
		locate_weights(load_config('configs/fine_tune/minilm_newsgroups.yaml').model.initialize_from, print)"
	.venv-parity/bin/python -m pytest tests/parity

peers:
	@PYTHON=$(PEER_PYTHON) EXTRAS=parity sh scripts/set_up.sh .venv-parity

environment:
	@sh scripts/set_up.sh

# Needs uv. Keeps the pinned versions that still fit; `rm requirements.lock` first to take newer ones.
LOCK = UV_CUSTOM_COMPILE_COMMAND="make lock" uv pip compile --quiet --universal --generate-hashes --python-version 3.11 \
	--no-emit-index-url --no-emit-find-links
lock:
	$(LOCK) --extra dev pyproject.toml --output-file requirements.lock
	grep '^[a-z]' requirements.lock | grep -v platform | tr -d '\\' > requirements.pins
	echo "jax[cuda13]; sys_platform == 'linux' and python_full_version < '3.14'" | \
		$(LOCK) - --constraints requirements.pins --output-file requirements-cuda.lock
	echo "jax[tpu]; sys_platform == 'linux' and python_full_version < '3.14'" | \
		$(LOCK) - --constraints requirements.pins --output-file requirements-tpu.lock
	rm requirements.pins

clean:
	rm -rf .venv .venv-parity .cache .hypothesis .mypy_cache .pytest_cache .ruff_cache .import_linter_cache
