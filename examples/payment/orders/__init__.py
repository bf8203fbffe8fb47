"""Orders: takes orders, and owns the saga that carries one through."""
