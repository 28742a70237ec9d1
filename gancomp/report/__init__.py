"""One HTML file about runs: what was trained, how good and how costly it is, how to repeat it.

The package has the name of a function of `gancomp`: `gancomp.report(runs, out)` calls it.
"""

from gancomp.namesakes import also_a_function

also_a_function(__name__)
