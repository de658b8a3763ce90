"""Train a breast-cancer classifier and write ``model.skops`` and ``samples.npz``. Takes a second.

The data are the Wisconsin breast-cancer measurements that scikit-learn ships: 569 patients, 30 numbers each. A fifth
is held out; those rows and their labels become the samples. skops files hold no code that runs when they are read.
"""

from pathlib import Path

import numpy as np
import skops.io
from sklearn.datasets import load_breast_cancer
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

HERE = Path(__file__).parent


def main() -> None:
    """Train, report the accuracy on the held-out rows, write both files."""
    cancer = load_breast_cancer()
    train_x, test_x, train_y, test_y = train_test_split(
        cancer.data, cancer.target, test_size=0.2, random_state=0, stratify=cancer.target
    )
    model = make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000))
    model.fit(train_x, train_y)
    print(f"held-out accuracy: {model.score(test_x, test_y):.4f} on {len(test_y)} rows")
    skops.io.dump(model, HERE / "model.skops")
    np.savez(HERE / "samples.npz", measurements=test_x, labels=test_y)


if __name__ == "__main__":
    main()
