"""How far tracks of made-up people are from the truth: `make bench-accuracy`. See docs/accuracy.md."""
