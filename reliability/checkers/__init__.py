"""What a history must be like, each promise by a checker of its own; plain code over `reliability.records`."""
