"""Front ends: from pixels and waveforms to the input of an encoder."""
