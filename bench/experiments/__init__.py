"""What is measured: one small class an experiment."""
