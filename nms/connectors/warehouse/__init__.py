"""The warehouse of this installation as a source and a target: its entities are tables of the database dwh."""
