"""Run scikit-learn's own tests with classes of hpcml in the place of its own."""

from upstream.harness import UpstreamResult, run_upstream

__all__ = ["UpstreamResult", "run_upstream"]
