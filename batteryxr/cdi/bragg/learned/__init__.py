"""Phase retrieval that starts from a network."""
