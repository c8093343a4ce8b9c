"""Measure how a function of yours scales, and what may be said of it.

python examples/scaling.py
"""

from hpcml.scaling import Plan, measure, summary


def work(n: int, n_workers: int) -> int:
    """Count the primes below n on so many threads of NumPy's, which release the interpreter's lock."""
    from concurrent.futures import ThreadPoolExecutor

    import numpy as np

    def primes(part: "np.ndarray") -> int:
        divisors = np.arange(2, int(n**0.5) + 1)
        return sum(bool((each % divisors[divisors < each] != 0).all()) for each in part)

    parts = np.array_split(np.random.default_rng(0).permutation(np.arange(2, n)), n_workers)
    with ThreadPoolExecutor(n_workers) as pool:
        return sum(pool.map(primes, parts))


def main() -> None:
    """Measure for some seconds; `hpcml scale examples/scaling.py:work -n 5000` is the same from a shell."""
    document = measure(Plan(f"{__file__}:work", workers=(1,), rows=5000, budget=2.0), verbose=0)
    print(summary.text(document))


if __name__ == "__main__":
    main()
