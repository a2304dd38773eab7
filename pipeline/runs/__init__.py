"""What a run does and did.

record    what is kept of a run, and what it says at its end
status    what a run is doing now, and a line about it on stderr
metrics   a run's totals as metrics of Ray
"""
