"""Every statement and every schema file against a database that the migrations made."""
