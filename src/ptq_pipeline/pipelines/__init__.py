"""The pipelines, one folder a stage."""
