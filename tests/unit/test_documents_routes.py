"""What pipelines between databases and brokers may say."""
