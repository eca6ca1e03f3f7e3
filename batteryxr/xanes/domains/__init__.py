"""Find and describe chemical domains."""
