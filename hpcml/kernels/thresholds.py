"""From which size on ``device="auto"`` takes the GPU: measured figures alone.

``python -m benchmarks.gpu --crossover`` measures them; none has been measured so far, so that "auto" is the
processor.
"""

#: By kernel: numbers of its table (rows times features) from which on the GPU was faster at every size.
FROM_NUMBERS: dict[str, int] = {}
