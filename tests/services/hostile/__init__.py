"""A hostile API for tests: friendly and complete by default, and able to go wrong in every way that was ever met.

Resources are made by `add(name, **options)` (collection.py: `Options` lists paging styles, validators, preconditions,
Idempotency-Key, rewriting, deleting, logins, limits). What goes wrong is chosen for a request by its path,
`/be/{behaviour}/{resource}`, or by rules with seeded chances, `plan(behaviour, ..., chance=0.3)`;
`python -m tests.services.hostile --list` prints the behaviours. The journal keeps every request and every effect.
"""
