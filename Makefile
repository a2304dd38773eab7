# make demo   sets up what it needs and runs the main job on videos it makes itself
# make test   sets up what it needs and passes the tests
# An environment of your own:  pip install -e '.[test]'  then  ndvr demo  and  python -m pytest
PYTHON ?= python3
VENV ?= .venv
TEST_OPTIONS ?=

.PHONY: demo test lint clean

demo: $(VENV)/.installed
	$(VENV)/bin/ndvr demo

test: $(VENV)/.installed-test
	$(VENV)/bin/python -m pytest $(TEST_OPTIONS)

lint: $(VENV)/.installed-test
	$(VENV)/bin/ruff check . && $(VENV)/bin/ruff format --check .
	mkdir -p build/types/ndvr && ln -sfn $(addprefix ../../../,models operators pipeline benchmarks) build/types/ndvr/
	$(VENV)/bin/mypy

$(VENV)/.installed: setup.cfg pyproject.toml
	@$(PYTHON) -c 'import sys; assert sys.version_info >= (3, 10), "Python 3.10 or newer is needed: make PYTHON=python3.11"'
	@echo "Installing into $(VENV): PyTorch, Ray and the rest, about 7 GB on disk, one to five minutes ..."
	test -x $(VENV)/bin/python || $(PYTHON) -m venv $(VENV)
	$(VENV)/bin/pip install --quiet --disable-pip-version-check --editable .
	touch $@

$(VENV)/.installed-test: $(VENV)/.installed
	$(VENV)/bin/pip install --quiet --disable-pip-version-check --editable '.[test]'
	touch $@

clean:
	rm -rf $(VENV) build *.egg-info
