"""The commands of `ndvr`: options and sentences; other rooms do the work."""
