"""One browser and one server for all tests of the console (their fixtures have this package's scope)."""
