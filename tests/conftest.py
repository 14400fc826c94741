"""Settings every test runs under."""

from hypothesis import settings

# Time on a shared machine says nothing about the code: pytest-timeout catches what hangs.
settings.register_profile("yugen", deadline=None, print_blob=True)
settings.load_profile("yugen")
