"""The methods: one file, or one folder with a file method.py, that assigns CARD and METHOD is one method."""
