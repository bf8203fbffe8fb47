"""The tests of the core: no servers, no clock, no waiting."""
