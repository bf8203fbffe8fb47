"""What is told of sagas while they run: traces, metrics, logs, health."""
