"""The report for people: one self-contained HTML file, its figures, and what is written beside it.

Numbers come in as the documents and tables of one audit, :class:`.AuditResults`; nothing here
computes evidence. ``page.render_report`` asks a :class:`.Part` for the values of each template, and
all words are in ``templates/<language>.toml``. Nothing is imported here, so that a step that shows
its progress does not depend on how the report is written.
"""
