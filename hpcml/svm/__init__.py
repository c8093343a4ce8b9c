"""Linear support vector machines, under scikit-learn's names."""

from hpcml.svm.classification import LinearSVC
from hpcml.svm.regression import LinearSVR

__all__ = ["LinearSVC", "LinearSVR"]
