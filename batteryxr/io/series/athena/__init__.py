"""Projects of Athena: read and write them."""
