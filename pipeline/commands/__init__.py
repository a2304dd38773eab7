"""The commands of `ndvr`: options and sentences; other rooms do the work.

extraction    extract, import
comparison    similarity, dedupe, compare
search        index, search, common
review        report, review, decide
library       show, explain, remove, fsck, gc, fit-pca
plan          plan
methods       methods, doctor
options       options that several commands share
option_types  what may be given, nearest spellings, completion
"""
