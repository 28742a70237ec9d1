"""Shared by all tests: one thread each, since the networks are too small to gain from more."""

import hypothesis
import torch

torch.set_num_threads(1)
hypothesis.settings.register_profile("untimed", deadline=None)  # a busy machine proves nothing
hypothesis.settings.load_profile("untimed")
