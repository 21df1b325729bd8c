//! What the index's tests do not see: bytes that go, and notes.
