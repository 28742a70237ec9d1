"""Adversarial objectives, independent of any distillation method."""
