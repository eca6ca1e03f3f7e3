"""Models of panels: choices, their calculation and their code, without a screen."""
