"""`python -m ndvr` is the command `ndvr`."""

from ndvr.pipeline.cli import main

if __name__ == "__main__":
    main(prog_name="ndvr")
