"""Reconstruction against the float model: AdaRound, BRECQ, QDrop, and GPTQ as their start."""
