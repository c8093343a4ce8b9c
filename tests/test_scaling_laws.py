"""The laws in their exact cases, and fits and intervals on programs whose truth is known."""

import json
from pathlib import Path

import numpy as np
import pytest

from hpcml.scaling import fit, laws
from hpcml.scaling.statistics import STARVED, Ratios, difference, estimate_ratios

#: Spins on one and on both cores of a virtual machine in turns, three launches while others used it too and
#: three alone; for each launch its blocks, [T(1), share of the core, T(2), share of the cores].
RECORDED = [np.array(each) for each in json.loads(Path(__file__).with_name("noise.json").read_text())]
P = np.array([2, 4, 8, 16])
REPEATS = 200


def test_laws_agree_where_they_are_the_same():
    p, s = np.array([1, 2, 7, 64]), 0.13
    np.testing.assert_allclose(laws.sun_ni(p, s, 1), laws.amdahl(p, s))
    np.testing.assert_allclose(laws.usl(p, s, 0), laws.amdahl(p, s))
    np.testing.assert_allclose(laws.karp_flatt(laws.amdahl(p[1:], s), p[1:]), s)
    # Gustafson's fraction is that of the parallel run
    parallel = s / (s + (1 - s) * p / p)
    np.testing.assert_allclose(laws.sun_ni(p, s, p), laws.gustafson(p, parallel))
    np.testing.assert_allclose(laws.efficiency(p, p), 1)
    assert laws.usl_peak(0.1, 0) == np.inf and laws.usl_peak(2, 0.1) == 1
    peak = laws.usl_peak(0.05, 1e-3)
    assert laws.usl(peak, 0.05, 1e-3) >= laws.usl([peak - 1, peak + 1], 0.05, 1e-3).max()


def test_efficiencies_multiply_and_farms_are_bounded():
    found = laws.pop_efficiencies([3.0, 1.0], 4.0)
    assert found["parallel_efficiency"] == found["load_balance"] * found["communication_efficiency"] == 0.5
    assert laws.pop_efficiencies([0.0], 1.0)["load_balance"] == 1
    assert laws.farm_bounds([], 3) == (0, 0) and laws.farm_with_dispatch([], 3) == 0
    assert laws.farm_bounds([5.0, 1.0], 4) == (5.0, 5.25)
    assert laws.farm_with_dispatch([1.0, 1.0], 2, dispatch=0.1, overhead=0.2) == pytest.approx(1.3)
    assert laws.allreduce_ring(4, 8.0, 1.0, 1.0, 1.0) == 6 + 12 + 6
    assert laws.allreduce_doubling(5, 8.0, 1.0, 1.0, 1.0) == 3 * 17
    assert laws.weak_efficiency(2.0, 4.0) == 0.5


@pytest.mark.parametrize(
    ("call", "named"),
    [
        (lambda: laws.amdahl(0, 0.1), "p must be at least 1"),
        (lambda: laws.gustafson(2, 1.1), "s must lie between 0 and 1"),
        (lambda: laws.usl(2, -0.1, 0), "sigma must be at least 0"),
        (lambda: laws.karp_flatt(1.0, 1), "p must be above 1"),
        (lambda: laws.karp_flatt(0.0, 2), "speedup must be above 0"),
        (lambda: laws.pop_efficiencies([], 1.0), "useful must hold"),
        (lambda: laws.pop_efficiencies([1.0], 0.0), "runtime must be above 0"),
        (lambda: laws.farm_bounds([-1.0], 2), "times must be at least 0"),
        (lambda: laws.efficiency(float("nan"), 2), "speedup must be at least 0"),
    ],
)
def test_wrong_arguments_are_named(call, named):
    with pytest.raises(ValueError, match=named):
        call()


# -- programs whose truth is known -------------------------------------------------------------------------


def noise(rng, n_blocks, column):
    """Return a contiguous stretch of the recorded noise of one launch, as logs around its median.

    Starved samples are rejected by the rule that `hpcml.scaling` declares.
    """
    kept = np.zeros(0)
    while len(kept) < 5:
        launch = RECORDED[rng.integers(len(RECORDED))]
        times = np.where(launch[:, column + 1] < STARVED, np.nan, np.log(launch[:, column]))
        kept = times[~np.isnan(times)]
    start = rng.integers(len(times) - n_blocks + 1)
    return times[start : start + n_blocks] - np.median(kept)


def launches(rng, truth, n_launches=3, n_blocks=10):
    """Return blocks of log T(1)/T(p) of a program with the given speed-ups, under recorded noise."""
    found = []
    for _ in range(n_launches):
        first = noise(rng, n_blocks, 0)
        columns = [np.log(S) + first - noise(rng, n_blocks, 2) for S in truth]
        found.append(np.stack(columns, axis=1))
    return found


def share_covered(truth, estimate):
    """Return how often intervals hold the truth; one that is missing, not identified, does not."""
    rng = np.random.default_rng(1)
    hits = []
    for i in range(REPEATS):
        found = estimate(estimate_ratios(P, launches(rng, truth), seed=i, n_draws=200))
        hits += [low <= value <= high for value, low, high in found] or [False]
    return np.mean(hits)


def test_intervals_of_speedups_cover_the_truth():
    truth = laws.amdahl(P, 0.08)

    def estimate(ratios):
        for j, S in enumerate(truth):
            found = ratios.at(j)
            yield S, found.low, found.high

    assert share_covered(truth, estimate) >= 0.9


@pytest.mark.parametrize("s", [0.03, 0.2])
def test_intervals_of_amdahls_fraction_cover_the_truth(s):
    def estimate(ratios):
        found = fit.fit_amdahl(ratios, cores=16)
        if found.identified:
            yield s, found.parameters["s"].low, found.parameters["s"].high

    assert share_covered(laws.amdahl(P, s), estimate) >= 0.9


def test_intervals_of_gustafsons_and_sun_nis_fraction_cover_the_truth():
    def gustafson(ratios):
        found = fit.fit_gustafson(ratios, cores=16)
        if found.identified:
            yield 0.2, found.parameters["s"].low, found.parameters["s"].high

    assert share_covered(laws.gustafson(P, 0.2), gustafson) >= 0.9

    def sun_ni(ratios):
        found = fit.fit_sun_ni(ratios, 16, np.sqrt)
        if found.identified:
            yield 0.1, found.parameters["s"].low, found.parameters["s"].high

    assert share_covered(laws.sun_ni(P, 0.1, np.sqrt(P)), sun_ni) >= 0.9


def test_intervals_of_usl_cover_the_truth():
    sigma, kappa = 0.08, 0.01

    def estimate(ratios):
        found = fit.fit_usl(ratios, cores=16)
        if found.identified:
            yield sigma, found.parameters["sigma"].low, found.parameters["sigma"].high
            yield kappa, found.parameters["kappa"].low, found.parameters["kappa"].high

    assert share_covered(laws.usl(P, sigma, kappa), estimate) >= 0.9


def test_a_a_comparisons_raise_few_alarms_and_slowdowns_are_found():
    from hpcml.scaling.compare import slower

    rng = np.random.default_rng(2)

    def times(factor):
        return [np.log(factor) + noise(rng, 12, 2) for _ in range(5)]  # 15 s of 5 min

    alarms = [slower(difference(times(1), times(1), seed=i), 0.05) for i in range(REPEATS)]
    assert np.mean(alarms) <= 0.05
    found = [slower(difference(times(1), times(1.1), seed=i), 0.05) for i in range(REPEATS)]
    assert np.mean(found) >= 0.9


# -- what may not be claimed -------------------------------------------------------------------------------


def exact(p, speedups, half=0.01, n_draws=400):
    p, logs = np.asarray(p, dtype=float), np.log(speedups)
    draws = logs + half / 2 * np.random.default_rng(0).standard_normal((n_draws, len(p)))
    return Ratios(p, logs, draws, np.full(len(p), half))


@pytest.mark.parametrize(("law", "needs"), [(fit.fit_amdahl, 3), (fit.fit_gustafson, 3), (fit.fit_usl, 4)])
def test_too_few_numbers_of_workers_identify_nothing(law, needs):
    p = 2.0 ** np.arange(1, 8)
    few = law(exact(p[: needs - 2], laws.usl(p[: needs - 2], 0.1, 1e-3)), cores=128)
    assert not few.identified and f"it takes {needs}" in few.reason and not few.parameters
    enough = law(exact(p[: needs - 1], laws.usl(p[: needs - 1], 0.1, 1e-3)), cores=128)
    assert enough.identified
    # more workers than cores never enter a fit
    assert not law(exact(p[: needs - 1], laws.usl(p[: needs - 1], 0.1, 1e-3)), cores=p[needs - 3]).identified


def test_a_parameter_at_its_bound_is_not_identified():
    assert fit.fit_amdahl(exact([2, 4, 8], [2.01, 4.02, 8.1]), 8).reason == "s lies at its bound"
    found = fit.fit_usl(exact([2, 4, 8], laws.amdahl([2, 4, 8], 0.1) * 1.002), 8)
    assert "kappa" in (found.reason or "kappa")
    with pytest.raises(ValueError, match="not identified"):
        fit.fit_amdahl(exact([2], [1.9]), 8).predict(3)


def test_curves_end_where_they_may_no_longer_be_believed():
    p = np.array([2.0, 4.0, 8.0])
    sharp = {"amdahl": fit.fit_amdahl(exact(p, laws.amdahl(p, 0.05), half=1e-4), 8)}
    assert fit.trust(sharp) == pytest.approx(32)  # four times the largest p
    wide = {"amdahl": fit.fit_amdahl(exact(p, laws.amdahl(p, 0.01), half=0.3), 8)}
    assert fit.trust(wide) < 32
    bent = exact(p, laws.usl(p, 0.02, 0.004), half=1e-4)
    both = {"amdahl": fit.fit_amdahl(bent, 8), "usl": fit.fit_usl(bent, 8)}
    end = fit.trust(both)
    one, other = (each.predict(end)[0][0] for each in both.values())
    assert end < 32 and max(one, other) <= 1.2 * min(one, other)


def test_rejected_samples_are_left_out():
    table = np.full((6, 1), np.log(1.9))
    table[2] = np.nan
    found = estimate_ratios([2], [table, table]).at(0)
    assert found.n == 10 and found.value == pytest.approx(1.9) == pytest.approx(found.low)
    assert estimate_ratios([2], [np.full((2, 1), 0.5)]).half[0] == np.inf
    assert np.isnan(estimate_ratios([2], []).logs[0])


def test_a_power_of_the_rows_predicts_ten_times_as_many():
    n = np.array([1e3, 2e3, 5e3, 1e4, 2e4, 5e4])
    seconds = 2e-3 + 1e-6 * n**1.1
    found = fit.fit_power(n, exact(n, seconds, half=0.02))
    value, low, high = found.predict(5e5)
    truth = 2e-3 + 1e-6 * 5e5**1.1
    assert abs(value[0] / truth - 1) < 0.25 and low[0] < value[0] < high[0]
    assert not fit.fit_power(n[:3], exact(n[:3], seconds[:3])).identified
