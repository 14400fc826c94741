"""Where the bytes of files are: on the disk beside the data, or in an object store."""
