"""Peak memory of a contestant in its own process: ``python -m benchmarks.memory CASE PEER SCALE SEED``."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from benchmarks.cases import CASES
from benchmarks.data import head
from benchmarks.kinds import Memory
from benchmarks.measure import WARM_UP_ROWS, Options
from benchmarks.peers import PEERS, contestant

__all__ = ["measure_memory", "status"]

# The longest that a contestant's run may take.
TIMEOUT = 1800.0


def status(key: str, process: str = "self") -> int:
    """Return a line of a process's /proc status in bytes: VmRSS is held now, VmHWM was the most ever."""
    for line in Path("/proc", process, "status").read_text().splitlines():
        if line.startswith(key + ":"):
            return int(line.split()[1]) * 1024
    raise RuntimeError(f"/proc/{process}/status has no {key}")


def _reset_peak() -> None:
    Path("/proc/self/clear_refs").write_text("5")  # proc(5): the peak becomes the present size


def _bytes_of(X: Any) -> int:
    """Return what a table takes, also one of sparse rows."""
    parts = (X.data, X.indices, X.indptr) if hasattr(X, "indptr") else (X,)
    return sum(int(part.nbytes) for part in parts)


def _alone(name: str, peer_name: str, scale: float, seed: int) -> dict[str, Any]:
    """Run the work once and return what it took beyond what was there before; for a fresh process."""
    case, peer = CASES[name], PEERS[peer_name]
    if not isinstance(case, Memory):
        raise ValueError(f"{name} is no memory benchmark")
    data = case.data(seed, scale)
    # one worker for the others: the memory of their worker processes would have to be added
    n_jobs = None if peer_name == "hpcml" else 1
    case.work.prepare(peer, head(data, WARM_UP_ROWS), n_jobs, seed)()  # imports and pools are not the grid's
    run = case.work.prepare(peer, data, n_jobs, seed)
    before = status("VmRSS")
    try:
        _reset_peak()
    except OSError as error:
        # without the reset the peak may be an earlier one, of making the data: too high, never too low
        print(f"the peak cannot be reset: {error}", file=sys.stderr)
    run()
    return {
        "before": before,
        "peak": status("VmHWM"),
        "values": int(data.X.size),
        "table": _bytes_of(data.X),
    }


def measure_memory(case: Memory, options: Options) -> dict[str, Any]:
    """Measure the peak memory of every contestant.

    Parameters
    ----------
    case : Memory
    options : Options

    Returns
    -------
    dict
        For each contestant what the process held before, its peak, and the difference beside the limit.
    """
    results = []
    for name in case.peers:
        result = contestant(name)
        results.append(result)
        if "skipped" in result:
            continue
        if not Path("/proc/self/status").exists():
            result["skipped"] = "needs Linux (/proc/self/status)"
            continue
        options.say(f"{case.name}: {PEERS[name].name}")
        command = [
            sys.executable,
            "-m",
            "benchmarks.memory",
            case.name,
            name,
            str(options.scale),
            str(options.seed),
        ]
        folder = Path(__file__).parent.parent
        try:
            done = subprocess.run(
                command, capture_output=True, text=True, cwd=folder, timeout=TIMEOUT, check=False
            )
        except subprocess.TimeoutExpired:
            result["skipped"] = f"took more than {TIMEOUT:.0f} s"
            continue
        if done.returncode:
            result["skipped"] = (done.stderr.strip().splitlines() or [f"status {done.returncode}"])[-1]
            continue
        result |= json.loads(done.stdout.splitlines()[-1])
        result["more"] = result["peak"] - result["before"]
        if name == "hpcml":
            result["limit"] = case.bytes_a_value * result["values"] + case.bytes_more
            result["met"] = result["more"] <= result["limit"]
    about = case.data(options.seed, options.scale).about
    return {"kind": "memory", "case": case.name, "title": case.title, "data": about, "results": results}


if __name__ == "__main__":
    _, _case, _peer, _scale, _seed = sys.argv
    print(json.dumps(_alone(_case, _peer, float(_scale), int(_seed))))
