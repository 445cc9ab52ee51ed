"""The trap script: what a source may do to a pipeline that lags behind."""
