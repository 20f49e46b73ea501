"""How a model's output becomes the right and wrong of units.

A unit is what can be right or wrong: an image, an annotated object, a text, a question. Detections
are matched with annotations; outcomes that somebody else has written are read from a table. Nothing
here knows of Kedro or torch; import from the modules.
"""
