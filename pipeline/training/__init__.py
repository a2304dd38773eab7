"""Training what compares features, from a library, or from videos.

train       the command, and what was trained
plan        what is to be done, opened and checked before the first step
material    what is trained on: features, what is alike, what is held out
frames      videos to train on: decoded once, their frames kept
loop        steps, looks and saves
workers     several of them on Ray Train
evaluation  mAP on videos that were held out
run_folder  OUT: checkpoint, weights, learning curve
"""
