"""Codes behind the reference numbers of class retrieval, and split lists that say what class each video has."""

from __future__ import annotations

import numpy as np
from benchmark_shapes import write_grid
from places import GOLDEN_FOLDER

GOLDEN = GOLDEN_FOLDER


def small(name: str) -> dict[str, np.ndarray]:
    """Codes, labels and numbers of b16, b48, b64 or notie."""
    with np.load(GOLDEN / "class_retrieval.npz") as arrays:
        return {key.removeprefix(f"{name}_"): arrays[key] for key in arrays if key.startswith(f"{name}_")}


def hash_codes() -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """(training codes, labels, test codes, labels) of UCF101's size, 48 bits, a fifth of a class's bits flipped."""
    state = np.random.RandomState(20240511)
    centre = np.sign(state.random_sample((101, 48)) - 0.5)
    train_label, test_label = state.randint(0, 101, 9537), state.randint(0, 101, 3783)

    def flipped(label):
        return (centre[label] * np.where(state.random_sample((len(label), 48)) < 0.2, -1, 1)).astype(np.int8)

    return flipped(train_label), train_label, flipped(test_label), test_label


def write_case(folder, *, db_codes, db_labels, query_codes, query_labels):
    """(scores, annotations): 1 - Hamming / bits in Parquet, and lists "path class" in C3DHash's form."""
    queries = [f"q/{i:05d}.avi" for i in range(len(query_codes))]
    database = [f"d/{i:05d}.avi" for i in range(len(db_codes))]
    different = np.zeros((len(queries), len(database)), np.uint8)
    for bit in range(db_codes.shape[1]):
        different += query_codes[:, None, bit] != db_codes[None, :, bit]
    write_grid(folder / "scores", queries, database, 1 - different / db_codes.shape[1], queries_per_part=500)
    lists = folder / "lists"
    lists.mkdir()
    for file, videos, labels in (("train1.txt", database, db_labels), ("test1.txt", queries, query_labels)):
        (lists / file).write_text("".join(f"{video} {label}\n" for video, label in zip(videos, labels)))
    return folder / "scores", lists
