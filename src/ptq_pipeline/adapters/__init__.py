"""Quantization tools that people deploy with already, as methods of the audit.

Each brings a `RegisteredMethod` whose result is the file that the tool writes; it is executed as it
is. The tools are optional packages.
"""
