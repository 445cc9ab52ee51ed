"""Measurements of the warehouse."""
