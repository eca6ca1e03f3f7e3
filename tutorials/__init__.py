"""The tutorials, installed with the library for ``batteryxr lab`` to copy."""
