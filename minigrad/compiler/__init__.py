"""`mg.compile`: a whole training step as one function of the array library.

compiled.py has what a user sees, carried.py finds the state, trees.py takes arguments and results apart, program.py runs the
step once on arrays without values and moves arrays in and out, tracer.py notes what the step does meanwhile.
"""

from minigrad.compiler.compiled import CompileInfo, Trace, compile
from minigrad.compiler.program import CompileError

__all__ = ["CompileError", "CompileInfo", "Trace", "compile"]
