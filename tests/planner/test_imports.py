"""What may import the solver (half a second) and what others import for the words alone."""

import subprocess
import sys
from pathlib import Path

import planner

PLANNER = Path(planner.__file__).parent


def test_only_two_modules_import_cvxpy():
    found = {path.stem for path in PLANNER.glob("**/*.py") if "import cvxpy" in path.read_text()}
    assert found == {"transport", "program"}


def test_words_documents_and_checks_come_without_the_solver():
    names = ["deployment", "document", "validate", "reconcile", "market", "models", "traces", "links", "replay"]
    names += ["substitute", "rebalance"]  # what `up` and the controller do without planning anew
    code = f"import sys\nimport {', '.join(f'planner.{name}' for name in names)}\nprint('cvxpy' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=PLANNER.parent, check=True)
    assert done.stdout == "False\n"
