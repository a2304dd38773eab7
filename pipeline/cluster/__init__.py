"""The only room that starts or joins Ray, with equal workers for independent tasks.

cluster      start or join Ray, and say what there is to work with
workers      equal workers that do the tasks of several lanes
score_walks  walk scores in this process or as Ray tasks
"""
