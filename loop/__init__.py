"""Rounds, stages, the run folder, the report and the command line: the only folder that knows the order of things."""

from loop.shadowing import refuse_shadowed_packages

# Before the first import from a package that may be shadowed, whichever way the program is started.
refuse_shadowed_packages()
