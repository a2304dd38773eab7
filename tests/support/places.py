"""Where tests find what they share."""

from __future__ import annotations

import os
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
SUPPORT = ROOT / "tests" / "support"
GOLDEN_FOLDER = ROOT / "tests" / "golden"
SHARED = ROOT.parent / "shared"  # larger material beside the project, where there is any


def python_path(*folders: Path) -> str:
    """PYTHONPATH for a child process that imports what tests share, and modules of `folders`."""
    known = [str(folder) for folder in (*folders, SUPPORT, GOLDEN_FOLDER)]
    return os.pathsep.join(known + os.environ.get("PYTHONPATH", "").split(os.pathsep))
