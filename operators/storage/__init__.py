"""Where bytes are: local folders and object stores, and the videos that lie there.

store         whole files under one root
object_store  S3 and Google's: access, and their errors as sentences
fetch         bring a video here
manifest      read VIDEOS: which videos, under which ids
video_files   which files of a folder are videos
text_files    tables as spreadsheets save them
"""
