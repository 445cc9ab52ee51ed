"""REST APIs as sources and targets, declared in documents."""
