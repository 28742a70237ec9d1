"""Generators and discriminators: pure modules that declare their taps and width rule."""
