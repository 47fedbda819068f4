"""Balancers made of balancers."""
