"""The result of a serving run: its JSON file and its Markdown table."""

import json
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from bench.chat import TOKENS
from bench.cpu import Rest
from bench.pairs import Cell, Pair, Spread, spread
from bench.quantile import median
from bench.sample import Sample

REFERENCE = "vllm"


@dataclass(frozen=True)
class Report:
    """Everything one `python -m bench.serving` found out."""

    date: str
    command: str
    machine: dict[str, Any]
    versions: dict[str, str]
    settings: dict[str, Any]
    rest: dict[str, Rest]
    texts_agree: dict[str, bool]
    failures: dict[str, str]
    pairs: list[Pair]

    @property
    def errors(self) -> int:
        """Requests that failed in any cell, warm-up included."""
        samples = [one for each in self.pairs for one in (each.reference, each.candidate)]
        return sum(sum(sample.errors.values()) for sample in samples)

    def write(self, folder: Path) -> Path:
        """Write the JSON file, named after the date."""
        folder.mkdir(parents=True, exist_ok=True)
        stamp = self.date.replace("-", "").replace(":", "").replace(" ", "-")
        path = folder / f"serving-{stamp}.json"
        path.write_text(json.dumps({"kind": "serving", **asdict(self)}, indent=1) + "\n")
        return path

    @classmethod
    def load(cls, path: Path) -> "Report":
        """Read such a file."""
        content = json.loads(path.read_text())
        if content.pop("kind", None) != "serving":
            raise ValueError(f"{path}: not a result of bench.serving")
        content["rest"] = {name: Rest(**one) for name, one in content["rest"].items()}
        content["pairs"] = [
            Pair(
                **{
                    **one,
                    "cell": Cell(**one["cell"]),
                    "reference": Sample(**one["reference"]),
                    "candidate": Sample(**one["candidate"]),
                }
            )
            for one in content["pairs"]
        ]
        return cls(**content)


@dataclass(frozen=True)
class Row:
    """One system in one cell, over all its pairs."""

    cell: Cell
    system: str
    samples: int
    rate: float
    ratio: Spread | None
    ttft: list[float]
    added_ttft: Spread | None
    latency: float | None
    events: float
    errors: int
    cpu: dict[str, float]


def rows(pairs: Sequence[Pair]) -> list[Row]:
    """Per cell the reference, over all its pairs, and then every candidate over its own."""
    by_cell: defaultdict[Cell, defaultdict[str, list[Pair]]] = defaultdict(
        lambda: defaultdict(list)
    )
    for each in pairs:
        by_cell[each.cell][each.candidate_name].append(each)
    found = []
    for cell in sorted(by_cell, key=lambda one: (not one.stream, one.parallel)):
        candidates = by_cell[cell]
        every = [each for several in candidates.values() for each in several]
        found.append(_row(cell, REFERENCE, [each.reference for each in every], []))
        for name, several in candidates.items():
            label = f"{name} (control)" if name == REFERENCE else name
            found.append(_row(cell, label, [each.candidate for each in several], several))
    return found


def _row(cell: Cell, system: str, samples: Sequence[Sample], pairs: Sequence[Pair]) -> Row:
    timed = [sample.ttft for sample in samples if sample.ttft]
    delays = [sample.latency[0] for sample in samples if sample.latency]
    cpu: defaultdict[str, list[float]] = defaultdict(list)
    for sample in samples:
        for role, share in sample.cpu.items():
            cpu[role].append(share)
    return Row(
        cell=cell,
        system=system,
        samples=len(samples),
        rate=median([sample.rate for sample in samples]),
        ratio=spread([each.ratio for each in pairs]),
        ttft=[median([one[place] for one in timed]) for place in (0, 1)] if timed else [],
        added_ttft=spread([each.added_ttft for each in pairs]),
        latency=median(delays) if delays else None,
        events=median([sample.events for sample in samples]),
        errors=sum(sum(sample.errors.values()) for sample in samples),
        cpu={role: median(shares) for role, shares in cpu.items()},
    )


def markdown(report: Report) -> str:
    """The whole report as Markdown."""
    machine, settings = report.machine, report.settings
    lines = [
        f"### Serving, {report.date}",
        "",
        f"- Command: `{report.command}`",
        f"- Machine: {machine['cpu']}, {machine['cores']} cores, {machine['memory_gib']} GiB,"
        f" {machine['system']}, load {machine['load_before']} before the run",
        "- Versions: " + ", ".join(f"{name} {one}" for name, one in report.versions.items()),
        f"- Load: {TOKENS} tokens out, greedy, {settings['seconds']:g} s a cell,"
        f" {settings['pairs']} pairs a cell, model `{settings['model']}`,"
        f" engine {_words(settings['engine'])}",
        "",
        "| load | system | requests/s | ratio to vllm | TTFT p50 ms | TTFT p99 ms"
        " | added TTFT p50 ms | latency p50 ms | events | errors | CPU s/s by role |",
        "|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    for row in rows(report.pairs):
        ttft = [f"{one:.0f}" for one in row.ttft] or ["-", "-"]
        lines.append(
            f"| {'stream' if row.cell.stream else 'plain'}, {row.cell.parallel} | {row.system}"
            f" | {row.rate:.1f} | {_spread(row.ratio, '.2f')} | {ttft[0]} | {ttft[1]}"
            f" | {_spread(row.added_ttft, '+.0f')}"
            f" | {'-' if row.latency is None else f'{row.latency:.0f}'}"
            f" | {f'{row.events:.0f}' if row.cell.stream else '-'}"
            f" | {row.errors} | {_cpu(row.cpu)} |"
        )
    lines += [
        "",
        "| system at rest | memory MiB (PSS) | processes | CPU s/s |",
        "|---|---|---|---|",
    ]
    for name, rest in report.rest.items():
        cpu = sum(rest.cpu.values())
        lines.append(f"| {name} | {rest.memory_mib} | {rest.processes} | {cpu:.3f} |")
    lines.append("")
    for name, agrees in report.texts_agree.items():
        if not agrees:
            lines.append(f"- {name}: its greedy answer differs from the reference's.")
    lines += [f"- {name}: not measured: {why}" for name, why in report.failures.items()]
    lines.append(f"- Errors in all: {report.errors}.")
    return "\n".join(lines)


def _words(settings: dict[str, Any]) -> str:
    return ", ".join(f"{name}={value}" for name, value in settings.items())


def _spread(one: Spread | None, form: str) -> str:
    if one is None:
        return "-"
    return f"{one.median:{form}} [{one.low:{form}} to {one.high:{form}}]"


def _cpu(cpu: dict[str, float]) -> str:
    ranked = sorted(cpu.items(), key=lambda item: -item[1])
    return ", ".join(f"{role} {share:.2f}" for role, share in ranked if share >= 0.005) or "-"
