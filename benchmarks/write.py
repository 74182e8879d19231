"""Runs the CPU benchmarks, writes `results/`, and puts their tables into README.md between its two marks.

python benchmarks/write.py [--only-table]
"""

import argparse
import importlib.util
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).parent
RUNS = (
    ("pvt_cpu.py", "--write"),
    ("pvt_cpu.py", "--models", "pvt_v2_b2,pvt_v2_b2_li", "--batches", "2", "--turns", "5", "--write"),
    ("kernels.py", "--write"),
    ("step_profile.py", "--write"),
    ("scaling.py", "--write"),
    ("digits.py", "--jobs", "3", "--write"),
)
TITLES = {
    "pvt_cpu": "### Whole models: forward, and training step (forward, loss, backward, AdamW)",
    "digits": "### The digits job",
    "kernels": "### Kernels of the first stage of b0, eight images",
    "step_profile": "### Where b0's training step goes",
    "scaling": "### Size and batch, b2_li",
}
START, END = "<!-- tables of benchmarks/write.py -->", "<!-- end of the tables -->"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only-table", action="store_true", help="put the results that are there into README.md")
    if not parser.parse_args().only_table:
        missing = [name for name in ("torch", "timm") if importlib.util.find_spec(name) is None]
        if missing:
            sys.exit(
                f'{" and ".join(missing)}, which minigrad is compared with, can\'t be found: pip install -e ".[parity]"'
            )
        for script, *arguments in RUNS:
            subprocess.run([sys.executable, str(HERE / script), *arguments], check=True)
    parts = []
    for name, title in TITLES.items():
        path = HERE / "results" / f"{name}.md"
        if path.exists():
            parts += [title, path.read_text().strip()]
    readme = HERE / "README.md"
    before, _, rest = readme.read_text().partition(START)
    readme.write_text("\n\n".join([before + START, *parts, END + rest.partition(END)[2]]))


if __name__ == "__main__":
    main()
