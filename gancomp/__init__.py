"""gancomp makes GANs small: it distils, measures and exports cheap student generators."""

__version__ = "0.1.0"
