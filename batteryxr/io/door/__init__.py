"""The one door: every file that a reader opens comes in through here."""
