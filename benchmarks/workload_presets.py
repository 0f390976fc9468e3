"""Write `planner/data/workloads.csv` from the Azure 2023 traces: `workload_presets.py CODE.csv CONVERSATION.csv`.

Restates (prompt, output) pairs of the Azure LLM inference traces 2023, CC-BY-4.0, Azure/AzurePublicDataset.
"""

import sys
from pathlib import Path

from planner.traces import PRESETS, SAMPLE, trace_from_csv

TARGET = Path(__file__).parents[1] / "planner" / "data" / "workloads.csv"
HEADER = """\
# (prompt, output) pairs sampled from the Azure LLM inference traces 2023 by benchmarks/workload_presets.py.
# Licence CC-BY-4.0, https://creativecommons.org/licenses/by/4.0/, from Azure/AzurePublicDataset; changed: sampled.
# Patel et al., "Splitwise: Efficient generative LLM inference using phase splitting", ISCA 2024.
preset,prompt_tokens,output_tokens
"""


def main(code: str, conversation: str) -> None:
    lines = []
    for preset, path in zip(PRESETS, (code, conversation), strict=True):
        workload = trace_from_csv(Path(path).read_text(encoding="utf-8"), preset).workload(SAMPLE)
        lines += [f"{preset},{prompt},{output}" for prompt, output in workload.lengths]
    TARGET.write_text(HEADER + "\n".join(lines) + "\n", encoding="utf-8")
    print(f"{TARGET}: {len(lines)} pairs", file=sys.stderr)


if __name__ == "__main__":
    main(*sys.argv[1:])
