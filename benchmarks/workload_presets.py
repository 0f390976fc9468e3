"""Write `planner/data/workloads.csv` from the Azure 2023 traces: `workload_presets.py CODE.csv CONVERSATION.csv`.

Restates quantiles of the Azure LLM inference traces 2023, CC-BY-4.0, Azure/AzurePublicDataset.
"""

import sys
from collections.abc import Iterator
from pathlib import Path

from planner.quantiles import BANDS, JointQuantiles, joint_quantiles
from planner.traces import PRESETS, trace_from_csv

TARGET = Path(__file__).parents[1] / "planner" / "data" / "workloads.csv"
LAST = 2 * BANDS - 1
COMMENT = f"""\
# Joint quantiles of prompt and output tokens in the Azure LLM inference traces 2023, by benchmarks/workload_presets.py.
# Requests are cut into {BANDS} bands of equal number by output; a band has {BANDS} quantiles of its prompts and {BANDS}
# of its outputs, at the levels 1/{LAST + 1}, 3/{LAST + 1}, ..., {LAST}/{LAST + 1}. Read by planner/quantiles.py.
# Licence CC-BY-4.0, https://creativecommons.org/licenses/by/4.0/, from Azure/AzurePublicDataset; changed: quantiles.
# Patel et al., "Splitwise: Efficient generative LLM inference using phase splitting", ISCA 2024.
"""


def main(code: str, conversation: str) -> None:
    text = workloads_csv(Path(code), Path(conversation))
    TARGET.write_text(text, encoding="utf-8")
    print(f"{TARGET}: {len(text.splitlines())} lines", file=sys.stderr)


def workloads_csv(*traces: Path) -> str:
    """The whole file, presets in their order."""
    header = ",".join(("preset", "band", "tokens", *(f"q{i + 1}" for i in range(BANDS))))
    rows = [
        row
        for preset, path in zip(PRESETS, traces, strict=True)
        for row in _rows(preset, _quantiles(path.read_text(encoding="utf-8"), preset))
    ]
    return COMMENT + "\n".join((header, *rows)) + "\n"


def _quantiles(text: str, preset: str) -> JointQuantiles:
    trace = trace_from_csv(text, preset)
    return joint_quantiles(trace.prompt_tokens, trace.output_tokens)


def _rows(preset: str, quantiles: JointQuantiles) -> Iterator[str]:
    for band in range(BANDS):
        for name, tokens in (("prompt", quantiles.prompt), ("output", quantiles.output)):
            yield ",".join((preset, str(band + 1), name, *map(str, tokens[band].tolist())))


if __name__ == "__main__":
    main(*sys.argv[1:])
