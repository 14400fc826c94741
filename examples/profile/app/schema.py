"""No tables but those of sign-in."""

strict = True
