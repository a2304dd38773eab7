"""Processes that descend from this one, wherever Ray has put them in the tree."""

import os
from pathlib import Path


def ours(title: str) -> list[int]:
    """Processes of this title that descend from this one."""
    parents, titles = {}, {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                parents[int(entry.name)] = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
                titles[int(entry.name)] = (entry / "cmdline").read_text()
            except (OSError, ValueError):
                continue

    def descends(process: int) -> bool:
        while process in parents:
            process = parents[process]
            if process == os.getpid():
                return True
        return False

    return [process for process, text in titles.items() if text.startswith(title) and descends(process)]
