"""Documents of `hpcml scale` whose truth is known."""

import numpy as np

from hpcml.scaling import document


def synthetic(times, *, workers=(1, 2), launches=3, blocks=8, share=1.0, cores=2, mode="strong", **plan):
    """Return a document of samples as ``times(p)`` says."""
    rng = np.random.default_rng(0)
    samples = [
        {
            "launch": launch,
            "block": block,
            "kind": kind,
            "n": {"spin": 0, "work": 1000 * (p if mode == "weak" else 1)}[kind],
            "p": p,
            "seconds": (times(p) if kind == "work" else 0.1) * np.exp(0.01 * rng.standard_normal()),
            "share": share,
        }
        for launch in range(launches)
        for block in range(blocks)
        for kind in ("work", "spin")
        for p in workers
    ]
    settings = {"workload": "w", "backend": "threads", "workers": list(workers), "sizes": [], **plan}
    settings |= {"strong": mode == "strong", "weak": mode == "weak", "precision": 0.03}
    return {
        "format": document.FORMAT,
        "version": document.VERSION,
        "time": "2026-01-01T00:00:00+00:00",
        "plan": settings,
        "rows": 1000,
        "workload": "of known times",
        "machine": {"cores_usable": cores, "cpu": "a processor", "versions": {}},
        "git": None,
        "samples": samples,
        "launches": [{"launch": i, "start_seconds": 1.0} for i in range(launches)],
        "peaks": [],
    }
