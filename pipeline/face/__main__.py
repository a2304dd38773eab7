"""`python -m ndvr` is the command `ndvr`."""

from ndvr.pipeline.cli import run

if __name__ == "__main__":
    run()
