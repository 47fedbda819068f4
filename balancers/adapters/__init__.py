"""Adapters to the outside: the only code with I/O or optional packages. Import them by name."""
