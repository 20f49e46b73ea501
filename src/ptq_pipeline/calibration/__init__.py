"""Calibration sets: how they are drawn, what they are, and whether they resemble production."""
