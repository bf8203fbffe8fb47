"""The conformance suite of each port, run over its adapters."""
