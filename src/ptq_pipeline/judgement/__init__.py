"""Policy, cells, one judge, the verdict and the decision about it.

Drops and limits are fractions; only the policy, which people write, is in points. Nothing here
knows of Kedro or torch; import from the modules.
"""
