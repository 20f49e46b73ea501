"""Figures of the report, one module per figure; each function returns a ``ReportFigure``.

The figures share one style (``style``), take tables of the pipelines and write the same bytes for
the same numbers. Importing a figure module imports matplotlib.
"""
