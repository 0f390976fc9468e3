# mypy: disable-error-code="no-untyped-call"
"""A linear program as HiGHS takes it, without a modelling layer: what is asked hundreds of times in a search."""

import highspy
import numpy as np

from planner.errors import SolverFailed
from planner.orchestration.flow import Floats


def solver_of(matrix: Floats, above: Floats, gain: Floats) -> highspy.Highs:
    """Of the largest gain @ x with matrix @ x <= above and x >= 0; it starts again from the last basis."""
    solver = highspy.Highs()
    for option, value in (("output_flag", False), ("presolve", "off"), ("solver", "simplex"), ("threads", 1)):
        solver.setOptionValue(option, value)
    solver.passModel(stated(matrix, above, gain))
    return solver


def solved(solver: highspy.Highs) -> highspy.HighsSolution:
    """Runs it. Every program here has a solution: doing nothing, or a flow that was found before.

    A basis that has come a long way may lead HiGHS astray; it then begins anew, without one.
    """
    solver.run()
    if solver.getModelStatus() != highspy.HighsModelStatus.kOptimal:
        solver.clearSolver()
        solver.run()
    status = solver.getModelStatus()
    if status != highspy.HighsModelStatus.kOptimal:
        raise SolverFailed(f"Orchestration ended with {status.name}; expected an optimum, as a flow is feasible.")
    return solver.getSolution()


def stated(matrix: Floats, above: Floats, gain: Floats) -> highspy.HighsLp:
    """By columns."""
    rows, columns = matrix.shape
    present = matrix.T != 0
    program = highspy.HighsLp()
    program.num_col_, program.num_row_, program.sense_ = columns, rows, highspy.ObjSense.kMaximize
    program.col_cost_, program.col_lower_ = gain, np.zeros(columns)
    program.col_upper_ = np.full(columns, highspy.kHighsInf)
    program.row_lower_, program.row_upper_ = np.full(rows, -highspy.kHighsInf), above
    program.a_matrix_.format_ = highspy.MatrixFormat.kColwise
    program.a_matrix_.start_ = np.concatenate([[0], np.cumsum(present.sum(axis=1))]).astype(np.int32)
    program.a_matrix_.index_ = np.nonzero(present)[1].astype(np.int32)
    program.a_matrix_.value_ = matrix.T[present]
    return program
