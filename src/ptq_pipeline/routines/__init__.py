"""Routines that run several pipelines, one after the other: the ladder of recipes, the watch."""
