"""Print the Markdown table of a result again: `python -m bench.table FILE`."""

import sys
from pathlib import Path

from bench.report import Report, markdown


def main() -> None:
    """Render the files named on the command line."""
    if len(sys.argv) < 2:
        sys.exit("usage: python -m bench.table FILE...")
    for name in sys.argv[1:]:
        print(markdown(Report.load(Path(name))))


if __name__ == "__main__":
    main()
