"""Why a video has no features: the classes of failure, and the one exception that carries them."""

from typing import Literal, get_args

ErrorClass = Literal["io", "corrupt", "timeout", "crash", "oom", "empty", "unsupported", "conflict"]
ERROR_CLASSES: tuple[str, ...] = get_args(ErrorClass)


class DecodeError(Exception):
    """One video cannot be decoded; becomes its row in the ledger and never stops a run.

    io           the file cannot be read: missing, no permission, a directory, a device, a lost connection
    corrupt      it is read, but no decoder gets a picture out of it
    timeout      a decoder made no progress within the deadline and was killed
    crash        the decoder's process died
    oom          the decoder's process hit its memory limit
    empty        a valid container whose stream has no frames
    unsupported  no decoder for this codec or pixel format, or encrypted
    conflict     its id stands for another video, which lies elsewhere: that one stays
    """

    def __init__(self, kind: ErrorClass, message: str, died: bool = False):
        # Names that are no UTF-8 fit into no table.
        message = message.encode("utf-8", "backslashreplace").decode()
        super().__init__(kind, message, died)
        self.kind, self.message = kind, message
        self.died = died  # with it died the process that was decoding, and whatever else that was at

    def __str__(self) -> str:
        return f"{self.kind}: {self.message}"


class RunStopped(RuntimeError):
    """A stage broke down (disk full, worker lost for good): not a bad video and not a bad setting.

    passing  the same command may work in a moment: a store did not answer
    """

    def __init__(self, message: str, passing: bool = False):
        super().__init__(message)
        self.passing = passing


class NoPicture(Exception):
    """The file has no video stream: sound only. For a picture method it is skipped, not failed."""


class NoSound(Exception):
    """The file has no sound stream. For a method that listens it is skipped, not failed."""
