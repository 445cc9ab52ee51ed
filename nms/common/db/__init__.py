"""Databases behind DSN types: pools, repositories, named statements and migrations."""
