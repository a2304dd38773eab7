"""Where bytes lie: lists of videos, files of a folder or an object store, and fetching them."""
