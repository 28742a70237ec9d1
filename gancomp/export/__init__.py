"""Model files: our own self-describing format, and readers for those of others.

The package has the name of a function of `gancomp`: `gancomp.export(model, out)` calls it.
"""

from gancomp.namesakes import also_a_function

also_a_function(__name__)
