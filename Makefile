PYTHON ?= python3

.PHONY: setup demo test check

setup:
	@$(PYTHON) tools/bootstrap.py

demo: setup
	@.venv/bin/lineshaft run examples/reviews.py --report reviews.html
	@.venv/bin/python examples/ask.py

test: setup
	@.venv/bin/python -m pytest -n 2

check: setup
	@.venv/bin/ruff check .
	@.venv/bin/mypy
	@.venv/bin/lint-imports --no-cache
