"""What the benchmarks print and write down."""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

HERE = Path(__file__).parent


@dataclass(frozen=True)
class Figure:
    """One measurement: the product, what it is held against, and how the two compare."""

    name: str
    unit: str
    yugen: float
    raw: float
    raw_is: str

    @property
    def ratio(self) -> float:
        return self.yugen / self.raw


def table(figures: Sequence[Figure], others: Mapping[str, float]) -> str:
    """Measurements as Markdown."""
    lines = ["| | Yugen | beside it | what that is | ratio |", "| --- | ---: | ---: | --- | ---: |"]
    lines += [
        f"| {figure.name} | {figure.yugen:,.1f} {figure.unit} | {figure.raw:,.1f} {figure.unit} | {figure.raw_is} "
        f"| {figure.ratio:.2f} |"
        for figure in figures
    ]
    lines += [f"| {name} | {value} | | | |" for name, value in others.items()]
    return "\n".join(lines)


def publish(section: str, figures: Sequence[Figure], others: Mapping[str, float]) -> None:
    """Prints measurements, and puts them into `results.json` and into their section of `README.md`."""
    text = table(figures, others)
    print(text)
    path = HERE / "results.json"
    results = json.loads(path.read_text())
    results[section] = {"figures": [{**asdict(figure), "ratio": figure.ratio} for figure in figures], **others}
    path.write_text(json.dumps(results, indent=2) + "\n")
    page = HERE / "README.md"
    between = re.compile(rf"(?<=<!-- {section} -->\n).*?(?=<!-- end -->)", re.DOTALL)
    page.write_text(between.sub(lambda _: f"{text}\n", page.read_text(), count=1))
