"""What comes before an encoder: pixels and waveforms to its input."""
