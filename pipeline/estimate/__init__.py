"""What an extraction would cost: headers, a sample that is really extracted, and the projection to all.

estimate   make an estimate: every step in order
result     the estimate, as text and JSON, and how right it was after the run
trial      extract a few videos in this process and measure what they cost
wall_time  the machines to plan for, and how long stages take on them
"""
