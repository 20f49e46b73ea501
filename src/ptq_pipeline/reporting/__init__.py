"""The report for people: one self-contained HTML file, its figures, and lines for the terminal.

Numbers come in as tables and JSON documents of the earlier pipelines; nothing here computes
evidence. Texts stand together in ``templates/<language>.toml``. ``page.render_report`` writes the
report, ``gallery`` draws the figures, ``summary.three_lines`` ends a run, ``progress.track`` shows
how far it is. Nothing is imported here, so that a step that shows its progress does not depend on
how the report is written.
"""
