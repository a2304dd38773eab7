"""Tests of a GPU are there where torch can use one: nothing is skipped, and a machine without one says so."""

import torch

collect_ignore = [] if torch.cuda.is_available() else ["test_cuda.py"]


def pytest_report_header() -> str:
    return "GPU: test_cuda.py is collected" if not collect_ignore else "no GPU: test_cuda.py is not collected"
