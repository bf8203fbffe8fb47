"""The PostgreSQL adapter: what the contracts of the ports do not say."""
