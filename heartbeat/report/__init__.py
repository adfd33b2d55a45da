"""What stands still and why, for people and for a CI: judged, foretold and explained. Pure."""
