"""What meets the world: each third-party library is imported in one place, and no adapter knows another."""
