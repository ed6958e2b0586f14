"""Print the Markdown table of a result again: `python -m bench.table FILE`."""

import json
import sys
from pathlib import Path

from bench import fairness, report, router, soak, startup, training


def render(path: Path) -> str:
    """The table of one result file, of whichever benchmark."""
    content = json.loads(path.read_text())
    match content.get("kind"):
        case "serving":
            return report.markdown(report.Report.load(path))
        case "training":
            return training.markdown(content)
        case "startup":
            return startup.markdown(content)
        case "fairness":
            return fairness.markdown(content)
        case "router":
            return router.markdown(content)
        case "soak":
            return soak.markdown(content)
        case kind:
            raise ValueError(f"{path}: unknown kind {kind!r}")


def main() -> None:
    """Render the files named on the command line."""
    if len(sys.argv) < 2:
        sys.exit("usage: python -m bench.table FILE...")
    for name in sys.argv[1:]:
        print(render(Path(name)))


if __name__ == "__main__":
    main()
