"""Self-contained HTML pages about a run and about evaluations; frame and style are those of ndvr.pipeline.review.

report            report.html of the demo: numbers, film strips, every query
evaluation_page   the page of `ndvr evaluate --html`
"""
