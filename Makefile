# make demo   sets up what it needs and runs the main job on videos it makes itself
# make test   sets up what it needs and passes the tests, in three processes: for a third of their time they wait
# make quick  the tests that need neither Ray nor a server nor many seconds, in under a minute
# An environment of your own:  pip install -e '.[test]'  then  ndvr demo  and  python -m pytest
PYTHON ?= python3
VENV ?= .venv
TEST_OPTIONS ?=
IN_PARALLEL = --numprocesses 3 --no-loadscope-reorder
# The versions of the tests, on the Pythons that have them; make CONSTRAINTS=/dev/null takes the newest that setup.cfg allows.
CONSTRAINTS ?= $(shell $(PYTHON) -c 'import sys; print("constraints.txt" if sys.version_info >= (3, 11) else "/dev/null")')
PIP_INSTALL = $(VENV)/bin/pip install --quiet --disable-pip-version-check --constraint $(CONSTRAINTS)

# One folder called ndvr, made of links, for what does not follow an editable install: editors, mypy, pyright.
PARTS = models operators pipeline benchmarks $(wildcard pipeline/face/*.py) pipeline/face/py.typed
WRITE_PTH = import pathlib, sysconfig; \
	pathlib.Path(sysconfig.get_path("purelib"), "ndvr.pth").write_text("$(CURDIR)/build/types\n")

.PHONY: demo test quick lint clean

demo: $(VENV)/.installed
	$(VENV)/bin/ndvr demo

test: $(VENV)/.installed-test
	$(VENV)/bin/python -m pytest $(IN_PARALLEL) $(TEST_OPTIONS)

quick: $(VENV)/.installed-test
	$(VENV)/bin/python -m pytest --numprocesses 2 -m "not ray and not s3 and not nodes and not slow" $(TEST_OPTIONS)

lint: $(VENV)/.installed-test
	$(VENV)/bin/ruff check . && $(VENV)/bin/ruff format --check .
	$(VENV)/bin/mypy

$(VENV)/.installed: setup.cfg pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; assert sys.version_info >= (3, 10), "Python 3.10 or newer is needed: make PYTHON=python3.11"'
	@echo "Installing into $(VENV): PyTorch, Ray and the rest, about 7 GB on disk, one to five minutes ..."
	test -x $(VENV)/bin/python || $(PYTHON) -m venv $(VENV)
	$(PIP_INSTALL) --editable .
	mkdir -p build/types/ndvr && ln -sfn $(addprefix ../../../,$(PARTS)) build/types/ndvr/
	$(VENV)/bin/python -c '$(WRITE_PTH)'
	touch $@

$(VENV)/.installed-test: $(VENV)/.installed
	$(PIP_INSTALL) --editable '.[test]'
	touch $@

clean:
	rm -rf $(VENV) build *.egg-info
