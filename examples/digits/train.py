"""Train the digits network and write ``model.pt`` and ``samples.npz``. Takes a few seconds on a CPU.

The data are the UCI handwritten digits that scikit-learn ships: 1,797 images of 8 by 8 pixels. A fifth is held out;
those images and their labels become the samples.
"""

from pathlib import Path

import numpy as np
import torch
from net import DigitsNet
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from torch import nn

HERE = Path(__file__).parent
EPOCHS = 25
ROWS = 64


def main() -> None:
    """Train, report the accuracy on the held-out images, write both files."""
    torch.manual_seed(0)
    torch.set_num_threads(1)
    digits = load_digits()
    train_x, test_x, train_y, test_y = train_test_split(
        digits.data.astype(np.float32), digits.target, test_size=0.2, random_state=0, stratify=digits.target
    )
    model = DigitsNet()
    fit(model, torch.from_numpy(train_x), torch.from_numpy(train_y))
    model.eval()
    with torch.inference_mode():
        right = model(torch.from_numpy(test_x)).argmax(dim=1).numpy() == test_y
    print(f"held-out accuracy: {right.mean():.4f} on {len(test_y)} images")
    torch.save(model.state_dict(), HERE / "model.pt")
    np.savez(HERE / "samples.npz", pixels=test_x, labels=test_y)


def fit(model: nn.Module, pixels: torch.Tensor, labels: torch.Tensor) -> None:
    """Minimise the negative log-likelihood with Adam."""
    optimizer = torch.optim.Adam(model.parameters(), lr=2e-3, weight_decay=1e-5)
    for _ in range(EPOCHS):
        for rows in torch.randperm(len(pixels)).split(ROWS):
            optimizer.zero_grad()
            loss = nn.functional.nll_loss(torch.log(model(pixels[rows]) + 1e-9), labels[rows])
            loss.backward()
            optimizer.step()


if __name__ == "__main__":
    main()
