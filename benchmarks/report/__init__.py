"""Self-contained HTML pages about a run and about evaluations.

report            report.html of the demo: numbers, film strips, every query
evaluation_page   the page of `ndvr evaluate --html`
matches_page      the page of `ndvr report`: what a search found
"""
