"""The same layer on both backends: numpy on the CPU, MLX on the Apple GPU (or its CPU backend elsewhere).

python examples/one_layer_on_mlx.py
"""

import minigrad as mg
from minigrad import nn

results = {}
for device in ("cpu", "mlx"):
    mg.manual_seed(0)  # the same seed gives the same weights on every device
    layer = nn.Conv2d(3, 8, 3, stride=2, padding=1, device=device)
    image = mg.randn(1, 3, 16, 16).to(device).requires_grad_()
    y = nn.functional.gelu(layer(image))
    y.square().mean().backward()
    results[device] = (y, image.grad, layer.weight.grad)
    print(f"{device}: output {y.shape} on {y.device}, mean square {y.square().mean().item():.6f}")

for name, a, b in zip(("output", "image gradient", "weight gradient"), results["cpu"], results["mlx"], strict=True):
    difference = (a - b.to("cpu")).abs().max().item()
    print(f"largest difference of the {name}: {difference:.1e}")
