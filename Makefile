PYTHON ?= .venv/bin/python

.PHONY: test lint format wheel pages site

test:
	$(PYTHON) -m pytest -q -n 2 -m "not slow"

lint:
	$(PYTHON) -m ruff check .
	$(PYTHON) -m ruff format --check .
	$(dir $(PYTHON))lint-imports

format:
	$(PYTHON) -m ruff check --fix .
	$(PYTHON) -m ruff format .

wheel:
	$(PYTHON) -m build --wheel

pages: # those that are written from the code
	$(PYTHON) docs/reference/write_command_line_page.py
	$(PYTHON) docs/reference/write_table_of_cuts.py
	$(PYTHON) docs/explanation/house.py --write
	$(PYTHON) docs/explanation/diagrams.py

site: # needs pip install -e ".[docs]"
	$(PYTHON) docs/build_site.py
