"""One job of the benchmark: `worker.py ITEMS OUTPUT` sleeps through its items, a file for each."""

import json
import sys
import time
from pathlib import Path

from campaign.spread import ItemCost, spread


def main(items: dict[str, dict[str, float]], output: Path) -> None:
    def work(name: str, target: Path) -> ItemCost:
        time.sleep(items[name]["s"])
        target.write_text(name)
        return ItemCost()

    spread(items, work, Path("items"), ".txt", output)


if __name__ == "__main__":
    main(json.loads(sys.argv[1]), Path(sys.argv[2]))
