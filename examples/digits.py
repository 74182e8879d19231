"""Pyramid Vision Transformer v2 learns handwritten digits, in twenty lines.

python examples/digits.py [epochs]
"""

import sys

import minigrad as mg
from minigrad import data, models, optim
from minigrad.data import transforms as T
from minigrad.nn import functional as F

mg.manual_seed(0)
mg.set_num_threads(1)  # the matrices are small: threads would wait for each other
train, test = data.Digits("train"), data.Digits("test")
plain = T.Compose([T.Resize(32), T.ToFloat(16), T.Normalize(train.mean, train.std)])
augmented = T.Compose([T.Resize(32), T.RandomShift(3), T.ToFloat(16), T.Normalize(train.mean, train.std)])
model = models.pvt_v2_tiny(in_channels=1, num_classes=10)
optimizer = optim.AdamW(model.parameters(), lr=1e-3, weight_decay=0.05)
for epoch in range(int(sys.argv[1]) if len(sys.argv) > 1 else 5):
    for images, labels in data.DataLoader(train, 64, shuffle=True, seed=epoch, transform=augmented):
        loss = F.cross_entropy(model(images), labels, label_smoothing=0.1)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    model.eval()
    with mg.no_grad():
        right = sum((model(x).argmax(1) == y).sum().item() for x, y in data.DataLoader(test, 128, transform=plain))
    model.train()
    print(f"epoch {epoch + 1}: loss {loss.item():.3f}, test accuracy {right / len(test):.1%}")
