"""Side by side: a COPY pipe through psql, PostgreSQL's own subscription, and NMS, on two private servers in one run."""
