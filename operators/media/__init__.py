"""Short videos made, read and drawn: for the demo, tests and reports.

clip        a short video held in memory
encode      write a video file
draw        draw on pictures
film_strip  a video at a glance, as a JPEG
"""
