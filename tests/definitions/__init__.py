"""The tests of the definitions: no servers, no clock, no waiting."""
