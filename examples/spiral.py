"""A spiral of three arms, told apart by a small network; draws the decision boundary.

python examples/spiral.py [--steps 300] [--output spiral.png]
"""

import argparse

import numpy as np

import minigrad as mg
from minigrad import nn, optim
from minigrad.nn import functional as F


def spiral(arms: int = 3, points: int = 150, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Points (arms·points, 2) along spiral arms with a little noise, and the arm of each."""
    rng = np.random.default_rng(seed)
    radius = np.tile(np.linspace(0.05, 1, points), arms)
    label = np.repeat(np.arange(arms), points)
    angle = 2 * np.pi * label / arms + 4 * radius + 0.15 * rng.standard_normal(arms * points)
    return np.stack([radius * np.sin(angle), radius * np.cos(angle)], 1).astype(np.float32), label


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=300, help="training steps (default 300)")
    parser.add_argument("--output", default="spiral.png", help="where the picture goes (default spiral.png)")
    options = parser.parse_args()

    mg.manual_seed(0)
    points, labels = spiral()
    x, y = mg.from_numpy(points), mg.from_numpy(labels)
    model = nn.Sequential(nn.Linear(2, 64), nn.Tanh(), nn.Linear(64, 64), nn.Tanh(), nn.Linear(64, 3))
    optimizer = optim.AdamW(model.parameters(), lr=1e-2)
    for step in range(options.steps):
        loss = F.cross_entropy(model(x), y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if step % 50 == 0:
            print(f"step {step:4d}  loss {loss.item():.4f}")
    with mg.no_grad():
        accuracy = (model(x).argmax(1) == y).float().mean().item()
        print(f"accuracy {accuracy:.1%}")
        axis = np.linspace(-1.2, 1.2, 240, dtype=np.float32)
        grid = np.stack(np.meshgrid(axis, axis), -1).reshape(-1, 2)
        share = F.softmax(model(mg.from_numpy(grid)), 1).numpy().reshape(240, 240, 3)
    draw(points, labels, share, accuracy, options.output)
    print(f"picture  {options.output}")


def draw(points, labels, share, accuracy, path) -> None:
    from matplotlib.figure import Figure

    colours = np.array([[0.90, 0.62, 0.0], [0.0, 0.45, 0.70], [0.0, 0.62, 0.45]])  # distinct for colour-blind eyes too
    figure = Figure(figsize=(5, 5), layout="constrained")
    axes = figure.subplots()
    axes.imshow(1 - 0.45 * (1 - share @ colours), origin="lower", extent=(-1.2, 1.2, -1.2, 1.2))
    axes.scatter(*points.T, c=colours[labels], s=14, edgecolors="white", linewidths=0.4)
    axes.set(title=f"Three arms, {accuracy:.0%} told apart", xlabel="x", ylabel="y")
    figure.savefig(path, dpi=120)


if __name__ == "__main__":
    main()
