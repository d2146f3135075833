"""The world outside, played on this machine: providers that behave as theirs do, for tests, demonstrations and load."""
