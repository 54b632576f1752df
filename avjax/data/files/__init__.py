"""Which files exist, and what lists and folder names say of them."""
