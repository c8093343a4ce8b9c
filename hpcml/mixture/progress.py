"""Messages of a fit on standard output."""

from __future__ import annotations

import time

from hpcml.training.mixture import Run

__all__ = ["Progress"]


class Progress:
    """Tells on standard output how a start goes on."""

    def __init__(self, number: int, verbose: int, interval: int) -> None:
        self.verbose, self.interval = int(verbose), interval
        self.begin = self.last = time.perf_counter()
        print(f"Initialization {number}")

    def __call__(self, step: int, lower_bound: float, change: float) -> None:
        if step % self.interval:
            return
        now = time.perf_counter()
        more = f"\tlog-likelihood {lower_bound:.6g}, change {change:.2e}, {now - self.last:.3f} s"
        print(f"  Iteration {step}" + (more if self.verbose > 1 else ""))
        self.last = now

    def end(self, run: Run) -> None:
        end = "converged" if run.converged else "did not converge"
        more = f" after {len(run.lower_bounds)} steps, log-likelihood {run.lower_bound:.6g}"
        took = f", {time.perf_counter() - self.begin:.3f} s"
        print(f"Initialization {end}" + (more + took if self.verbose > 1 else ""))
