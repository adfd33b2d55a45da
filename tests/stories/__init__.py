"""Whole stories over the scripted world: beats on a virtual clock."""
