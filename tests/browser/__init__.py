"""Pages as a browser shows them; `make test-browser` collects these tests."""
