"""The methods: one file, or one folder with a file method.py, that assigns CARD and METHOD is one method.

thumbprint                              training-free, the default
s2vs, visil, dns, csl3d, tca, c3dhash   published, by picture
ausil                                   published, by sound
"""
