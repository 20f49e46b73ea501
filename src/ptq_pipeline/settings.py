"""Kedro settings. Importing this module also makes sure that no library phones home."""

import os

# Read by kedro-telemetry, evidently and dvc, by Great Expectations, and by DVC respectively. Set
# here because Kedro imports the settings before any of these libraries.
os.environ.setdefault("DO_NOT_TRACK", "1")
os.environ.setdefault("GX_ANALYTICS_ENABLED", "false")
os.environ.setdefault("DVC_NO_ANALYTICS", "1")

from ptq_pipeline.hooks import InterruptHooks, ParameterGroupHooks, ProvenanceHooks  # noqa: E402

# An environment says only what is different; `null` removes an entry.
CONFIG_LOADER_ARGS = {
    "base_env": "base",
    "default_run_env": "local",
    "merge_strategy": {"parameters": "soft"},
}
HOOKS = (ParameterGroupHooks(), InterruptHooks(), ProvenanceHooks())
