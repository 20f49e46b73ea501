"""What all parts build on: groups, paired outcomes, documents, canonical JSON, whole files.

Nothing here knows of Kedro, torch or a policy; import from the modules.
"""
