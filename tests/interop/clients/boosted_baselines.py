"""The baselines of a table beside LightGBM and CatBoost, each trained here once more by its own interface."""

import sys
import warnings

import catboost
import lightgbm
import numpy as np
import pandas as pd
from reports import report
from sklearn import metrics as oracle
from sklearn.utils.class_weight import compute_class_weight

from training.data.column_choices import ColumnChoices
from training.fit import fit
from training.reporting.baselines import compare
from training.reporting.keeping import trees_code

warnings.simplefilter("ignore")


def classes(rows=900):
    """Makes a table with numbers, gaps and categories."""
    rng = np.random.default_rng(0)
    frame = pd.DataFrame({"a": rng.normal(size=rows), "b": rng.normal(size=rows)})
    frame["town"] = rng.choice(["Ulm", "Bonn", "Kiel"], rows)
    frame["y"] = np.where(frame.a * frame.b + (frame.town == "Kiel") + rng.normal(size=rows) > 0.3, "yes", "no")
    frame.loc[::17, "a"] = np.nan
    frame.loc[::19, "town"] = None
    return frame


def values(rows=900):
    """Makes a table of numbers."""
    rng = np.random.default_rng(1)
    frame = pd.DataFrame({"a": rng.normal(size=rows), "b": rng.normal(size=rows)})
    return frame.assign(y=frame.a * frame.b + 0.3 * rng.normal(size=rows))


def own(frame, model, kind):
    """Returns the test figure of a library on the raw columns, by the interface of the library."""
    x, y, split = frame.drop(columns="y"), frame.y.to_numpy(), model.split
    x = x.set_axis([f"f{i}" for i in range(x.shape[1])], axis="columns")
    names = [name for name in x.columns if not pd.api.types.is_numeric_dtype(x[name])]
    if kind == "LightGBM":
        x[names] = x[names].astype("category")
        make = lightgbm.LGBMClassifier if names else lightgbm.LGBMRegressor
        trees = make(n_estimators=2000, random_state=0, n_jobs=1, verbose=-1)
        stop = {"callbacks": [lightgbm.early_stopping(50, verbose=False)]}
    else:
        x[names] = x[names].astype(object).fillna("missing").astype(str)
        make = catboost.CatBoostClassifier if names else catboost.CatBoostRegressor
        trees = make(
            iterations=2000, cat_features=names, random_seed=0, thread_count=1, verbose=False, allow_writing_files=False
        )
        stop = {"early_stopping_rounds": 50}
    trees.fit(x.iloc[split.train], y[split.train], eval_set=[(x.iloc[split.validation], y[split.validation])], **stop)
    if names:
        return oracle.log_loss(y[split.test], trees.predict_proba(x.iloc[split.test]))
    return oracle.r2_score(y[split.test], trees.predict(x.iloc[split.test]))


def own_names(frame):
    """Returns a table whose columns have names that LightGBM refuses."""
    return frame.rename(columns={"a": "a [m]", "b": 'b "x"'})


for name, frame in (("classes", classes()), ("values", own_names(values()))):
    model = fit(frame, target="y", name=name, epochs=3, hidden_sizes=(8,))
    found = compare(model)
    report(
        name,
        found.to_dict()
        | {
            "latency": found.beside,
            "own": {kind: own(frame, model, kind) for kind in ("LightGBM", "CatBoost")},
        },
    )
    for library in ("LightGBM", "CatBoost"):
        code = trees_code(model.table, None, library=library).replace("...  # a DataFrame with these columns", "given")
        code = "\n".join(line for line in code.splitlines() if "joblib" not in line)
        made = {"given": frame}
        sys.stdout, output = sys.stderr, sys.stdout
        exec(code, made)
        sys.stdout = output
        answers = made["trees"].predict(made["features"](frame))
        report(f"{name} by the code of {library}", len(np.ravel(answers)))


def own_balanced(frame, model, kind):
    """Returns the test figure of a library that learns and stops with balanced classes, by its own interface."""
    x, y, split = frame[["a", "b"]].to_numpy(), (frame.y == "yes").to_numpy().astype(int), model.split
    weight = compute_class_weight("balanced", classes=np.array([0, 1]), y=y[split.train])[y]
    if kind == "LightGBM":
        trees = lightgbm.LGBMClassifier(n_estimators=2000, random_state=0, n_jobs=1, verbose=-1)
        trees.fit(
            x[split.train],
            y[split.train],
            sample_weight=weight[split.train],
            eval_set=[(x[split.validation], y[split.validation])],
            eval_sample_weight=[weight[split.validation]],
            callbacks=[lightgbm.early_stopping(50, verbose=False)],
        )
    else:
        learned, validation = (
            catboost.Pool(x[rows], y[rows], weight=weight[rows]) for rows in (split.train, split.validation)
        )
        trees = catboost.CatBoostClassifier(
            iterations=2000, random_seed=0, thread_count=1, verbose=False, allow_writing_files=False
        )
        trees.fit(learned, eval_set=validation, early_stopping_rounds=50)
    return oracle.balanced_accuracy_score(y[split.test], trees.predict(x[split.test]))


rng = np.random.default_rng(3)
rare = pd.DataFrame({"a": rng.normal(size=1500), "b": rng.normal(size=1500)})
rare["y"] = np.where(rare.a * rare.b + 0.7 * rng.normal(size=1500) > 1.5, "yes", "no")
model = fit(rare, target="y", name="rare", epochs=3, hidden_sizes=(8,), class_weight="balanced")
found = compare(model).to_dict()
report("rare", found | {"own": {kind: own_balanced(rare, model, kind) for kind in ("LightGBM", "CatBoost")}})

rng = np.random.default_rng(2)
constant = pd.DataFrame(
    {"t": np.arange(400), "a": np.r_[np.ones(300), rng.normal(size=100)], "y": rng.normal(size=400)}
)
model = fit(constant, target="y", name="constant", epochs=2, hidden_sizes=(4,), choices=ColumnChoices(time="t"))
report("constant", compare(model).to_dict())
