"""How a model's output becomes the right and wrong of units.

A unit is what can be right or wrong: here an annotated object that is found or not, and an image
with its false alarms. Nothing here knows of Kedro or torch; import from the modules.
"""
