"""Floor 1: what users write (sagas, participants), what goes over the wire, what is stored, and the ports."""
