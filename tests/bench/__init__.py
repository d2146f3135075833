"""`make bench`: the numbers this project promises, each beside its yardstick in the same run. Loopback only, bounded."""
