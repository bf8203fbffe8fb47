"""Floor 3: what runs. Runners meet adapters only as ports."""
