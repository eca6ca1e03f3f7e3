"""What a switch of the current tells: resistances, pulses, interruptions."""
