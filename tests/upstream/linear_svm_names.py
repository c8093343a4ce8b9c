"""scikit-learn's module ``svm`` with hpcml's two classes in it, for tests that write ``svm.LinearSVC``."""

import types

import sklearn.svm

import hpcml.svm

svm = types.SimpleNamespace(**vars(sklearn.svm))
svm.LinearSVC = hpcml.svm.LinearSVC
svm.LinearSVR = hpcml.svm.LinearSVR
