"""The shared words: values only. No network, no files, no clock."""
