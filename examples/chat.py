"""Send one chat request to an OpenAI-compatible endpoint and print the tokens as they come.

python examples/chat.py http://127.0.0.1:8000/v1 "Write a function that adds two numbers."

OPENAI_API_KEY is the client key, where the endpoint asks for one.
"""

import os
import sys
import time

from openai import OpenAI


def main() -> None:
    endpoint, prompt = sys.argv[1:]
    client = OpenAI(base_url=endpoint, api_key=os.environ.get("OPENAI_API_KEY", "none"))
    model = client.models.list().data[0].id
    started, arrivals = time.monotonic(), []
    stream = client.chat.completions.create(
        model=model, messages=[{"role": "user", "content": prompt}], stream=True, max_tokens=48, temperature=0
    )
    for chunk in stream:
        if chunk.choices and (text := chunk.choices[0].delta.content):
            arrivals.append(time.monotonic() - started)
            print(text, end="", flush=True)
    between = (arrivals[-1] - arrivals[0]) / max(len(arrivals) - 1, 1)
    print(f"\n\n{len(arrivals)} chunks: TTFT {arrivals[0]:.2f} s, TPOT {between * 1e3:.0f} ms", file=sys.stderr)


if __name__ == "__main__":
    main()
