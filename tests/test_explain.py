"""The plan that is told before the work is the plan of the work."""

import numpy as np
import pytest
import sharing_toys
from scipy.stats import loguniform
from sharing_toys import SignsClassifier
from sklearn import model_selection
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GroupKFold
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC

from hpcml.ensemble import RandomForestClassifier
from hpcml.model_selection import GridSearchCV, RandomizedSearchCV, explain_plan
from ids import plain

RNG = np.random.default_rng(0)
X = RNG.normal(size=(60, 4))
Y = (X[:, 0] > 0).astype(int)
SEARCHES = [
    GridSearchCV(SVC(), {"C": [1, 2]}),
    GridSearchCV(SignsClassifier(), {"n_terms": [1, 2, 5], "shift": [0.0, 0.5]}, cv=3),
    GridSearchCV(SignsClassifier(), {"n_terms": [1, "many"]}, cv=3, error_score=0.0),
    GridSearchCV(
        make_pipeline(StandardScaler(), RandomForestClassifier(4)), {"standardscaler__with_std": [True]}
    ),
    GridSearchCV(
        Pipeline([("scale", StandardScaler()), ("model", SVC())]),
        [
            {"model": [SVC(), LogisticRegression()], "scale": ["passthrough", StandardScaler()]},
            {"model": [RandomForestClassifier(random_state=0)], "model__n_estimators": [1, 2]},
        ],
        cv=2,
    ),
    RandomizedSearchCV(SVC(), {"C": loguniform(1, 10)}, n_iter=3, random_state=0, cv=2),
]


@pytest.mark.filterwarnings("ignore:.*fits failed", "ignore:One or more")
@pytest.mark.parametrize("search", SEARCHES, ids=plain)
def test_it_is_what_the_search_does(search):
    sharing_toys.COUNTS.clear()
    told = explain_plan(search, X, Y)
    assert sharing_toys.COUNTS["terms"] == 0 and not hasattr(search, "cv_results_")
    done = search.fit(X, Y).plan_
    assert told.batches == done.batches and told.separate == done.separate
    assert (told.asked, told.done, str(told)) == (done.asked, done.done, str(done))
    assert told.table().equals(done.table())


def test_what_is_told():
    search = SEARCHES[4]
    told = explain_plan(search, X, Y)
    expected = "12 fits asked for, 8 StandardScaler, 6 trees; 10 fits, 2 StandardScaler, 4 trees done"
    assert str(told) == expected
    texts = " ".join(told.table()["shared"])
    assert "last steps fitted one by one" in texts and "trees grown at the loosest rule" in texts
    assert "nothing: SVC does not share work between candidates" in texts


def test_splits_need_their_parameters():
    search = GridSearchCV(SVC(), {"C": [1, 2]}, cv=GroupKFold(3))
    assert explain_plan(search, X, Y, groups=np.arange(60) % 5).asked == {"fits": 6}


def test_bad_arguments():
    with pytest.raises(TypeError, match="search must be one of hpcml"):
        explain_plan(model_selection.GridSearchCV(SVC(), {}), X, Y)
    with pytest.raises(ValueError, match="'cv' parameter"):
        explain_plan(GridSearchCV(SVC(), {}, cv="five"), X, Y)


PIPELINE = Pipeline([("scale", StandardScaler()), ("model", SignsClassifier())])


@pytest.mark.parametrize(
    "estimator, grid",
    [
        (SVC(), {"c": [1.0]}),
        (SignsClassifier(), [{"n_terms": [1, 2]}, {"n_term": [1]}]),
        (PIPELINE, {"model__n_terms": [1], "mode__shift": [0.0]}),
        (PIPELINE, {"model": [SignsClassifier(), SVC()], "model__n_terms": [1]}),
    ],
)
def test_a_name_that_is_no_parameter_is_refused_before_any_work(estimator, grid):
    sharing_toys.COUNTS.clear()
    search = GridSearchCV(estimator, grid, cv=2)
    with pytest.raises(ValueError, match="Invalid parameter") as told:
        explain_plan(search, X, Y)
    with pytest.raises(ValueError, match="Invalid parameter") as refused:
        search.fit(X, Y)
    assert str(told.value) == str(refused.value) and not sharing_toys.COUNTS
