//! The names of the roles: their packages and binaries.

/// All of them, the front first. Roles start in this order, so that each finds the Unix sockets
/// that it dials, and stop in this order, so that requests in progress are answered.
pub const ROLES: [&str; 6] = ["terminator", "web", "profile", "feed", "chat", "events"];

/// The roles with data, which are the only ones with a store.
pub const DATA_ROLES: [&str; 4] = ["profile", "feed", "chat", "events"];
