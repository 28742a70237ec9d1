"""Shared by all tests: one thread each, since the networks are too small to gain from more."""

import torch

torch.set_num_threads(1)
