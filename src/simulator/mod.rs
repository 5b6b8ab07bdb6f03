//! Fake provider APIs on a real socket.
