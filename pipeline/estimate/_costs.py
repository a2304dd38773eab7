"""Predict from headers what work costs: the shape of the cost, whose scale a sample then measures.

Only the proportions between videos matter here (a second of 720p HEVC against one of 240p MPEG-4): `ndvr plan` decodes
a sample and corrects everything by measured / predicted. Constants of Ray and of starting up are taken as they are.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from ndvr.models.card import Clips, Mel, Overview, View
from ndvr.operators.video.headers import Header, windows_of

# CPU seconds of one core of an AMD EPYC virtual machine, least squares over 40 files of `plan_videos`.
OPEN_S = 0.003
FRAME_S = 50e-6
# Of a pixel of a frame, and of a byte (entropy coding), by FFmpeg's name of the decoder; the last five are guesses.
PIXEL_S = {
    "h264": 0.6e-9,
    "hevc": 1.5e-9,
    "vp9": 1.5e-9,
    "mpeg4": 0.8e-9,
    "vp8": 1.5e-9,
    "av1": 2.5e-9,
    "libdav1d": 2.5e-9,
    "mpeg2video": 0.8e-9,
    "mjpeg": 4.0e-9,
}
BYTE_S = {"h264": 100e-9, "hevc": 80e-9, "vp9": 125e-9, "mpeg4": 10e-9, "mpeg2video": 10e-9, "mjpeg": 20e-9}
OTHER_PIXEL_S, OTHER_BYTE_S = 1.5e-9, 80e-9
RESIZED_PIXEL_S = 1.8e-9  # of a source picture that is resized for a window
SOUND_S = 2.5e-3  # of a second of sound, to log-mel

# Ray's start on two cores until the first video is decoded: its processes, an actor a stage, their imports. What the
# models take to load is measured and comes on top.
START_S = 10.0
BLOCK_S = 0.1  # CPU seconds of all Ray processes for a block of videos on its way through the stages
COPY_S_PER_MB = 2e-3  # of windows through the object store
DRIVER_BLOCK_S = 0.04  # of that the driver's, which has one core whatever the size of the cluster


def decode_s(header: Header, views: Mapping[str, View]) -> float:
    """Predict the CPU seconds that decoding and cutting windows takes, up to a factor common to all videos."""
    if header.error_class:
        return OPEN_S
    pictures = [view for view in views.values() if not isinstance(view, Mel)]
    sounds = [view for view in views.values() if isinstance(view, Mel)]
    seconds = OPEN_S
    if pictures and header.codec:
        per_pixel = PIXEL_S.get(header.codec, OTHER_PIXEL_S)
        seconds += header.frames * (FRAME_S + header.pixels * per_pixel)
        seconds += header.bytes * BYTE_S.get(header.codec, OTHER_BYTE_S)
        n_resized = sum(windows_of(header, view) * _pictures_per_window(view) for view in pictures)
        seconds += n_resized * header.pixels * RESIZED_PIXEL_S
    if header.sound:
        seconds += len(sounds) * header.duration_s * SOUND_S
    return seconds


def _pictures_per_window(view: View) -> int:
    return view.window_shape[0] if isinstance(view, Clips | Overview) else 1


def window_bytes(view: View) -> int:
    """Compute the size of one window before it is embedded."""
    return int(np.prod(view.window_shape)) * np.dtype(view.window_dtype).itemsize
