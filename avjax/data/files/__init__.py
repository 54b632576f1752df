"""Which files there are, and what lists and names of folders say of them."""
