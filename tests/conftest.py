"""What tests share: one Ray and one S3 server for the session, marks, and the larger material beside the project."""

from __future__ import annotations

import functools
import gc
import os
import signal
from pathlib import Path

import hypothesis
import pytest
from places import ROOT, SHARED
from xdist.scheduler import LoadFileScheduling

from ndvr.benchmarks.chaos.s3_server import KEYS, S3Server, running_server

# Threads that wait for each other sleep: beside other work they would burn five times the time of the work.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--fail-on-skip", action="store_true", help="a skipped test is a failure: CI has what they need")


def pytest_configure(config: pytest.Config) -> None:
    hypothesis.settings.register_profile("beside other work", deadline=None)
    hypothesis.settings.load_profile("beside other work")
    # In the background of a script SIGINT is ignored, and every process started here would inherit that.
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    if signal.getsignal(signal.SIGHUP) is signal.SIG_IGN:  # the same below nohup
        signal.signal(signal.SIGHUP, signal.SIG_DFL)


def pytest_collection_finish() -> None:
    """Look for garbage no longer among modules and tests: that took up to a twelfth of a process's time."""
    gc.collect()
    gc.freeze()


MARKS = {"ray_cluster": "ray", "object_store": "s3"}  # fixture -> mark of the tests that use it, directly or not


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    items.sort(key=lambda item: not uses_the_one_ray(item.nodeid.partition("::")[0]))  # they take longest
    for item in items:
        for fixture, mark in MARKS.items():
            if fixture in getattr(item, "fixturenames", ()):
                item.add_marker(mark)


@functools.cache
def uses_the_one_ray(file: str) -> bool:
    return "ray_cluster" in (ROOT / file).read_text()


class OneRay(LoadFileScheduling):
    """Three processes (make test): files that use the one Ray go to the same process, one after the other."""

    def _split_scope(self, nodeid: str) -> str:
        file = nodeid.partition("::")[0]
        return "the one Ray" if uses_the_one_ray(file) else file


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log) -> OneRay:
    return OneRay(config, log)


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo):
    outcome = yield
    report = outcome.get_result()
    if report.skipped and item.config.getoption("--fail-on-skip"):
        report.outcome = "failed"
        report.longrepr = f"skipped, and --fail-on-skip was given: {report.longrepr}"


@pytest.fixture(scope="session")
def shared() -> Path:
    """Real media, annotations and full reference numbers, when they lie beside the project."""
    if not SHARED.is_dir():
        pytest.skip("needs the folder `shared` beside the project")
    return SHARED


@pytest.fixture(scope="session")
def ray_cluster():
    """A real Ray on this machine, started once.

    As the machines of a cluster its workers have keys of object stores, and are not told where these are.
    """
    import ray

    from ndvr.pipeline.cluster import cluster

    with pytest.MonkeyPatch.context() as patch:
        for name, value in KEYS.items():
            patch.setenv(name, value)
        resources = cluster.join()
    yield resources
    ray.shutdown()


@pytest.fixture(scope="session")
def object_store(tmp_path_factory):
    """A real S3 server on this machine with one bucket, called bucket."""
    with running_server(tmp_path_factory.mktemp("s3")) as server:
        server.make_bucket("bucket")
        yield server


@pytest.fixture
def s3(object_store, monkeypatch) -> S3Server:
    """It, as what the environment says."""
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    for name, value in object_store.env.items():
        monkeypatch.setenv(name, value)
    return object_store
