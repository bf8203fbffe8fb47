"""For the tests of services and of adapters: the conformance suites of the ports."""
