"""Real servers for tests, benchmarks and the fault harness: private, on free ports, ended with their owner."""
