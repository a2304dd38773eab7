"""Public benchmarks: one file is one dataset, from its official annotations to a protocol or to numbers."""
