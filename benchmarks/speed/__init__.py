"""Measurements of speed and memory: one file is one command."""
