"""The failure report: made, and told, without any server."""
