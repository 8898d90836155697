"""What can be measured beside latency and throughput, one module each."""
