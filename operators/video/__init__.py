"""From a video file to windows, decoded in child processes that can be killed."""
