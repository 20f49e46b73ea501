"""Exact tests, intervals, bets and bounds: numbers in, numbers out; import from the modules.

Drops and limits are fractions. Each module names the paper or the argument that its bound rests on.
"""
