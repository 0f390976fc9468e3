"""Write `provisioners/aws/list_prices.csv`: `aws_prices.py OFFERS_2026.csv`.

Prices of AWS's GPU instances on demand, as public price lists stated them from 2025-12 to 2026-07: for accounts that
may not ask AWS's Pricing API. Prices are facts restated, none is made up.
"""

import csv
import sys
from pathlib import Path

TARGET = Path(__file__).parents[1] / "provisioners" / "aws" / "list_prices.csv"
HEADER = """\
# On-demand prices of AWS's GPU instances, Linux, $/h, restated by benchmarks/aws_prices.py; source_date is when each
# was seen. Sources: karpenter-provider-aws (Apache-2.0), skypilot-catalog, sooddvs/gpu-pricing.
"""


def main(offers: str) -> None:
    with Path(offers).open(encoding="utf-8") as file:
        rows = [row for row in csv.DictReader(file) if (row["provider"], row["market"]) == ("aws", "on_demand")]
    newest: dict[tuple[str, str], dict[str, str]] = {}
    for row in sorted(rows, key=lambda row: row["source_date"].split("..")[-1]):
        newest[row["region"], row["instance_type"]] = row
    with TARGET.open("w", encoding="utf-8") as file:
        file.write(HEADER)
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(("region", "type", "usd_per_hour", "source", "source_date"))
        for (region, name), row in sorted(newest.items()):
            writer.writerow((region, name, row["price_usd_hr"], row["source"].split()[0], row["source_date"]))
    print(f"{TARGET}: {len(newest)} prices", file=sys.stderr)


if __name__ == "__main__":
    main(sys.argv[1])
