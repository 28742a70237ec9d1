"""One HTML file about runs: what was trained, how good and how costly it is, how to repeat it."""
