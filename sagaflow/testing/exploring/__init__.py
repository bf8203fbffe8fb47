"""`explore`: a user's saga and handlers, through everything that can go wrong with them."""
