//! The whole stack on this machine, one process per role.
