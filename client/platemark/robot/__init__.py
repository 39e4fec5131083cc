"""Recording what sensors saw, while they see it: segments of messages, signed on the device."""
