"""From a file to windows, where a bad file can be killed.

decode       rows of videos -> rows of pieces, never an exception
windows      cut one video through several views
headers      what files say of themselves
stills       a few small pictures of a video
frame_files  frames of a video, kept as JPEG to be read in any order
decoders     names of decoders, and opening a file with one
"""
