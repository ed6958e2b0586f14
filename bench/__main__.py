"""All benchmarks, one after the other: `python -m bench`, which `make bench` calls."""

import subprocess
import sys

ALL = ("bench.serving", "bench.training", "bench.startup", "bench.fairness")


def main() -> int:
    """The worst exit status; a benchmark that fails does not keep the next from running."""
    if sys.argv[1:]:
        print("python -m bench takes no options; each of", ", ".join(ALL), "has its own")
        return 2
    return max(subprocess.run([sys.executable, "-m", name], check=False).returncode for name in ALL)


if __name__ == "__main__":
    sys.exit(main())
