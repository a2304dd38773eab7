"""Training what compares features, from a library.

train       the command: checks, the loop, what it left behind
material    what is trained on: features, what is alike, what is held out
evaluation  mAP on videos that were held out
run_folder  OUT: checkpoint, weights, learning curve, page
"""
