"""Promoted versions, and the decisions that they rest on, sealed by hashes.

Import from the modules: `agreement` has the registry, `release` what changes it.
"""
