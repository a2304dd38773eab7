"""The whole of ndvr on videos it draws itself.

demo     make videos, extract, compare, evaluate, report
videos   the originals, the copies and the truth about them
edits    what is done to a copy
"""
